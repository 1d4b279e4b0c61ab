"""The tokenizer: plain data beside the model, saved as ``tokenizer.json``."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from keraslm._files import replaced_file

# What a special token is for is known by its name: tokenizer.json has no field for it.
SPECIAL_ROLES = {
    "pad": ("<pad>", "[PAD]", "<|pad|>"),
    "unk": ("<unk>", "[UNK]"),
    "bos": ("<s>", "<|startoftext|>", "[CLS]", "<|endoftext|>"),
    "eos": ("</s>", "<|endoftext|>", "<eos>", "[SEP]"),
    "mask": ("<mask>", "[MASK]"),
    "cls": ("[CLS]", "<s>"),
    "sep": ("[SEP]", "</s>"),
}

KINDS = ("bpe", "wordpiece", "word", "char")


class Encoding(NamedTuple):
    """Ids and where each came from: ``offsets[i] = (start, end)`` in characters of the text."""

    ids: list[int]
    offsets: list[tuple[int, int]]


class Tokenizer:
    """Turns text into token ids and back; saved and loaded as one ``tokenizer.json``.

    The engine is Hugging Face ``tokenizers``; ``tokenizer.engine`` gives it to whoever needs more.
    Make one with `train`, `load`, `from_gpt2_files` or `from_bert_vocab`.

    Args:
        engine: a ``tokenizers.Tokenizer``.

    Example:
        >>> tokenizer = Tokenizer.train(["to be or not to be"] * 9, kind="char", vocab_size=None)
        >>> tokenizer.decode(tokenizer.encode("to be"))
        'to be'
    """

    def __init__(self, engine):
        self.engine = engine

    # === Making one ===

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        kind: str = "bpe",
        vocab_size: int | None = 8192,
        *,
        min_frequency: int = 2,
        lowercase: bool = False,
        special_tokens: Sequence[str] | None = None,
    ) -> "Tokenizer":
        """Train a tokenizer on texts (an iterator is read once, in a stream).

        Args:
            texts: documents.
            kind: ``"bpe"`` (byte-level BPE as in GPT-2: any text, no unknown token),
                ``"wordpiece"`` (BERT's), ``"word"`` (whole words) or ``"char"`` (characters).
            vocab_size: how many tokens, special ones included. ``None``, for words and characters
                only: all that occur.
            min_frequency: pairs, words and characters seen less often are left out.
            lowercase: for ``"wordpiece"`` and ``"word"``: fold case and strip accents.
            special_tokens: default ``("<|endoftext|>",)`` for bpe, BERT's five for wordpiece and
                ``("<pad>", "<unk>", "<|endoftext|>")`` for words and characters.

        Returns:
            a `Tokenizer`.

        Raises:
            ValueError: no text, an unknown ``kind``, or a ``vocab_size`` that the text cannot fill.
        """
        from keraslm.tokenizers.trainers import train

        return cls(train(texts, kind, vocab_size, min_frequency, lowercase, special_tokens))

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Tokenizer":
        """Read a ``tokenizer.json`` (the file, or the folder that holds it).

        Raises:
            FileNotFoundError: no such file.
            ValueError: the file is not a tokenizer.
        """
        import tokenizers

        path = Path(path)
        file = path / "tokenizer.json" if path.is_dir() else path
        if not file.is_file():
            raise FileNotFoundError(
                f"No tokenizer at {file}. Give a tokenizer.json or a folder that holds one."
            )
        try:
            return cls(tokenizers.Tokenizer.from_str(file.read_text(encoding="utf-8")))
        except Exception as error:  # the engine raises bare Exception for malformed files
            raise ValueError(f"{file} is not a readable tokenizer.json: {error}") from error

    @classmethod
    def from_gpt2_files(cls, vocab: str | os.PathLike, merges: str | os.PathLike) -> "Tokenizer":
        """Import ``vocab.json`` and ``merges.txt`` of GPT-2 or RoBERTa.

        Where the vocabulary has all of RoBERTa's special tokens these are special, and
        ``add_special_tokens`` puts ``<s> … </s>`` around a text.
        """
        from keraslm.tokenizers.trainers import from_gpt2_files

        return cls(from_gpt2_files(vocab, merges))

    @classmethod
    def from_bert_vocab(cls, vocab: str | os.PathLike, lowercase: bool = True) -> "Tokenizer":
        """Import BERT's ``vocab.txt`` (one token a line)."""
        from keraslm.tokenizers.trainers import from_bert_vocab

        return cls(from_bert_vocab(vocab, lowercase))

    def save(self, path: str | os.PathLike) -> Path:
        """Write ``tokenizer.json``, whole or not at all. ``path``: the file, or a folder for it."""
        path = Path(path)
        file = path if path.suffix == ".json" else path / "tokenizer.json"
        with replaced_file(file) as new:
            new.write_text(self.to_json(), encoding="utf-8")
        return file

    def to_json(self) -> str:
        """The content of ``tokenizer.json``."""
        return self.engine.to_str()

    # === Text and ids ===

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """Ids of a text. ``add_special_tokens``: BERT's ``[CLS] … [SEP]`` and the like."""
        return self.engine.encode(_text(text), add_special_tokens=add_special_tokens).ids

    def encode_batch(self, texts: Sequence[str], add_special_tokens: bool = False):
        """Ids of several texts, in parallel: a list of lists."""
        encodings = self.engine.encode_batch_fast(
            [_text(text) for text in texts], add_special_tokens=add_special_tokens
        )
        return [encoding.ids for encoding in encodings]

    def encode_with_offsets(self, text: str, add_special_tokens: bool = False) -> Encoding:
        """Ids and, for each, its (start, end) in characters of ``text``."""
        encoding = self.engine.encode(_text(text), add_special_tokens=add_special_tokens)
        return Encoding(encoding.ids, encoding.offsets)

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Text of ids. Bytes that are no whole character become U+FFFD."""
        return self.engine.decode([int(i) for i in ids], skip_special_tokens=skip_special_tokens)

    def decode_batch(self, batch: Sequence[Sequence[int]], skip_special_tokens: bool = True):
        """Texts of several lists of ids."""
        return [self.decode(ids, skip_special_tokens) for ids in batch]

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
        """``"bpe"``, ``"wordpiece"``, ``"word"`` or ``"char"``; else the engine's model name."""
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

    def special_id(self, role: str) -> int | None:
        """Id of the token for a role (pad, unk, bos, eos, mask, cls, sep), or ``None``."""
        if role not in SPECIAL_ROLES:
            raise ValueError(f"role must be one of {sorted(SPECIAL_ROLES)}; received {role!r}.")
        ids = (self.engine.token_to_id(name) for name in SPECIAL_ROLES[role])
        return next((i for i in ids if i is not None), None)

    def added_tokens(self) -> tuple[list[int], list[int]]:
        """Ids of the special tokens put before and after a text with ``add_special_tokens``."""
        encoding = self.engine.encode("a", add_special_tokens=True)
        mask = encoding.special_tokens_mask
        first, rest = mask.index(0), mask[::-1].index(0)
        return encoding.ids[:first], encoding.ids[len(encoding.ids) - rest :]

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
        """Id of the token that ends a text, or ``None``."""
        return self.special_id("eos")

    def token_to_id(self, token: str) -> int | None:
        """Id of a token as the engine spells it, or ``None``."""
        return self.engine.token_to_id(token)

    def id_to_token(self, token_id: int) -> str | None:
        """A token as the engine spells it, or ``None``."""
        return self.engine.id_to_token(token_id)

    def __len__(self):
        return self.vocab_size

    def __repr__(self):
        return f"<Tokenizer kind={self.kind!r} vocab_size={self.vocab_size}>"


def _text(text) -> str:
    if isinstance(text, bytes):
        raise ValueError("text must be str; received bytes. Decode it: text.decode('utf-8').")
    if not isinstance(text, str):
        raise ValueError(f"text must be str; received {type(text).__name__}.")
    return text
