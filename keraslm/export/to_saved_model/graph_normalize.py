"""The engine's normalizers inside the graph, as functions from strings to strings."""

import re
from collections.abc import Callable

import tensorflow as tf

from keraslm.export.to_saved_model import graph_unicode as unicode
from keraslm.export.to_saved_model.graph_precompiled import Precompiled
from keraslm.export.to_saved_model.graph_reading import unsupported
from keraslm.export.to_saved_model.graph_split import apply_tables, lookup, mark_order, shift

# Rust's ``char::is_whitespace``, spelled so that RE2 has no table of its own to consult.
WHITESPACE = (
    r"[\x09-\x0d\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}]"
)
# Expressions that RE2 and the engine read alike.
_PLAIN_PATTERNS = (r" {2,}", r"\n", r"[\n\r\t]", r" +", r"\A +| +\z", "\\A▁")


def normalizer_steps(spec: dict | None) -> list[Callable]:
    """The steps of a normalizer of ``tokenizer.json``, each (pieces,) string to (pieces,) string.

    Raises:
        ValueError: a part that is not reproduced here.
    """
    if spec is None:
        return []
    if spec["type"] == "Sequence":
        return [step for part in spec["normalizers"] for step in normalizer_steps(part)]
    if spec["type"] not in _STEPS:
        raise unsupported("this normalizer", spec["type"])
    return [_STEPS[spec["type"]](spec)]


def literal(text: str) -> str:
    """A string as an expression of RE2, which meets nothing but code points here."""
    return "".join(rf"\x{{{ord(c):x}}}" for c in text)


# === On strings ===


def _prepend(spec):
    return lambda texts: tf.where(texts == "", texts, tf.strings.join([spec["prepend"], texts]))


def _replace(spec):
    pattern = spec["pattern"]
    if "String" in pattern:
        expression = literal(pattern["String"])
    elif pattern["Regex"] in _PLAIN_PATTERNS:
        expression = pattern["Regex"]
    else:
        raise unsupported("Replace with this regular expression", pattern["Regex"])
    if not expression:
        raise unsupported("Replace with an empty pattern", spec)
    content = re.sub(r"\\", r"\\\\", spec["content"])
    return lambda texts: tf.strings.regex_replace(texts, expression, content)


def _strip(spec):
    sides = [("strip_left", rf"\A{WHITESPACE}+"), ("strip_right", rf"{WHITESPACE}+\z")]
    expression = "|".join(pattern for side, pattern in sides if spec[side])
    return lambda texts: tf.strings.regex_replace(texts, expression, "") if expression else texts


# === On code points ===


def _on_codes(step):
    """A step on (codes, piece), as a step on strings."""

    def apply(texts):
        decoded = tf.strings.unicode_decode(texts, "UTF-8")
        codes, piece = step(decoded.values, decoded.value_rowids())
        ragged = tf.RaggedTensor.from_value_rowids(codes, piece, nrows=decoded.nrows())
        return tf.strings.unicode_encode(ragged, "UTF-8")

    return apply


def _simple(spec):
    return _by_tables(unicode.simple_tables(spec["type"]))


def _by_tables(tables):
    def step(codes, piece):
        codes, piece, _ = apply_tables(tables, codes, piece)
        return codes, piece

    return _on_codes(step)


def _decompose(spec):
    return _by_tables(unicode.form_tables(spec["type"]))


def _compose(spec):
    tables = unicode.form_tables(spec["type"].replace("C", "D"))
    keys, values = unicode.compositions()

    def step(codes, piece):
        codes, piece, _ = apply_tables(tables, codes, piece)
        return compose(codes, piece, mark_order(tables, codes), keys, values)

    return _on_codes(step)


def compose(codes, piece, order, keys, values):
    """Join characters with the marks after them (canonical composition, Unicode §3.11).

    Args:
        codes: (n,) int32, decomposed and sorted.
        piece: (n,) int64 number of the piece each belongs to.
        order: (n,) int32 combining class, or its rank; 0 for a starter.
        keys: (pairs,) int64, ``first * 2**21 + second`` of the pairs that join, sorted.
        values: (pairs,) int32 what they become.

    Returns:
        (codes, piece) of the composed characters.
    """
    # A run begins with what can join nothing before it: runs do not depend on each other.
    seconds = tf.constant(sorted(set((keys & (1 << 21) - 1).tolist())), tf.int32)
    place = tf.minimum(tf.searchsorted(seconds, codes), tf.size(seconds) - 1)
    joins = (order > 0) | (tf.gather(seconds, place) == codes)
    begins = ~joins | (piece != shift(piece, 1, -1))
    start = tf.cast(tf.where(begins)[:, 0], tf.int32)
    end = tf.concat([start[1:], [tf.size(codes)]], 0)[: tf.size(start)]
    several = end - start > 1
    start, end = tf.boolean_mask(start, several), tf.boolean_mask(end, several)
    # A mark at the start of a text is no starter.
    starter = tf.where(tf.gather(order, start) == 0, start, -1)

    def step(at, end, starter, last, codes, left):
        code, rank = tf.gather(codes, at), tf.gather(order, at)
        base = tf.where(starter >= 0, tf.gather(codes, tf.maximum(starter, 0)), 0)
        key = tf.cast(base, tf.int64) * (1 << 21) + tf.cast(code, tf.int64)
        entry, found = lookup(keys, key)
        found &= (starter >= 0) & ((last == 0) | (last < rank))
        joined = tf.where(found)
        codes = tf.tensor_scatter_nd_update(
            codes,
            tf.gather(starter, joined),
            tf.gather(tf.constant(values), tf.gather(entry, joined[:, 0])),
        )
        gone = tf.gather(at, joined)
        left = tf.tensor_scatter_nd_update(left, gone, tf.zeros_like(gone[:, 0], tf.bool))
        last = tf.where(found, last, rank)
        starter = tf.where(~found & (rank == 0), at, starter)
        more = at + 1 < end
        at, end, starter, last = (tf.boolean_mask(x, more) for x in (at + 1, end, starter, last))
        return at, end, starter, last, codes, left

    # What comes first has no class that could block: a starter, or a mark without one.
    state = (start + 1, end, starter, tf.zeros_like(start), codes, tf.ones_like(codes, tf.bool))
    any_length = tf.TensorShape([None])
    *_, codes, left = tf.while_loop(
        lambda at, *_: tf.size(at) > 0, step, state, shape_invariants=(any_length,) * 6
    )
    return tf.boolean_mask(codes, left), tf.boolean_mask(piece, left)


def _precompiled(spec):
    return _on_codes(Precompiled(spec["precompiled_charsmap"]))


_STEPS: dict[str, Callable] = {
    "Prepend": _prepend,
    "Replace": _replace,
    "Strip": _strip,
    "Lowercase": _simple,
    "StripAccents": _simple,
    "Nmt": _simple,
    "NFD": _decompose,
    "NFKD": _decompose,
    "NFC": _compose,
    "NFKC": _compose,
    "Precompiled": _precompiled,
}
