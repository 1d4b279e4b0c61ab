"""What the tokens of a vocabulary are for: as files state it, or else as names suggest it."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from keraslm._text import checked_text, checked_texts

# Tokens that usually have a role: what is left where nothing states one.
USUAL_NAMES = {
    "pad": ("<pad>", "[PAD]", "<|pad|>"),
    "unk": ("<unk>", "[UNK]"),
    "bos": ("<s>", "<|startoftext|>", "[CLS]", "<|endoftext|>"),
    "eos": ("</s>", "<|endoftext|>", "<eos>", "[SEP]"),
    "mask": ("<mask>", "[MASK]"),
    "cls": ("[CLS]", "<s>"),
    "sep": ("[SEP]", "</s>"),
}
ROLES = tuple(USUAL_NAMES)
PROMPTS = ("whole", "open", "bare")
SOURCES = ("trained", "files", "names")

# Keys of tokenizer_config.json that the engine's own file says better, or that name a place.
_IN_THE_ENGINE = {
    "added_tokens_decoder", "add_bos_token", "add_eos_token", "tokenizer_class", "auto_map",
    "name_or_path", "tokenizer_file", "special_tokens_map_file", "vocab_file", "merges_file",
    "backend", "is_local", "local_files_only", "files_loaded", "init_inputs",
}  # fmt: skip
_OURS = "keraslm"
_UNBOUND = 10**9  # `transformers` writes 10**30 for no bound


@dataclasses.dataclass(frozen=True, kw_only=True)
class Roles:
    """The roles of a tokenizer's tokens, its chat template and what else goes with it.

    Attributes:
        bos: the token that starts a text, as the engine spells it; or None.
        eos: the tokens that end a text, the first of which ends the documents of a training stream.
        pad, unk, mask, cls, sep: the tokens of these roles, or None.
        prompt: what of the tokenizer's template (its post-processor) a `TextGenerator` puts around
            a prompt. ``"whole"``: all of it, as `transformers` does for folders of its own.
            ``"open"``: only what comes before the text, which goes on after all. ``"bare"``:
            nothing, as keraslm did before it knew roles.
        source: where this was read: ``"trained"`` by keraslm, stated by ``"files"``, or guessed
            from the ``"names"`` of the tokens, for want of a statement.
        chat_template: a Jinja template of a conversation, or several by name; or None.
        model_max_length: how many tokens the model takes, as stated; or None.
        clean_up_tokenization_spaces: leave out blanks before punctuation when decoding.
        settings: further keys of ``tokenizer_config.json``, given back as they are when saving.

    Raises:
        ValueError: an unknown ``prompt`` or ``source``, or a token that is no str.

    Example:
        >>> Roles(bos="<s>", eos=("</s>",), source="files").to_dict()["eos_token"]
        '</s>'
    """

    bos: str | None = None
    eos: tuple[str, ...] = ()
    pad: str | None = None
    unk: str | None = None
    mask: str | None = None
    cls: str | None = None
    sep: str | None = None
    prompt: str = "bare"
    source: str = "names"
    chat_template: str | Mapping[str, str] | None = None
    model_max_length: int | None = None
    clean_up_tokenization_spaces: bool = False
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        for name, known in (("prompt", PROMPTS), ("source", SOURCES)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} must be one of {known}; received {getattr(self, name)!r}."
                )
        for role in ROLES:
            if role != "eos" and getattr(self, role) is not None:
                checked_text(getattr(self, role), role)
        object.__setattr__(self, "eos", tuple(checked_texts(self.eos, "eos")))

    @classmethod
    def from_names(cls, tokens: Iterable[str], **fields: Any) -> "Roles":
        """The roles that the names of tokens suggest.

        Args:
            tokens: of the vocabulary.
            fields: other fields, such as ``source``.
        """
        tokens = set(tokens)
        names: dict[str, Any] = {
            role: next((name for name in usual if name in tokens), None)
            for role, usual in USUAL_NAMES.items()
        }
        eos = names.pop("eos")
        return cls(**names, eos=() if eos is None else (eos,), **fields)

    @classmethod
    def from_dict(cls, config: Mapping[str, Any], **fields: Any) -> "Roles":
        """The roles that a ``tokenizer_config.json`` states.

        Args:
            config: what the file holds.
            fields: fields that it does not state.

        Raises:
            ValueError: a value that cannot be.
        """
        ours = config.get(_OURS) or {}
        _check(isinstance(ours, Mapping), _OURS, ours)
        stated = {role: _name(config.get(f"{role}_token"), f"{role}_token") for role in ROLES}
        eos = stated.pop("eos")
        eos = ours.get("eos_tokens") or (() if eos is None else (eos,))
        length = config.get("model_max_length", config.get("max_len"))
        if length is not None:
            _check(isinstance(length, (int, float)) and length > 0, "model_max_length", length)
        clean_up = config.get("clean_up_tokenization_spaces")
        _check(clean_up in (None, True, False), "clean_up_tokenization_spaces", clean_up)
        known = {f"{role}_token" for role in ROLES} | _IN_THE_ENGINE | {
            "chat_template", "max_len", "clean_up_tokenization_spaces", _OURS,
        }  # fmt: skip
        is_bound = length is not None and length <= _UNBOUND
        known |= {"model_max_length"} if is_bound else set()
        return cls(
            **stated,
            eos=eos,
            chat_template=_chat_template(config.get("chat_template")),
            model_max_length=int(length) if is_bound else None,
            clean_up_tokenization_spaces=bool(clean_up),
            settings={key: value for key, value in config.items() if key not in known},
            **{"prompt": "whole", "source": "files", **fields,
               **{key: ours[key] for key in ("prompt", "source") if key in ours}},
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """What ``tokenizer_config.json`` says, in Hugging Face's spelling."""
        names = {"bos": self.bos, "eos": self.eos[0] if self.eos else None}
        names |= {role: getattr(self, role) for role in ROLES if role not in names}
        config = {**self.settings}
        config |= {f"{role}_token": name for role, name in names.items() if name is not None}
        config["clean_up_tokenization_spaces"] = self.clean_up_tokenization_spaces
        if self.model_max_length is not None:
            config["model_max_length"] = self.model_max_length
        if isinstance(self.chat_template, str):
            config["chat_template"] = self.chat_template
        elif self.chat_template:
            config["chat_template"] = [
                {"name": name, "template": text} for name, text in self.chat_template.items()
            ]
        return config

    def to_bundle(self) -> dict[str, Any]:
        """`to_dict` and what only keraslm reads, for `from_dict`."""
        ours = {"source": self.source, "prompt": self.prompt, "eos_tokens": list(self.eos)}
        return {"tokenizer_class": "PreTrainedTokenizerFast", **self.to_dict(), _OURS: ours}


def _check(is_right, key, value):
    if not is_right:
        raise ValueError(f"tokenizer_config.json has {key}={value!r}, which cannot be.")


def _name(token, key):
    """The name of a token, which may be an object with its flags."""
    if isinstance(token, Mapping):
        token = token.get("content")
    _check(token is None or isinstance(token, str), key, token)
    return token


def _chat_template(value):
    """A template, or several by name: ``[{"name": …, "template": …}]`` or an object."""
    if isinstance(value, list):
        try:
            value = {str(one["name"]): one["template"] for one in value}
        except (TypeError, KeyError) as error:
            raise ValueError(
                f"tokenizer_config.json has a chat_template that cannot be read: {error!r}."
            ) from error
    if isinstance(value, Mapping):
        _check(all(isinstance(text, str) for text in value.values()), "chat_template", value)
        return dict(value) or None
    _check(value is None or isinstance(value, str), "chat_template", value)
    return value
