"""SentencePiece's ``.model`` file: read without the package, and made into an engine.

The file is a protocol buffer (``sentencepiece_model.proto``), of which few fields matter.
"""

import re
import struct
from pathlib import Path
from typing import Any, NamedTuple

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
UNIGRAM, BPE = 1, 2
SPACE = "\u2581"


class Piece(NamedTuple):
    """A token, its score and its type (`NORMAL`, `CONTROL`, …)."""

    name: str
    score: float
    type: int


class SentencePieceModel(NamedTuple):
    """What the file holds.

    ``special`` are the ids and names of unk, bos, eos, by role; an id below 0: there is none.
    """

    pieces: list[Piece]
    model_type: int
    byte_fallback: bool
    special: dict[str, tuple[int, str]]
    charsmap: bytes
    add_dummy_prefix: bool
    remove_extra_whitespaces: bool
    escape_whitespaces: bool

    @property
    def names(self) -> list[str]:
        """The pieces by id."""
        return [piece.name for piece in self.pieces]

    @property
    def added(self) -> list[tuple[str, bool]]:
        """Pieces found whole in a text, and whether they are control tokens."""
        whole = (CONTROL, USER_DEFINED)
        return [(p.name, p.type == CONTROL) for p in self.pieces if p.type in whole]


def read(file: Path) -> SentencePieceModel:
    """Read a ``.model`` file.

    Raises:
        ValueError: it is none, or of a type other than Unigram and BPE.
    """
    try:
        model = _fields(file.read_bytes())
        pieces = [_piece(_fields(value)) for value in model[1]]
        trainer, normalizer = _fields(model[2][0]), _fields(model.get(3, [b""])[0])
    except (KeyError, IndexError, ValueError, TypeError, struct.error) as error:
        raise ValueError(f"{file} is not a SentencePiece model: {error!r}.") from error

    def last(fields, number, default):
        return fields.get(number, [default])[-1]

    kind = last(trainer, 3, UNIGRAM)
    if kind not in (UNIGRAM, BPE):
        raise ValueError(f"{file} has model_type={kind}; only Unigram (1) and BPE (2) are known.")
    if last(trainer, 24, 0):
        raise ValueError(f"{file} has treat_whitespace_as_suffix, which is not supported.")
    special = {
        role: (_signed(last(trainer, number, i)), last(trainer, name, usual.encode()).decode())
        for role, number, i, name, usual in (
            ("unk", 40, 0, 45, "<unk>"), ("bos", 41, 1, 46, "<s>"), ("eos", 42, 2, 47, "</s>")
        )
    }  # fmt: skip
    return SentencePieceModel(
        pieces,
        kind,
        bool(last(trainer, 35, 0)),
        special,
        last(normalizer, 2, b""),
        bool(last(normalizer, 3, 1)),
        bool(last(normalizer, 4, 1)),
        bool(last(normalizer, 5, 1)),
    )


def _piece(fields):
    (score,) = struct.unpack("<f", fields.get(2, [b"\0\0\0\0"])[-1])
    return Piece(fields[1][-1].decode("utf-8"), score, fields.get(3, [NORMAL])[-1])


def _signed(number):
    return number - (1 << 64) if number >= 1 << 63 else number


def _fields(data):
    """A message as ``{number of the field: values}``: ints, or bytes."""
    fields: dict[int, list[Any]] = {}
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(data, at)
        elif kind in (1, 2, 5):
            length, at = _varint(data, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
            value, at = data[at : at + length], at + length
            if at > len(data):
                raise ValueError("its end is missing")
        else:
            raise ValueError(f"a field of type {kind}")
        fields.setdefault(number, []).append(value)
    return fields


def _varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value, at, shift = value | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return value, at


# === Engines ===


def merges_of(ranks: dict[str, Any]) -> list[tuple[str, str]]:
    """Merges of a BPE that knows only its tokens: each by the rank of what it gives.

    Args:
        ranks: what the tokens are sorted by.
    """
    ids = {token: i for i, token in enumerate(ranks)}
    found = []
    for token, rank in ranks.items():
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in ids and right in ids:
                found.append((rank, left, right))
    return [(left, right) for _, left, right in found]


def engine_of(model: SentencePieceModel, names: dict[int, str], is_legacy: bool = True) -> Any:
    """An engine that encodes as SentencePiece itself, by the settings in the file.

    Args:
        model: what the file holds.
        names: ids of pieces that have other names.
        is_legacy: put the dummy prefix before every text between special tokens, not only the
            first.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    kept = {name for i, name in enumerate(model.names) if i not in names}
    pieces = [
        p._replace(name=names[i]) if i in names and names[i] not in kept else p
        for i, p in enumerate(model.pieces)
    ]
    whole = [p.name for p in pieces if p.type == USER_DEFINED]
    if model.model_type == UNIGRAM:
        vocab = [(p.name, p.score) for p in pieces]
        engine = Tokenizer(
            models.Unigram(vocab, model.special["unk"][0], byte_fallback=model.byte_fallback)
        )
    else:
        ids = {p.name: i for i, p in enumerate(pieces)}
        ranks = {p.name: (-p.score, ids[p.name]) for p in pieces if p.type == NORMAL}
        found = []
        for left, right in merges_of(ranks):
            found.append((*ranks[left + right], left, right))
        engine = Tokenizer(
            models.BPE(
                vocab=ids,
                merges=[(left, right) for *_, left, right in sorted(found)],
                unk_token=model.special["unk"][1],
                fuse_unk=True,
                byte_fallback=model.byte_fallback,
                ignore_merges=bool(whole),
            )
        )
    steps: list[Any] = [normalizers.Precompiled(model.charsmap)] if model.charsmap else []
    if model.remove_extra_whitespaces:
        steps.append(normalizers.Replace(Regex(r"\A +| +\z"), ""))
        steps.append(normalizers.Replace(Regex(" {2,}"), " "))
    if model.escape_whitespaces:
        steps.append(normalizers.Replace(" ", SPACE))
    if model.add_dummy_prefix and is_legacy:  # Metaspace would put none before one that is there
        steps.append(normalizers.Replace(Regex(rf"\A{SPACE}"), SPACE * 2))
    engine.normalizer = normalizers.Sequence(steps)
    cuts: list[Any] = []
    if model.add_dummy_prefix:
        scheme = "always" if is_legacy else "first"
        cuts.append(pre_tokenizers.Metaspace(SPACE, prepend_scheme=scheme, split=False))
    if whole:
        pattern = "|".join(re.escape(name) for name in sorted(whole, key=len, reverse=True))
        cuts.append(pre_tokenizers.Split(Regex(pattern), "isolated"))
    if cuts:
        engine.pre_tokenizer = pre_tokenizers.Sequence(cuts)
    back: list[Any] = [decoders.Replace(SPACE, " ")]
    back += [decoders.ByteFallback()] if model.byte_fallback else []
    if model.add_dummy_prefix:
        back += [decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    elif model.byte_fallback:
        back.append(decoders.Fuse())
    engine.decoder = decoders.Sequence(back)
    return engine
