"""What the engine does with each code point, found by asking it, as small tables for the graph.

TensorFlow's own tables (RE2, ICU) follow other Unicode versions and so disagree on a few hundred
characters. The engine is asked once about all code points, in order and in one string: its answer
is a few hundred runs of equal behaviour.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import tensorflow as tf

# Classes of code points of words. Neighbours of one class join, except ISOLATED ones.
SPACE, LETTER, OTHER, ISOLATED = range(4)

# What a normalizer does with a code point. BLOCK: dropped, but marks are not sorted across it.
KEEP, ISOLATE, DROP, BLOCK = range(4)

# Not asked about: surrogates, which no text holds, and the ten planes that hold no character yet.
_GAPS = (range(0xD800, 0xE000), range(0x40000, 0xE0000))
_CODES = np.delete(np.arange(0x110000, dtype=np.int32), np.r_[tuple(map(np.array, _GAPS))])
_BETWEEN = "※"  # between texts: no normalizer changes it, makes it or joins anything with it
_LAST_MARK = "\u0345"  # the one of canonical combining class 240, the highest
_HIGH_SPACING, _LOW_SPACING = "\u302e", "\U0001d165"  # 224 and 216, which BERT does not strip


class Runs(NamedTuple):
    """A function of the code point that is constant in runs. Both arrays: (runs,) int32."""

    starts: np.ndarray
    values: np.ndarray

    def __call__(self, codes):
        """Values of code points: (n,) int32 to (n,) int32."""
        run = tf.searchsorted(tf.constant(self.starts), codes, side="right") - 1
        return tf.gather(tf.constant(self.values), run)


class Normalizer(NamedTuple):
    """Tables of a normalizer that works by the code point and then sorts marks.

    actions: KEEP, ISOLATE (spaces go around it), DROP or BLOCK, by code point.
    changed: (changed,) int32, sorted: code points that become others; their new ones are
        ``new[splits[i]:splits[i + 1]]``.
    marks: (marks,) int32, sorted: the code points that are sorted, and their order in mark_order.
    """

    actions: Runs
    changed: np.ndarray
    splits: np.ndarray
    new: np.ndarray
    marks: np.ndarray
    mark_order: np.ndarray


def _text(codes):
    """The string of an array of code points."""
    return np.asarray(codes, "<u4").tobytes().decode("utf-32-le")


def _codes(text):
    """The code points of a string: (n,) uint32."""
    return np.frombuffer(text.encode("utf-32-le"), "<u4")


def every_character(but: str) -> str:
    """Every character that is asked about but one."""
    return _text(_CODES).replace(but, "")


def _runs(values):
    """Runs of the values of `_CODES`."""
    everywhere = np.zeros(0x110000, np.int32)
    everywhere[_CODES] = values
    return runs(everywhere)


def runs(everywhere: np.ndarray) -> Runs:
    """Runs of (0x110000,) values; a gap takes the value of the unassigned one before it."""
    for gap in _GAPS:
        everywhere[gap.start : gap.stop] = everywhere[gap.start - 1]
    starts = np.flatnonzero(np.diff(everywhere, prepend=-1))
    return Runs(starts.astype(np.int32), everywhere[starts])


# === Classes of characters ===


@cache
def regex_class(pattern: str) -> Runs:
    r"""1 for every code point that an expression of one character matches, such as ``\p{L}``."""
    from tokenizers import Regex, pre_tokenizers

    return _removed(pre_tokenizers.Split(Regex(f"(?:{pattern})+"), "removed"))


@cache
def whitespace() -> Runs:
    """1 for every code point that ``WhitespaceSplit`` and ``Strip`` take for a space."""
    from tokenizers import pre_tokenizers

    return _removed(pre_tokenizers.WhitespaceSplit())


@cache
def digits() -> Runs:
    """1 for every code point that the pre-tokenizer ``Digits`` takes for a digit."""
    from tokenizers import pre_tokenizers

    characters = _text(_CODES)
    inside = np.zeros(len(characters), np.int32)
    for word, (start, end) in pre_tokenizers.Digits().pre_tokenize_str(characters):
        # A run of digits stays apart from a letter.
        inside[start:end] = len(pre_tokenizers.Digits().pre_tokenize_str("a" + word[0])) == 2
    return _runs(inside)


def _removed(engine):
    """1 for the code points that a pre-tokenizer removes."""
    characters = _text(_CODES)
    inside = np.ones(len(characters), np.int32)
    for _, (start, end) in engine.pre_tokenize_str(characters):
        inside[start:end] = 0
    return _runs(inside)


@cache
def pre_tokenizer_classes(name: str) -> Runs:
    """Class of every code point for ``Whitespace`` or ``BertPreTokenizer``."""
    from tokenizers import pre_tokenizers

    engine = getattr(pre_tokenizers, name)()
    characters = _text(_CODES)
    spans = [span for _, span in engine.pre_tokenize_str(characters)]
    # Wherever the class changes the engine splits.
    edges = sorted({0, ord(" "), ord("!")} | {edge for span in spans for edge in span})
    edges = [edge for edge in edges if edge < len(characters)]
    classes = [_word_class(engine, characters[edge]) for edge in edges]
    return _runs(np.repeat(classes, np.diff([*edges, len(characters)])))


def _word_class(engine, character):
    spans = [span for _, span in engine.pre_tokenize_str("a" + character)]
    if spans[-1][1] == 1:
        return SPACE
    if len(spans) == 1:
        return LETTER
    return OTHER if len(engine.pre_tokenize_str(character * 2)) == 1 else ISOLATED


# === Normalizers ===


@cache
def folding_tables() -> Normalizer:
    """Tables of NFD, StripAccents and Lowercase, which leave no mark that could be sorted."""
    from tokenizers import normalizers

    parts = [normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()]
    return _tables(normalizers.Sequence(parts), lambda *_: {})


@cache
def bert_tables(clean_text, handle_chinese_chars, strip_accents, lowercase) -> Normalizer:
    """Tables of a BertNormalizer."""
    from tokenizers import normalizers

    strips = lowercase if strip_accents is None else strip_accents
    engine = normalizers.BertNormalizer(clean_text, handle_chinese_chars, strips, lowercase)
    cleaner = normalizers.BertNormalizer(clean_text, False, False, False)

    def marks(characters, answers, actions):
        if not strips:  # then it does not decompose either
            return {}
        # Controls go before marks are sorted; what goes only after can stand between two marks.
        dropped = cleaner.normalize_str(_text(np.flatnonzero(actions == DROP)))
        texts = [_HIGH_SPACING + c + _LOW_SPACING for c in sorted(set(dropped))]
        for text, answer in zip(texts, _ask(engine, texts), strict=True):
            if answer == _HIGH_SPACING + _LOW_SPACING:
                actions[ord(text[1])] = BLOCK
        return _sorted_marks("".join(c for c, a in zip(characters, answers, strict=True) if c == a))

    return _tables(engine, marks)


@cache
def form_tables(form: str) -> Normalizer:
    """Tables of the normalization forms ``NFD`` and ``NFKD``."""
    from tokenizers import normalizers

    def marks(characters, answers, _):
        left = "".join(c for c, a in zip(characters, answers, strict=True) if c == a)
        order = _sorted_marks(left)
        return {**order, ord(_LAST_MARK): 1 + len(order)}

    return _tables(getattr(normalizers, form)(), marks)


@cache
def simple_tables(name: str) -> Normalizer:
    """Tables of ``Lowercase``, ``StripAccents`` or ``Nmt``, which look at one code point alone."""
    from tokenizers import normalizers

    return _tables(getattr(normalizers, name)(), lambda *_: {})


@cache
def compositions() -> tuple[np.ndarray, np.ndarray]:
    """Pairs that ``NFC`` joins: (pairs,) int64, sorted, first * 2**21 + second; (pairs,) int32."""
    from tokenizers import normalizers

    nfc, nfd = normalizers.NFC(), normalizers.NFD()
    characters = _text(_CODES).replace(_BETWEEN, "")
    apart, joined = _ask(nfd, characters), _ask(nfc, characters)
    whole = [(c, d) for c, d, j in zip(characters, apart, joined, strict=True) if c == j != d]
    firsts = _ask(nfc, [d[:-1] for _, d in whole])
    pairs = sorted(
        (ord(first) << 21 | ord(d[-1]), ord(c)) for (c, d), first in zip(whole, firsts, strict=True)
    )
    keys, values = zip(*pairs, strict=True)
    return np.array(keys, np.int64), np.array(values, np.int32)


def _tables(engine, marks):
    """Ask about every code point; ``marks(characters, answers, actions)`` gives mark_order."""
    characters = _text(_CODES).replace(_BETWEEN, "")
    answers = _ask(engine, characters)
    actions = np.zeros(0x110000, np.int32)
    changed, new = [], []
    for character, answer in zip(characters, answers, strict=True):
        if answer == character:
            continue
        code = ord(character)
        if not answer:
            actions[code] = DROP
            continue
        if len(answer) > 2 and answer[0] == answer[-1] == " ":
            actions[code] = ISOLATE
            answer = answer[1:-1]
        if answer != character:
            changed.append(code)
            new.append([ord(c) for c in answer])
    order = marks(characters, answers, actions)
    return Normalizer(
        actions=_runs(actions[_CODES]),
        changed=np.array(changed or [-1], np.int32),
        splits=np.cumsum([0, *map(len, new or [[-1]])]).astype(np.int32),
        new=np.array([c for codes in new or [[-1]] for c in codes], np.int32),
        marks=np.array(sorted(order), np.int32),
        mark_order=np.array([order[code] for code in sorted(order)], np.int32),
    )


def _ask(engine, texts):
    """Normalized texts, all in one call."""
    return engine.normalize_str(_BETWEEN.join(texts)).split(_BETWEEN)


def _sorted_marks(left):
    """{code point: order} of the marks in a string of characters: those that NFD moves."""
    from tokenizers import normalizers

    nfd = normalizers.NFD()
    # With the mark that is sorted last before each, what stays in its place is no mark.
    paired = np.full((len(left), 2), ord(_LAST_MARK))
    paired[:, 1] = _codes(left)
    moved = np.any(paired != _codes(nfd.normalize_str(_text(paired))).reshape(-1, 2), axis=1)
    marks = [left[i] for i in np.flatnonzero(moved)]
    return {
        ord(c): 1 + sum(nfd.normalize_str(c + d) == d + c != c + d for d in marks) for c in marks
    }
