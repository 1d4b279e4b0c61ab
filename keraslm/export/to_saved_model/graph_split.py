"""From code points to words inside the graph: the engine's normalizers and pre-tokenizers."""

import tensorflow as tf

from keraslm.export.to_saved_model import graph_unicode as unicode

CONTRACTIONS = ("s", "t", "re", "ve", "m", "ll", "d")  # after an apostrophe, in GPT-2's pattern


def shift(values, by, fill):
    """Values moved by places to the right (left where negative): (n,) to (n,)."""
    if by > 0:
        return tf.pad(values, [[by, 0]], constant_values=fill)[:-by]
    return tf.pad(values, [[0, -by]], constant_values=fill)[-by:]


def byte_level_starts(codes, kind, piece):
    r"""Where the words of GPT-2's pattern begin.

    The pattern is ``'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+``.

    Args:
        codes: (n,) int32 code points of all pieces of text, one after the other.
        kind: (n,) int32 their classes.
        piece: (n,) int64 number of the piece each belongs to.

    Returns:
        (n,) bool.
    """
    opens = piece != shift(piece, 1, -1)
    closes = shift(opens, -1, True)
    space = kind == unicode.SPACE
    space_before = shift(space, 1, False) & ~opens
    blank_before = (shift(codes, 1, 0) == ord(" ")) & ~opens
    other_before = (shift(kind, 1, unicode.SPACE) == unicode.OTHER) & ~opens
    # \s+(?!\S) leaves the last space of a run to the word that follows.
    last_space = ~closes & ~shift(space, -1, False)
    changed = opens | (kind != shift(kind, 1, unicode.SPACE))
    starts = tf.where(space, ~space_before | last_space, ~blank_before & changed)

    # An apostrophe opens a contraction unless an earlier match has swallowed it.
    free = (codes == ord("'")) & ~other_before & ~blank_before
    for letters in CONTRACTIONS:
        found = free
        for i, letter in enumerate(letters, 1):
            found &= (shift(codes, -i, 0) == ord(letter)) & (shift(piece, -i, -1) == piece)
        starts |= shift(found, len(letters) + 1, False)
        for i in range(1, len(letters) + 1):
            starts &= ~shift(found, i, False)
    return starts | opens


class WordSplitter:
    """Normalizer and pre-tokenizer of words, word pieces and characters.

    Args:
        normalizer: tables of the normalizer, or ``None``.
        pre_tokenizer: ``"Whitespace"``, ``"BertPreTokenizer"``, or ``None``: single characters.
    """

    def __init__(self, normalizer: unicode.Normalizer | None, pre_tokenizer: str | None):
        self._normalizer = normalizer
        self._classes = pre_tokenizer and unicode.pre_tokenizer_classes(pre_tokenizer)

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
            codes, piece, isolated = self._normalize(codes, piece)
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

    def _normalize(self, codes, piece):
        """(codes, piece) as in `__call__` to normalized (codes, piece, isolated)."""
        table = self._normalizer
        action = table.actions(codes)
        entry, found = lookup(table.changed, codes)
        splits = tf.constant(table.splits)
        first = tf.gather(splits, entry)
        count = tf.where(found, tf.gather(splits, entry + 1) - first, 1)
        count = tf.where(action == unicode.DROP, 0, count)
        source = tf.repeat(tf.range(tf.size(codes)), count)  # one code point may become several
        place = tf.range(tf.size(source)) - tf.gather(tf.cumsum(count, exclusive=True), source)
        found = tf.gather(found, source)
        changed = tf.gather(first, source) + place
        changed = tf.gather(tf.constant(table.new), tf.where(found, changed, 0))
        codes = tf.where(found, changed, tf.gather(codes, source))
        piece, action = tf.gather(piece, source), tf.gather(action, source)
        if len(table.marks):
            entry, found = lookup(table.marks, codes)
            order = tf.where(found, tf.gather(tf.constant(table.mark_order), entry), 0)
            base = tf.cumsum(tf.cast((order == 0) | (piece != shift(piece, 1, -1)), tf.int64))
            order = tf.argsort(base * 65536 + tf.cast(order, tf.int64), stable=True)
            codes, action = tf.gather(codes, order), tf.gather(action, order)
        left = action != unicode.BLOCK
        isolated = action == unicode.ISOLATE
        return (tf.boolean_mask(x, left) for x in (codes, piece, isolated))


def lookup(keys, queries):
    """Index of each query in a sorted array (any index where absent) and whether it is there.

    Args:
        keys: (entries,) numpy array, sorted, at least one entry.
        queries: (n,) tensor of the same dtype.
    """
    keys = tf.constant(keys)
    index = tf.minimum(tf.searchsorted(keys, queries), tf.size(keys) - 1)
    return index, tf.gather(keys, index) == queries
