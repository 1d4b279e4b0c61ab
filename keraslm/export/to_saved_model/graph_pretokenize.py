"""The engine's pre-tokenizers inside the graph: characters of pieces of text to words."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from keraslm.export.to_saved_model import graph_unicode as unicode
from keraslm.export.to_saved_model.graph_patterns import GPT2, Matcher, Scan, find_matcher, literals
from keraslm.export.to_saved_model.graph_reading import unsupported
from keraslm.export.to_saved_model.graph_split import shift


class Text(NamedTuple):
    """Characters of pieces of text, one after the other.

    codes: (n,) int32 code points.
    piece: (n,) int64 number of the piece each belongs to.
    word: (n,) int64 number of the word each belongs to, ascending; a word is in one piece.
    """

    codes: tf.Tensor
    piece: tf.Tensor
    word: tf.Tensor

    @property
    def starts(self):
        """(n,) bool, True where a word begins."""
        return self.word != shift(self.word, 1, -1)

    def cut(self, starts):
        """The text with words that begin at other places too: (n,) bool."""
        word = tf.cumsum(tf.cast(starts | self.starts, tf.int64)) - 1
        return self._replace(word=word)

    def keep(self, mask):
        """The text without the characters where a mask (n,) bool is False."""
        return Text(*(tf.boolean_mask(x, mask) for x in self))

    def insert(self, mask, code):
        """The text with a character before those where a mask (n,) bool is True, in their word."""
        source = tf.repeat(tf.range(tf.size(mask)), 1 + tf.cast(mask, tf.int32))
        new = source == shift(source, -1, -1)
        text = Text(*(tf.gather(x, source) for x in self))
        return text._replace(codes=tf.where(new, code, text.codes))


def characters_of(pieces) -> Text:
    """Characters of pieces, each of them one word: (pieces,) string."""
    decoded = tf.strings.unicode_decode(pieces, "UTF-8")
    piece = decoded.value_rowids()
    return Text(decoded.values, piece, piece)


Step = Callable[[Text, tf.Tensor], Text]


def pre_tokenizer_steps(spec: dict | None) -> list[Step]:
    """The steps of a pre-tokenizer of ``tokenizer.json``.

    A step is a function of a `Text` and (pieces,) bool, True for pieces that begin a whole text.

    Raises:
        ValueError: a part that is not reproduced here.
    """
    if spec is None:
        return []
    if spec["type"] == "Sequence":
        parts = spec["pretokenizers"]
        for part in parts[:-1]:
            if part["type"] == "ByteLevel":  # what follows would see the signs for bytes
                raise unsupported("a pre-tokenizer after ByteLevel", parts[-1]["type"])
        for part in parts[1:] if len(parts) > 1 else []:
            if part.get("prepend_scheme") == "first":
                raise unsupported("Metaspace with prepend_scheme='first' after another", parts)
        return [step for part in parts for step in pre_tokenizer_steps(part)]
    if spec["type"] not in _STEPS:
        raise unsupported("this pre-tokenizer", spec["type"])
    return [_STEPS[spec["type"]](spec)]


def is_byte_level(spec: dict | None) -> bool:
    """Whether a pre-tokenizer ends in ByteLevel: the model then sees bytes."""
    if spec is None:
        return False
    if spec["type"] == "Sequence":
        return any(is_byte_level(part) for part in spec["pretokenizers"])
    return spec["type"] == "ByteLevel"


def _by_pattern(text, matcher: Matcher):
    return text.cut(Scan(text.codes, text.starts).words(matcher))


def _byte_level(spec):
    def step(text, first):
        if spec["add_prefix_space"]:
            text = text.insert(text.starts & (text.codes != ord(" ")), ord(" "))
        return _by_pattern(text, GPT2) if spec["use_regex"] else text

    return step


def _split(spec):
    pattern, behavior = spec["pattern"], spec["behavior"]
    if spec["invert"]:
        raise unsupported("Split with invert", pattern)
    if pattern == {"String": " "} and behavior == "MergedWithPrevious":  # Gemma
        return lambda text, first: text.cut(shift(text.codes, 1, 0) == ord(" "))
    if behavior != "Isolated":
        raise unsupported("Split with this behavior", behavior)
    matcher = find_matcher(pattern["Regex"]) if "Regex" in pattern else literals(pattern["String"])
    if matcher is None:
        raise unsupported("Split with this pattern", pattern)
    return lambda text, first: _by_pattern(text, matcher)


def _digits(spec):
    def step(text, first):
        digit = unicode.digits()(text.codes) == 1
        before = shift(digit, 1, False)
        apart = (digit | before) if spec["individual_digits"] else digit != before
        return text.cut(apart)

    return step


def _whitespace_split(spec):
    def step(text, first):
        space = unicode.whitespace()(text.codes) == 1
        return text.cut(shift(space, 1, False)).keep(~space)

    return step


def _metaspace(spec):
    sign, scheme = ord(spec["replacement"]), spec["prepend_scheme"]

    def step(text, first):
        text = text._replace(codes=tf.where(text.codes == ord(" "), sign, text.codes))
        bare = text.starts & (text.codes != sign)
        if scheme == "first":
            bare &= tf.gather(first, text.piece)
        if scheme != "never":
            text = text.insert(bare, sign)
        return text.cut(text.codes == sign) if spec["split"] else text

    return step


_STEPS: dict[str, Callable[[dict], Step]] = {
    "ByteLevel": _byte_level,
    "Split": _split,
    "Digits": _digits,
    "WhitespaceSplit": _whitespace_split,
    "Metaspace": _metaspace,
}
