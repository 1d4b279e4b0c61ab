"""From words to ids inside the graph: byte-pair encoding, on bytes or on characters."""

from collections.abc import Callable
from functools import cache

import numpy as np
import tensorflow as tf

from keraslm._scripts import byte_alphabet
from keraslm.export.to_saved_model.graph_pretokenize import Step, Text, characters_of
from keraslm.export.to_saved_model.graph_split import lookup, shift
from keraslm.export.to_saved_model.graph_trie import Trie

_NEVER = np.iinfo(np.int32).max


def to_bytes(codes):
    """UTF-8: (n,) int32 code points to (m,) int32 bytes, and (m,) int32, the place of each."""
    size = 1 + sum(tf.cast(codes >= bound, tf.int32) for bound in (0x80, 0x800, 0x10000))
    source = tf.repeat(tf.range(tf.size(codes)), size)
    code, size, offset = (
        tf.gather(x, source) for x in (codes, size, tf.cumsum(size, exclusive=True))
    )
    place = tf.range(tf.size(source)) - offset
    bits = tf.bitwise.right_shift(code, 6 * (size - 1 - place))
    lead = tf.gather([0, 0, 0xC0, 0xE0, 0xF0], size)
    return tf.where(place == 0, lead | bits, 0x80 | (bits & 0x3F)), source


class TextModel:
    """Pre-tokenizer and model: pieces of text to ids.

    Args:
        steps: of the pre-tokenizer.
        model: a function of a `Text` to (ids, piece), (m,) int32 and (m,) int64.
    """

    def __init__(self, steps: list[Step], model: Callable):
        self._steps, self._model = steps, model

    def __call__(self, pieces, first):
        """Ids of pieces: (pieces,) string to ragged (pieces, None) int32.

        ``first``: (pieces,) bool, True for pieces that begin a whole text.
        """
        text = characters_of(pieces)
        for step in self._steps:
            text = step(text, first)
        ids, piece = self._model(text)
        return tf.RaggedTensor.from_value_rowids(ids, piece, nrows=tf.size(pieces, tf.int64))


class ByteSymbols:
    """Bytes as the symbols that merge.

    Args:
        vocab: {token: id}, with a token for each byte.
    """

    def __init__(self, vocab):
        ids = {byte: vocab[character] for character, byte in byte_alphabet().items()}
        self._ids = np.array([ids[byte] for byte in range(256)], np.int32)
        self.initial = set(self._ids.tolist())

    def __call__(self, codes, starts):
        """Symbols of characters, (n,) each: their ids and places, (m,) int32 each."""
        values, source = to_bytes(codes)
        return tf.gather(tf.constant(self._ids), values), source


class CharacterSymbols:
    """Characters as the symbols that merge, and tokens for bytes, or for the unknown.

    Args:
        vocab: {token: id}.
        byte_ids: (256,) ids of the tokens for bytes, or ``None``.
        unknown: id for characters without a token, or ``None``: these are left out.
        fuse: neighbours without a token are one unknown.
    """

    def __init__(self, vocab, byte_ids=None, unknown=None, fuse=False):
        known = sorted((ord(token), i) for token, i in vocab.items() if len(token) == 1)
        self._codes = np.array([code for code, _ in known] or [-1], np.int32)
        self._ids = np.array([i for _, i in known] or [0], np.int32)
        self._byte_ids, self._unknown, self._fuse = byte_ids, unknown, fuse
        others = [] if byte_ids is None else byte_ids
        self.initial = {*(i for _, i in known), *others, unknown}

    def __call__(self, codes, starts):
        """Symbols of characters, (n,) each: their ids and places, (m,) int32 each."""
        entry, known = lookup(self._codes, codes)
        ids, source = tf.gather(tf.constant(self._ids), entry), tf.range(tf.size(codes))
        if self._byte_ids is not None:
            values, source = to_bytes(codes)
            known, ids = tf.gather(known, source), tf.gather(ids, source)
            ids = tf.where(known, ids, tf.gather(tf.constant(self._byte_ids), values))
            keep = ~known | (source != shift(source, 1, -1))  # a known character is one symbol
        elif self._unknown is None:
            keep = known
        else:
            ids = tf.where(known, ids, self._unknown)
            again = ~known & ~shift(known, 1, True) & ~starts
            keep = ~again if self._fuse else tf.ones_like(known)
        return tf.boolean_mask(ids, keep), tf.boolean_mask(source, keep)


class BytePairModel:
    """Byte-pair encoding (Sennrich et al. 2016; Radford et al. 2019).

    Args:
        vocab: {token: id}.
        merges: pairs of tokens, by rank.
        symbols: `ByteSymbols` or `CharacterSymbols`, for what merges first.
        whole: {text: id} of words that are a token whatever the merges make of them.
    """

    def __init__(self, vocab, merges, symbols, whole=None):
        self._symbols = symbols
        self._base = 1 + max(vocab.values())
        ranks = {pair: rank for rank, pair in enumerate(map(tuple, merges))}
        pairs = sorted((self._key(vocab[a], vocab[b]), a, b) for a, b in ranks)
        self._keys = np.array([key for key, _, _ in pairs] or [-1], np.int64)
        self._ranks = np.array([ranks[a, b] for _, a, b in pairs] or [_NEVER], np.int32)
        self._merged = np.array([vocab[a + b] for _, a, b in pairs] or [0], np.int32)
        # Where every merge comes after those that made its parts, as training gives it, what a
        # merge makes waits for a later rank: all places of the lowest rank can merge at once.
        made: dict[str, int] = {}
        for (a, b), rank in ranks.items():
            made[a + b] = max(rank, made.get(a + b, rank))
        self._in_order = all(
            made.get(token, -1) < rank for pair, rank in ranks.items() for token in pair
        )
        joints = {self._key(left, right) for left, right in _joints(vocab, ranks, symbols.initial)}
        self._joints = np.array(sorted(joints) or [-1], np.int64)
        whole = [(list(map(ord, text)), i) for text, i in (whole or {}).items()]
        self._whole = Trie(whole) if whole else None

    def _key(self, left, right):
        return left * self._base + right

    def __call__(self, text):
        """Ids of a `Text`, and the piece of each: (m,) int32 and (m,) int64."""
        ids, source = self._symbols(text.codes, text.starts)
        if self._whole is not None:
            token = tf.gather(self._whole_words(self._whole, text), source)
            again = (token >= 0) & (
                tf.gather(text.word, source) == shift(tf.gather(text.word, source), 1, -1)
            )
            ids = tf.where(token >= 0, token, ids)
            ids, source = tf.boolean_mask(ids, ~again), tf.boolean_mask(source, ~again)
        text = Text(*(tf.gather(x, source) for x in text))
        _, joint = lookup(self._joints, self._pairs(ids))
        return self._merge(ids, text.starts | shift(~joint, 1, True), text.piece)

    def _whole_words(self, trie, text):
        """The token that is the whole word of each character, or -1: (n,) int32."""
        word = tf.cumsum(tf.cast(text.starts, tf.int32)) - 1
        token, length = trie.longest(text.codes, word, tf.where(text.starts, 0, -1))
        size = tf.math.segment_sum(tf.ones_like(word), word)
        token = tf.where(length == tf.gather(size, word), token, -1)
        return tf.gather(tf.boolean_mask(token, text.starts), word)

    def _pairs(self, ids):
        """Key of each symbol and the one after it: (n,) int32 to (n,) int64."""
        left = tf.cast(ids, tf.int64)
        return self._key(left, shift(left, -1, 0))

    def _merge(self, ids, starts, piece):
        """Merge until nothing merges; (n,) int32 ids, (n,) bool word starts and (n,) pieces.

        In each word the pair of the lowest rank merges first, the leftmost of several.
        """
        ranks, merged = tf.constant(self._ranks), tf.constant(self._merged)

        def step(_, ids, starts, piece):
            entry, found = lookup(self._keys, self._pairs(ids))
            found &= ~shift(starts, -1, True)
            rank = tf.where(found, tf.gather(ranks, entry), _NEVER)
            word = tf.cumsum(tf.cast(starts, tf.int32)) - 1
            chosen = found & (rank == tf.gather(tf.math.segment_min(rank, word), word))
            place = tf.range(tf.size(ids))
            if self._in_order:
                # Of places that overlap (a a a), every second one from the left.
                opens = chosen & ~shift(chosen, 1, False)
                openings = tf.concat([[0], tf.cast(tf.where(opens)[:, 0], tf.int32)], 0)
                run = tf.gather(openings, tf.cumsum(tf.cast(opens, tf.int32)))
                chosen &= (place - run) % 2 == 0
            else:
                first = tf.math.segment_min(tf.where(chosen, place, _NEVER), word)
                chosen &= place == tf.gather(first, word)
            ids = tf.where(chosen, tf.gather(merged, entry), ids)
            left = ~shift(chosen, 1, False)
            more = tf.reduce_any(chosen)
            return more, *(tf.boolean_mask(x, left) for x in (ids, starts, piece))

        any_length = tf.TensorShape([None])
        _, ids, _, piece = tf.while_loop(
            lambda more, *_: more,
            step,
            (tf.size(ids) > 0, ids, starts, piece),
            shape_invariants=(tf.TensorShape([]), any_length, any_length, any_length),
        )
        return ids, piece


def _joints(vocab, ranks, initial):
    """Pairs of symbols, as ids, that stand side by side in some token: words fall apart elsewhere.

    Between two words of Llama's ``▁``, say: so a text without a pre-tokenizer merges fast too.
    """
    parts: dict = {}
    for pair in ranks:
        parts.setdefault("".join(pair), []).append(pair)

    @cache
    def ends(token, side):
        """Symbols at one side of a token: 0 for its start, -1 for its end."""
        own = frozenset({vocab[token]} & initial)
        for pair in parts.get(token, ()):
            found = ends(pair[side], side)
            own = found if own <= found else own | found
        return own

    for left, right in ranks:
        for a in ends(left, -1):
            for b in ends(right, 0):
                yield a, b
