"""The tokenizer: plain data beside the model, saved as ``tokenizer.json``."""

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from keraslm._files import checked_path, read_whole, replaced_file
from keraslm._text import (
    checked_flag,
    checked_ids,
    checked_rows,
    checked_text,
    checked_texts,
)
from keraslm._types import StrPath
from keraslm.tokenizers import files, spacing
from keraslm.tokenizers.control import without_control_tokens
from keraslm.tokenizers.roles import ROLES, USUAL_NAMES, Roles

KINDS = ("bpe", "wordpiece", "word", "char", "jieba")


class Encoding(NamedTuple):
    """Ids and where each came from: ``offsets[i] = (start, end)`` in characters of the text.

    Example:
        >>> tokenizer = Tokenizer.train(["to be or not to be"] * 9, "word", None)
        >>> tokenizer.encode_with_offsets("to be").offsets
        [(0, 2), (3, 5)]
    """

    ids: list[int]
    offsets: list[tuple[int, int]]


class Tokenizer:
    """Turns text into token ids and back; saved and loaded as ``tokenizer.json``.

    What its tokens are for stands beside it, in ``tokenizer_config.json``; see `Roles`.

    The engine is Hugging Face ``tokenizers``; ``tokenizer.engine`` gives it to whoever needs more.
    Make one with `train`, `load`, `from_gpt2_files` or `from_bert_vocab`.

    Args:
        engine: a ``tokenizers.Tokenizer``.
        roles: what its tokens are for; default, what their names suggest, as a last resort.

    Raises:
        ValueError: an engine or roles of another type.

    Example:
        >>> tokenizer = Tokenizer.train(["to be or not to be"] * 9, kind="char", vocab_size=None)
        >>> tokenizer.decode(tokenizer.encode("to be"))
        'to be'
    """

    def __init__(self, engine: Any, roles: Roles | None = None) -> None:
        import tokenizers

        if not isinstance(engine, tokenizers.Tokenizer):
            raise ValueError(
                f"engine must be a tokenizers.Tokenizer; received {type(engine).__name__}. "
                "Tokenizer.load and Tokenizer.train make one themselves."
            )
        self.engine = engine
        self._roles = None if roles is None else _checked_roles(roles)

    # === Making one ===

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        kind: str = "bpe",
        vocab_size: int | None = 8192,
        *,
        min_frequency: int | None = None,
        lowercase: bool = False,
        special_tokens: Sequence[str] | None = None,
    ) -> "Tokenizer":
        """Train a tokenizer on texts (an iterator is read once, in a stream).

        Args:
            texts: documents.
            kind: ``"bpe"`` (byte-level BPE as in GPT-2: any text, no unknown token),
                ``"wordpiece"`` (BERT's), ``"word"`` (whole words), ``"char"`` (characters) or
                ``"jieba"`` (Chinese words, the vocabulary counted by jieba, if it is installed).
                The last is written as a unigram model, which any runtime reads without jieba: it
                takes the most probable words, as jieba does with those of its dictionary.
            vocab_size: how many tokens at most, special ones included; a short text gives fewer.
                ``None``, for words (jieba's too) and characters only: all that occur.
            min_frequency: pairs, words and characters seen less often are left out; default 2, of
                characters 1.
            lowercase: for ``"word"`` and ``"jieba"``: lower case, marks and accents stay; for
                ``"wordpiece"``: lower case without accents, as BERT, where the texts are in Latin
                or Greek letters; in other scripts, whose marks are letters, these stay.
            special_tokens: default ``("<|endoftext|>",)`` for bpe, BERT's five for wordpiece and
                ``("<pad>", "<unk>", "<|endoftext|>")`` for words and characters.

        Returns:
            a `Tokenizer`.

        Warns:
            UserWarning: ``"word"`` on Chinese, Japanese or Thai, which make words of clauses.

        Raises:
            ImportError: ``kind="jieba"``, and jieba is not installed.
            ValueError: no text, an unknown ``kind``, or a ``vocab_size`` too small for the bytes or
                the special tokens.
        """
        from keraslm.tokenizers.trainers import train

        return cls._made(train(texts, kind, vocab_size, min_frequency, lowercase, special_tokens))

    @classmethod
    def load(cls, path: StrPath) -> "Tokenizer":
        """Read a ``tokenizer.json`` (the file, or the folder that holds it).

        A ``tokenizer_config.json`` beside it states the roles of the tokens. Without one they are
        known by their names; ``tokenizer.roles.source`` says so.

        Raises:
            FileNotFoundError: no such file.
            ValueError: the file is not a tokenizer, or ``path`` is no path.
        """
        engine, roles = read_whole(path, files.read)
        return cls(engine, roles)

    @classmethod
    def from_gpt2_files(cls, vocab: StrPath, merges: StrPath) -> "Tokenizer":
        """Import ``vocab.json`` and ``merges.txt`` of GPT-2 or RoBERTa.

        Where the vocabulary has all of RoBERTa's special tokens these are special, and
        ``add_special_tokens`` puts ``<s> … </s>`` around a text.
        """
        from keraslm.tokenizers.trainers import from_gpt2_files

        vocab, merges = checked_path(vocab, "vocab"), checked_path(merges, "merges")
        return cls._made(from_gpt2_files(vocab, merges))

    @classmethod
    def from_bert_vocab(cls, vocab: StrPath, lowercase: bool = True) -> "Tokenizer":
        """Import BERT's ``vocab.txt`` (one token a line)."""
        from keraslm.tokenizers.trainers import from_bert_vocab

        return cls._made(from_bert_vocab(checked_path(vocab, "vocab"), lowercase))

    @classmethod
    def _made(cls, engine):
        """A tokenizer of ours, whose special tokens have the names that they usually have."""
        tokenizer = cls(engine)
        names = tokenizer.special_tokens
        return cls(engine, Roles.from_names(names, source="trained", prompt="open"))

    def save(self, path: StrPath) -> Path:
        """Write ``tokenizer.json``, whole or not at all, and the roles beside it.

        Args:
            path: a folder, or the file. A file of another name than ``tokenizer.json`` is written
                without the roles.

        Returns:
            the file's ``Path``.

        Raises:
            OSError, ValueError: it cannot be written, the file that is there is no tokenizer, or
                the folder is a bundle whose model has other tokens.
        """
        path = checked_path(path)
        file = path if path.suffix == ".json" else path / "tokenizer.json"
        files.check_replaces(file, self.engine)
        with replaced_file(file) as new:
            new.write_text(self.to_json(), encoding="utf-8")
        if file.name == "tokenizer.json":
            files.write_roles(file.parent, self.roles)
        return file

    def to_json(self) -> str:
        """The content of ``tokenizer.json``."""
        return self.engine.to_str()

    # === Text and ids ===

    def encode(
        self, text: str, add_special_tokens: bool = False, *, allow_control_tokens: bool = True
    ) -> list[int]:
        """Ids of a text.

        Args:
            text: the text.
            add_special_tokens: put the template around it: BERT's ``[CLS] … [SEP]`` and the like.
            allow_control_tokens: whether ``<|endoftext|>`` in the text is the token of that name.
                ``False`` for texts that others wrote: it is text like any other then.

        Raises:
            ValueError: no str, or half of a character in it.
        """
        engine = self._engine(allow_control_tokens)
        with files.told("read this text"):
            return engine.encode(checked_text(text), add_special_tokens=add_special_tokens).ids

    def encode_batch(
        self,
        texts: Sequence[str],
        add_special_tokens: bool = False,
        *,
        allow_control_tokens: bool = True,
    ) -> list[list[int]]:
        """Ids of several texts, in parallel; see `encode`."""
        if isinstance(texts, str):
            raise ValueError("texts must be a list of str; received a str. Use encode for one.")
        engine = self._engine(allow_control_tokens)
        with files.told("read these texts"):
            encodings = engine.encode_batch_fast(
                checked_texts(texts, "texts"), add_special_tokens=add_special_tokens
            )
        return [encoding.ids for encoding in encodings]

    def encode_with_offsets(self, text: str, add_special_tokens: bool = False) -> Encoding:
        """Ids and, for each, its (start, end) in characters of ``text``."""
        with files.told("read this text"):
            encoding = self.engine.encode(checked_text(text), add_special_tokens=add_special_tokens)
        return Encoding(encoding.ids, encoding.offsets)

    def prompt_ids(self, text: str, *, allow_control_tokens: bool = True) -> list[int]:
        """Ids of a text that is to go on: what ``roles.prompt`` says of the template, and the text.

        An empty text is the token that starts texts, or else the template.

        Args:
            text: the prompt.
            allow_control_tokens: as in `encode`.

        Raises:
            ValueError: there would be no token at all.

        Example:
            >>> tokenizer = Tokenizer.train(["to be or not"] * 9, "wordpiece", 20)
            >>> [tokenizer.id_to_token(i) for i in tokenizer.prompt_ids("to")][0]
            '[CLS]'
        """
        is_whole = self.roles.prompt == "whole"
        ids = self.encode(text, is_whole, allow_control_tokens=allow_control_tokens)
        if self.roles.prompt == "open":
            ids = self.prompt_template[0] + ids
        if (not text or not ids) and self.bos_id is not None:
            return [self.bos_id]
        if not ids:
            raise ValueError(
                "The prompt is empty, and the tokenizer has no token that starts a text. Give at "
                "least one character."
            )
        return ids

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Text of ids.

        Bytes that are no whole character become U+FFFD. Between Chinese characters there are no
        blanks, which WordPiece and words as tokens would write.

        Args:
            ids: whole numbers, in a list or an array; a float is none. One that the vocabulary does
                not have gives no text: a model may have more ids than its tokenizer.
            skip_special_tokens: leave special tokens out.

        Raises:
            ValueError: ``ids`` is not a list of whole numbers from 0 on.
        """
        text = self.decode_plain(ids, skip_special_tokens)
        return spacing.clean_up(text) if self.cleans_up else text

    def decode_plain(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """`decode` before ``clean_up_tokenization_spaces``."""
        text = self.engine.decode(checked_ids(ids), skip_special_tokens=skip_special_tokens)
        return spacing.join_chinese(text) if self._writes_blanks else text

    def decode_batch(
        self, batch: Sequence[Sequence[int]], skip_special_tokens: bool = True
    ) -> list[str]:
        """Texts of several lists of ids; see `decode`."""
        return [self.decode(ids, skip_special_tokens) for ids in checked_rows(batch, "batch")]

    # === Vocabulary ===

    @property
    def vocab_size(self) -> int:
        """What a model needs: ids run from 0 to ``vocab_size - 1``, with holes in some files."""
        return 1 + max(self.engine.get_vocab(with_added_tokens=True).values(), default=-1)

    @property
    def vocabulary(self) -> list[str]:
        """The tokens as the engine spells them, by id."""
        return [self.engine.id_to_token(i) or "" for i in range(self.vocab_size)]

    @property
    def kind(self) -> str:
        """``"bpe"``, ``"wordpiece"``, ``"word"`` or ``"char"``; else the engine's model name.

        Of ``"jieba"`` it is ``"Unigram"``.
        """
        import tokenizers

        model = type(self.engine.model).__name__
        if model == "WordLevel":
            is_char = isinstance(self.engine.pre_tokenizer, tokenizers.pre_tokenizers.Split)
            return "char" if is_char else "word"
        return {"BPE": "bpe", "WordPiece": "wordpiece"}.get(model, model)

    @property
    def special_tokens(self) -> dict[str, int]:
        """Special tokens and their ids."""
        added = self.engine.get_added_tokens_decoder()
        return {token.content: i for i, token in added.items() if token.special}

    @property
    def roles(self) -> Roles:
        """What the tokens are for."""
        if self._roles is not None:
            return self._roles
        usual = (name for names in USUAL_NAMES.values() for name in names)
        return Roles.from_names(n for n in usual if self.engine.token_to_id(n) is not None)

    def with_roles(self, roles: Roles) -> "Tokenizer":
        """The same tokenizer with other roles.

        Raises:
            ValueError: no `Roles`.

        Example:
            >>> import dataclasses
            >>> tokenizer = Tokenizer.train(["to be or not"] * 9, "wordpiece", 20)
            >>> bare = tokenizer.with_roles(dataclasses.replace(tokenizer.roles, prompt="bare"))
            >>> bare.prompt_ids("to") == bare.encode("to")
            True
        """
        return type(self)(self.engine, _checked_roles(roles))

    def special_id(self, role: str) -> int | None:
        """Id of the token for a role (pad, unk, bos, eos, mask, cls, sep), or ``None``."""
        if role not in ROLES:
            raise ValueError(f"role must be one of {sorted(ROLES)}; received {role!r}.")
        if role == "eos":
            return self.eos_ids[0] if self.eos_ids else None
        name = getattr(self.roles, role)
        return None if name is None else self.engine.token_to_id(name)

    @property
    def template(self) -> tuple[list[int], list[int]]:
        """Ids of the special tokens put before and after a text with ``add_special_tokens``."""
        for text in ("a", "1", ".", "\u4e2d"):  # one that this vocabulary knows
            encoding = self.engine.encode(text, add_special_tokens=True)
            mask = encoding.special_tokens_mask
            if 0 in mask:
                first, rest = mask.index(0), mask[::-1].index(0)
                return encoding.ids[:first], encoding.ids[len(encoding.ids) - rest :]
        return encoding.ids, []

    def added_tokens(self) -> tuple[list[int], list[int]]:
        """`template`, by its old name."""
        return self.template

    @property
    def prompt_template(self) -> tuple[list[int], list[int]]:
        """Ids put before and after a prompt: what ``roles.prompt`` says of the `template`."""
        before, after = ([], []) if self.roles.prompt == "bare" else self.template
        return before, after if self.roles.prompt == "whole" else []

    @property
    def document_template(self) -> tuple[list[int], list[int]]:
        """Ids put before and after each document of a training stream.

        Before it comes what comes before a prompt; after it the token that ends texts or, where
        there is none, the end of the template.
        """
        after = [] if self.roles.prompt == "bare" else self.template[1]
        return self.prompt_template[0], after if self.eos_id is None else [self.eos_id]

    @property
    def pad_id(self) -> int | None:
        """Id of the padding token, or ``None``."""
        return self.special_id("pad")

    @property
    def bos_id(self) -> int | None:
        """Id of the token that starts a text, or ``None``."""
        return self.special_id("bos")

    @property
    def eos_id(self) -> int | None:
        """Id of the token that ends a text, or ``None``; of several, the first."""
        return self.special_id("eos")

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """Ids of all tokens that end a text."""
        ids = (self.engine.token_to_id(name) for name in self.roles.eos)
        return tuple(i for i in ids if i is not None)

    def token_to_id(self, token: str) -> int | None:
        """Id of a token as the engine spells it, or ``None``."""
        return self.engine.token_to_id(checked_text(token, "token"))

    def id_to_token(self, token_id: int) -> str | None:
        """A token as the engine spells it, or ``None``."""
        return self.engine.id_to_token(*checked_ids([token_id]))

    def __len__(self):
        return self.vocab_size

    def __repr__(self):
        return f"<Tokenizer kind={self.kind!r} vocab_size={self.vocab_size}>"

    # === Inside ===

    @property
    def cleans_up(self) -> bool:
        """Whether `decode` leaves out blanks before punctuation; of BPE it never does."""
        return self.roles.clean_up_tokenization_spaces and self.kind != "bpe"

    @property
    def _writes_blanks(self):
        return type(self.engine.decoder).__name__ in ("WordPiece", "NoneType")

    @functools.cached_property
    def _plain_engine(self):
        return without_control_tokens(self.engine)

    def _engine(self, allow_control_tokens):
        """The engine that reads control tokens as such, or the one that reads them as text."""
        allowed = checked_flag(allow_control_tokens, "allow_control_tokens")
        return self.engine if allowed else self._plain_engine


def _checked_roles(roles):
    if not isinstance(roles, Roles):
        raise ValueError(
            f"roles must be keraslm.tokenizers.Roles; received {type(roles).__name__}. Change "
            "those of a tokenizer: dataclasses.replace(tokenizer.roles, prompt='bare')."
        )
    return roles
