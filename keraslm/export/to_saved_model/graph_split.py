"""From code points to words inside the graph: the engine's normalizers and pre-tokenizers."""

import tensorflow as tf

from keraslm.export.to_saved_model import graph_unicode as unicode


def shift(values, by, fill):
    """Values moved by places to the right (left where negative): (n,) to (n,)."""
    if by > 0:
        return tf.pad(values, [[by, 0]], constant_values=fill)[:-by]
    return tf.pad(values, [[0, -by]], constant_values=fill)[-by:]


class WordSplitter:
    """Normalizer and pre-tokenizer of words, word pieces and characters.

    Args:
        normalizer: tables of the normalizer, or ``None``.
        pre_tokenizer: ``"Whitespace"``, ``"BertPreTokenizer"``, or ``None``: single characters.
    """

    def __init__(self, normalizer: unicode.Normalizer | None, pre_tokenizer: str | None):
        self._normalizer = normalizer
        self._classes = (
            None if pre_tokenizer is None else unicode.pre_tokenizer_classes(pre_tokenizer)
        )

    def __call__(self, codes, piece):
        """Words of pieces of text.

        Args:
            codes: (n,) int32 code points of all pieces, one after the other.
            piece: (n,) int64 number of the piece each belongs to.

        Returns:
            (codes, piece, starts) of the normalized characters that belong to words: (m,) int32,
            (m,) int64 and (m,) bool, True where a word begins.
        """
        isolated = tf.zeros_like(codes, tf.bool)
        if self._normalizer is not None:
            codes, piece, isolated = apply_tables(self._normalizer, codes, piece)
        if self._classes is None:
            return codes, piece, tf.ones_like(isolated)
        kind = self._classes(codes)
        isolated |= kind == unicode.ISOLATED
        starts = (
            (piece != shift(piece, 1, -1))
            | (kind != shift(kind, 1, -1))
            | isolated
            | shift(isolated, 1, False)
        )
        word = kind != unicode.SPACE
        return (tf.boolean_mask(x, word) for x in (codes, piece, starts))


def apply_tables(table: unicode.Normalizer, codes, piece):
    """Normalize by the code point, and sort marks.

    Args:
        table: the tables.
        codes: (n,) int32 code points of all pieces, one after the other.
        piece: (n,) int64 number of the piece each belongs to.

    Returns:
        (codes, piece, isolated) of the normalized characters: (m,) int32, (m,) int64 and (m,) bool,
        True for those between spaces.
    """
    action = table.actions(codes)
    entry, found = lookup(table.changed, codes)
    left = action != unicode.DROP
    codes, entry, piece, action = (
        tf.boolean_mask(x, left) for x in (codes, tf.where(found, entry, -1), piece, action)
    )
    codes, source = replace_codes(codes, entry, table.splits, table.new)
    piece, action = tf.gather(piece, source), tf.gather(action, source)
    if len(table.marks):
        order = mark_order(table, codes)
        base = tf.cumsum(tf.cast((order == 0) | (piece != shift(piece, 1, -1)), tf.int64))
        order = tf.argsort(base * 65536 + tf.cast(order, tf.int64), stable=True)
        codes, action = tf.gather(codes, order), tf.gather(action, order)
    left = action != unicode.BLOCK
    isolated = action == unicode.ISOLATE
    return (tf.boolean_mask(x, left) for x in (codes, piece, isolated))


def replace_codes(codes, entry, splits, new):
    """Replace code points by others, fewer or more.

    Args:
        codes: (n,) int32.
        entry: (n,) int32 what each becomes, ``new[splits[entry]:splits[entry + 1]]``; -1: itself.
        splits, new: numpy int32.

    Returns:
        (m,) int32 code points, and (m,) int32, the place that each comes from.
    """
    found, entry = entry >= 0, tf.maximum(entry, 0)
    first = tf.gather(tf.constant(splits), entry)
    count = tf.where(found, tf.gather(tf.constant(splits), entry + 1) - first, 1)
    source = tf.repeat(tf.range(tf.size(codes)), count)
    place = tf.range(tf.size(source)) - tf.gather(tf.cumsum(count, exclusive=True), source)
    found = tf.gather(found, source)
    changed = tf.where(found, tf.gather(first, source) + place, 0)
    changed = tf.gather(tf.constant(new), changed)
    return tf.where(found, changed, tf.gather(codes, source)), source


def mark_order(table: unicode.Normalizer, codes):
    """Where each mark is sorted to, 0 for what is no mark: (n,) int32 to (n,) int32."""
    entry, found = lookup(table.marks, codes)
    return tf.where(found, tf.gather(tf.constant(table.mark_order), entry), 0)


def lookup(keys, queries):
    """Index of each query in a sorted array (any index where absent) and whether it is there.

    Args:
        keys: (entries,) numpy array, sorted, at least one entry.
        queries: (n,) tensor of the same dtype.
    """
    keys = tf.constant(keys)
    index = tf.minimum(tf.searchsorted(keys, queries), tf.size(keys) - 1)
    return index, tf.gather(keys, index) == queries
