"""Unigram language models (Kudo 2018) inside the graph: the most probable tokens of a word.

TensorFlow Text has SentencePiece's own operation for this, which adds scores in float32. The engine
adds them in float64, and of equally probable ways takes the one that rounding leaves ahead: in
runs such as ``-------`` the two differ in every sixth string. So the search is done here as the
engine does it, addition by addition.
"""

import numpy as np
import tensorflow as tf

from keraslm.export.to_saved_model.graph_models import to_bytes
from keraslm.export.to_saved_model.graph_patterns import reachable
from keraslm.export.to_saved_model.graph_split import shift
from keraslm.export.to_saved_model.graph_trie import Trie

_UNKNOWN_PENALTY = 10.0  # below the least probable token


class UnigramModel:
    """The most probable tokens of words.

    Args:
        vocab: ``[token, log-probability]`` each, by id.
        unknown: id for characters without a token; neighbours become one.
        byte_ids: (256,) ids of the tokens for bytes that stand for unknown characters, or ``None``.
    """

    def __init__(self, vocab, unknown, byte_ids=None):
        self._trie = Trie([(list(map(ord, token)), i) for i, (token, _) in enumerate(vocab)])
        self._scores = np.array([score for _, score in vocab], np.float64)
        self._unknown, self._byte_ids = unknown, byte_ids
        self._unknown_score = self._scores.min() - _UNKNOWN_PENALTY

    def __call__(self, text):
        """Ids of a `Text`, and the piece of each: (m,) int32 and (m,) int64."""
        starts = text.starts
        found = self._trie.all(text.codes, text.word)
        token, length = self._search(found, starts)
        return self._read(text, starts, *_backwards(token, length, starts))

    def _search(self, found, starts):
        """The last token of the best way up to each character.

        Args:
            found: (n, depth) int32, the tokens of each length that begin at each place, or -1.
            starts: (n,) bool.

        Returns:
            its id (-2 for an unknown character) and its length, (n,) int32 each.
        """
        n, depth = tf.shape(found)[0], self._trie.depth
        # By where a token ends, the longest first, as the engine meets them.
        lengths = tf.range(depth, 0, -1)
        begin = tf.range(n)[:, None] - lengths + 1
        ending = tf.gather_nd(
            tf.pad(found, [[depth, 0], [0, 0]], constant_values=-1),
            tf.stack([begin + depth, tf.broadcast_to(lengths - 1, tf.shape(begin))], axis=-1),
        )
        ending = tf.concat([ending[:, :-1], tf.where(ending < 0, -2, ending)[:, -1:]], axis=1)
        scores = tf.gather(
            tf.constant([*self._scores, -np.inf, self._unknown_score], tf.float64),
            tf.where(ending < 0, len(self._scores) - 1 - ending, ending),
        )
        first = tf.cast(tf.where(starts)[:, 0], tf.int32)
        end = tf.concat([first[1:], [n]], 0)[: tf.size(first)]
        no_way = tf.constant(-np.inf, tf.float64)

        def step(at, first, end, best, choice):
            # best[i + depth] is the score up to before character i.
            before = tf.gather(best, at[:, None] - lengths + 1 + depth)
            before = tf.where(at[:, None] - lengths + 1 >= first[:, None], before, no_way)
            total = tf.gather(scores, at) + before
            chosen = tf.argmax(total, axis=1, output_type=tf.int32)
            score = tf.gather(total, chosen, batch_dims=1)
            choice = tf.tensor_scatter_nd_update(choice, at[:, None], chosen)
            more = at + 1 < end
            at, score = tf.boolean_mask(at + 1, more), tf.boolean_mask(score, more)
            best = tf.tensor_scatter_nd_update(best, at[:, None] + depth, score)
            return at, tf.boolean_mask(first, more), tf.boolean_mask(end, more), best, choice

        best = tf.zeros([n + depth], tf.float64)  # a word begins at 0
        any_length = tf.TensorShape([None])
        *_, choice = tf.while_loop(
            lambda at, *_: tf.size(at) > 0,
            step,
            (first, first, end, best, tf.zeros([n], tf.int32)),
            shape_invariants=(any_length,) * 5,
        )
        return tf.gather(ending, choice, batch_dims=1), depth - choice

    def _read(self, text, starts, token, begins):
        """Ids and pieces of the tokens that begin where ``begins`` is True."""
        unknown = (token == -2) | (token == self._unknown)
        word_before = shift(text.word, 1, -1) == text.word
        place = tf.cast(tf.where(begins)[:, 0], tf.int32)
        token, unknown = tf.gather(token, place), tf.gather(unknown, place)
        inside = tf.gather(word_before, place)
        again = unknown & shift(unknown, 1, False) & inside
        if self._byte_ids is None:
            ids = tf.where(unknown, self._unknown, token)
            return tf.boolean_mask(ids, ~again), tf.gather(
                text.piece, tf.boolean_mask(place, ~again)
            )
        # A run of unknown characters is spelled in bytes; the text "<unk>" alone is a token.
        alone = (token == self._unknown) & ~again & ~shift(again, -1, False)
        unknown &= ~alone
        number = tf.cumsum(tf.cast(begins, tf.int32)) - 1
        spelled = tf.gather(unknown, number)
        keep = spelled | begins
        codes, ids = (
            tf.boolean_mask(text.codes, keep),
            tf.gather(token, tf.boolean_mask(number, keep)),
        )
        spelled, piece = tf.boolean_mask(spelled, keep), tf.boolean_mask(text.piece, keep)
        values, source = to_bytes(codes)
        spelled, ids = tf.gather(spelled, source), tf.gather(ids, source)
        ids = tf.where(spelled, tf.gather(tf.constant(self._byte_ids), values), ids)
        keep = spelled | (source != shift(source, 1, -1))
        return tf.boolean_mask(ids, keep), tf.gather(piece, tf.boolean_mask(source, keep))


def _backwards(token, length, starts):
    """From the last tokens of ways to the tokens of the best way of each word.

    Args:
        token, length: (n,) int32, of the token that ends at each character.
        starts: (n,) bool.

    Returns:
        (n,) int32 the token that begins at each place, where the (n,) bool is True.
    """
    n = tf.size(token)
    place = tf.range(n)
    before = place - length
    word = tf.cumsum(tf.cast(starts, tf.int32))
    inside = (before >= 0) & (tf.gather(word, tf.maximum(before, 0)) == word)
    ends = shift(starts, -1, True)
    used = reachable(ends, tf.where(inside, before, place))
    end = tf.cast(tf.where(used)[:, 0], tf.int32)
    begin = (tf.gather(before, end) + 1)[:, None]
    begins = tf.tensor_scatter_nd_update(tf.zeros([n], tf.bool), begin, tf.ones_like(end, tf.bool))
    return tf.tensor_scatter_nd_update(token, begin, tf.gather(token, end)), begins
