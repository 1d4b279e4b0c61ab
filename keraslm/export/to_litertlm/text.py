"""The tokenizer and its roles, as LiteRT-LM takes them.

The runtime puts the start token before a prompt itself and applies no template. It decodes new
tokens without the prompt, so that what a decoder does at the start of a text must not happen.
"""

import contextlib
import datetime
import json
from typing import Any

from keraslm.tokenizers import spacing
from keraslm.tokenizers.tokenizer import Tokenizer


def start_ids(tokenizer: Tokenizer) -> list[int]:
    """Ids that stand before every prompt.

    Raises:
        ValueError: a template that goes on behind the prompt, which LiteRT-LM cannot have.
    """
    before, after = tokenizer.prompt_template
    if after:
        names = " ".join(str(tokenizer.id_to_token(i)) for i in after)
        raise ValueError(
            f"The tokenizer's template puts {names} behind a prompt, which LiteRT-LM does not. Use "
            "lm.tokenizer.with_roles(dataclasses.replace(lm.tokenizer.roles, prompt='open'))."
        )
    return before


def chat_template(tokenizer: Tokenizer) -> str | None:
    """The template of a conversation that the tokenizer has, of several the default."""
    template = tokenizer.roles.chat_template
    return template if template is None or isinstance(template, str) else template.get("default")


def check_template(template: str | None) -> None:
    """Refuse a template that makes nothing of what a user says.

    Without the package ``jinja2`` this is left to the proof, where LiteRT-LM does it.

    Raises:
        ValueError: it does not parse, or raises on a plain message.
    """
    if template is None:
        return
    with contextlib.suppress(ImportError):
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.globals.update(raise_exception=_raise, strftime_now=_now)
        contents: list[Any] = ["Hi", [{"type": "text", "text": "Hi"}]]  # both are in use
        errors = [_error(environment, template, content) for content in contents]
        if all(errors):
            raise ValueError(
                f"chat_template does not work on a plain user message: {errors[0]}. Mend it, or "
                "give another with chat_template=."
            )


def _error(environment, template, content):
    """What goes wrong with a user message; ``None``: nothing."""
    messages = [{"role": "user", "content": content}]
    try:
        environment.from_string(template).render(
            messages=messages, add_generation_prompt=True, bos_token="", eos_token=""
        )
    except Exception as error:  # the template's own, too
        return str(error) or type(error).__name__
    return None


def _raise(message):
    raise ValueError(message)


def _now(form):
    return datetime.datetime.now().strftime(form)


def tokenizer_json(tokenizer: Tokenizer) -> str:
    """A ``tokenizer.json`` without template, that decodes what continues a text."""
    data = json.loads(tokenizer.to_json())
    data["post_processor"] = None
    data["decoder"] = _continuing(data["decoder"], tokenizer.cleans_up)
    return json.dumps(data, ensure_ascii=False)


def _continuing(decoder: dict[str, Any] | None, cleans_up: bool) -> dict[str, Any]:
    """The decoder, without what it does to the first token."""
    parts: list[Any] = (
        [decoder] if decoder is None or decoder["type"] != "Sequence" else decoder["decoders"]
    )
    parts = [new for part in parts for new in _part(part)]
    if cleans_up:
        parts += [{"type": "Fuse"}, *_clean_up()]
    return parts[0] if len(parts) == 1 else {"type": "Sequence", "decoders": parts}


def _part(part):
    if part is None:  # blanks between tokens
        return [_replace(r"\A", " "), {"type": "Fuse"}, _chinese()]
    if part["type"] == "Strip" and part["content"] == " ":
        return [{**part, "start": 0}] if part["stop"] else []
    if part["type"] == "Metaspace":
        return [{**part, "prepend_scheme": "never"}]
    if part["type"] == "WordPiece":
        prefix = "".join(rf"\x{{{ord(c):x}}}" for c in part["prefix"])
        words = [_replace(rf"\A(?!{prefix})", " "), _replace(rf"\A{prefix}", "")]
        clean_up = _clean_up() if part["cleanup"] else []
        return [*words, *clean_up, {"type": "Fuse"}, _chinese()]
    return [part]


def _replace(pattern, content):
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": content}


def _clean_up():
    return [
        {"type": "Replace", "pattern": {"String": before}, "content": after}
        for before, after in spacing.CLEAN_UP
    ]


def _chinese():
    return _replace(spacing.BETWEEN_CHINESE, "")
