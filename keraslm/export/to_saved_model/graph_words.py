"""From words to ids inside the graph: the vocabulary of words, characters and word pieces."""

import tensorflow as tf

from keraslm.export.to_saved_model.graph_patterns import reachable
from keraslm.export.to_saved_model.graph_split import WordSplitter
from keraslm.export.to_saved_model.graph_trie import Trie


class VocabularyModel:
    """Whole words or characters, or word pieces by the longest match (Schuster & Nakajima 2012).

    Args:
        vocab: {token: id}.
        unknown: id for words that are not in the vocabulary.
        splitter: a `WordSplitter`.
        prefix: of pieces inside a word (``"##"``), or ``None``: whole words only.
        max_word: words of more characters are unknown; ``None``: no bound.
    """

    def __init__(self, vocab, unknown, splitter: WordSplitter, prefix=None, max_word=None):
        self._unknown, self._splitter = unknown, splitter
        self._pieces, self._max_word = prefix is not None, max_word
        whole = [(list(map(ord, token)), i) for token, i in vocab.items()]
        inside = []
        if self._pieces:
            inside = [
                (codes[len(prefix) :], i)
                for (codes, i), token in zip(whole, vocab, strict=True)
                if token.startswith(prefix)
            ]
        self._trie = Trie(whole, inside)  # node 0: the start of a word; node 1: its inside

    def __call__(self, pieces, first):
        """Ids of pieces of text: (pieces,) string to ragged (pieces, None) int32."""
        decoded = tf.strings.unicode_decode(pieces, "UTF-8")
        codes, piece, starts = self._splitter(decoded.values, decoded.value_rowids())
        ids, keep = self._match(codes, starts)
        ids, owner = tf.boolean_mask(ids, keep), tf.boolean_mask(piece, keep)
        return tf.RaggedTensor.from_value_rowids(ids, owner, nrows=decoded.nrows())

    def _match(self, codes, starts):
        """Ids of words: (n,) int32 code points, (n,) bool starts to (n,) int32 and (n,) bool.

        The ids are those of the tokens that begin at each place, where the second is True.
        """
        word = tf.cumsum(tf.cast(starts, tf.int32)) - 1
        size = tf.math.segment_sum(tf.ones_like(codes), word)
        node = tf.where(starts, 0, 1 if self._pieces else -1)
        ids, length = self._trie.longest(codes, word, node)
        if not self._pieces:
            known = length == tf.gather(size, word)
            return tf.where(known, ids, self._unknown), starts
        place = tf.range(tf.size(codes))
        following = tf.minimum(place + length, tf.size(codes) - 1)
        inside = (following == place + length) & (tf.gather(word, following) == word)
        following = tf.where(inside, following, place)
        begins = reachable(starts, following)
        failed = tf.math.segment_max(tf.cast(begins & (length == 0), tf.int32), word) > 0
        if self._max_word is not None:
            failed |= size > self._max_word
        failed = tf.gather(failed, word)
        return tf.where(failed, self._unknown, ids), tf.where(failed, starts, begins)
