"""From words to ids inside the graph: byte-level BPE, and the vocabulary of words and pieces."""

import numpy as np
import tensorflow as tf

from keraslm.export.to_saved_model.graph_split import WordSplitter, byte_level_starts, lookup, shift
from keraslm.export.to_saved_model.graph_unicode import pre_tokenizer_classes

_NEVER = np.iinfo(np.int32).max
_CODE_RANGE = 1 << 21  # more than any code point


def byte_alphabet() -> dict[str, int]:
    """GPT-2's visible character for each byte: {character: byte}."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [b for b in range(256) if b not in visible]
    return {chr(b): b for b in visible} | {chr(256 + i): b for i, b in enumerate(hidden)}


def _numbers(starts):
    """Number of the word of each element, from 0: (n,) bool to (n,) int32."""
    return tf.cumsum(tf.cast(starts, tf.int32)) - 1


class BytePairModel:
    """Byte-level byte-pair encoding (Sennrich et al. 2016; Radford et al. 2019).

    Args:
        vocab: {token: id}, with a token for every byte.
        merges: pairs of tokens, by rank.
        add_prefix_space: put a space before a piece of text that has none.
    """

    def __init__(self, vocab, merges, add_prefix_space):
        self._add_prefix_space = add_prefix_space
        self._classes = pre_tokenizer_classes("ByteLevel")
        byte_ids = {byte: vocab[character] for character, byte in byte_alphabet().items()}
        self._byte_ids = np.array([byte_ids[b] for b in range(256)], np.int32)
        self._base = 1 + max(vocab.values())
        ranks = {pair: rank for rank, pair in enumerate(map(tuple, merges))}
        pairs = sorted((vocab[a] * self._base + vocab[b], a, b) for a, b in ranks)
        self._keys = np.array([key for key, _, _ in pairs] or [-1], np.int64)
        self._ranks = np.array([ranks[a, b] for _, a, b in pairs] or [_NEVER], np.int32)
        self._merged = np.array([vocab[a + b] for _, a, b in pairs] or [0], np.int32)
        # Where every merge comes after those that made its parts, as training gives it, what a
        # merge makes waits for a later rank: all places of the lowest rank can merge at once.
        made = {}
        for (a, b), rank in ranks.items():
            made[a + b] = max(rank, made.get(a + b, rank))
        self._in_order = all(
            made.get(token, -1) < rank for pair, rank in ranks.items() for token in pair
        )

    def __call__(self, pieces):
        """Ids of pieces of text: (pieces,) string to ragged (pieces, None) int32."""
        if self._add_prefix_space:
            bare = (pieces != "") & (tf.strings.substr(pieces, 0, 1) != " ")
            pieces = tf.where(bare, tf.strings.join([" ", pieces]), pieces)
        decoded = tf.strings.unicode_decode(pieces, "UTF-8")
        codes, piece = decoded.values, decoded.value_rowids()
        starts = byte_level_starts(codes, self._classes(codes), piece)
        text = tf.io.decode_raw(tf.strings.reduce_join(pieces), tf.uint8)
        lead = text & 0xC0 != 0x80  # the first byte of a character
        byte_starts = lead & tf.gather(starts, _numbers(lead))
        ids = tf.gather(tf.constant(self._byte_ids), tf.cast(text, tf.int32))
        ids, byte_starts = self._merge(ids, byte_starts)
        owner = tf.gather(tf.boolean_mask(piece, starts), _numbers(byte_starts))
        return tf.RaggedTensor.from_value_rowids(ids, owner, nrows=decoded.nrows())

    def _merge(self, ids, starts):
        """Merge until nothing merges; (n,) int32 ids and (n,) bool word starts, before and after.

        In each word the pair of the lowest rank merges first, the leftmost of several.
        """
        ranks, merged = tf.constant(self._ranks), tf.constant(self._merged)

        def step(_, ids, starts):
            wide = tf.cast(ids, tf.int64)
            entry, found = lookup(self._keys, wide * self._base + shift(wide, -1, 0))
            found &= ~shift(starts, -1, True)
            rank = tf.where(found, tf.gather(ranks, entry), _NEVER)
            word = _numbers(starts)
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
            return more, tf.boolean_mask(ids, left), tf.boolean_mask(starts, left)

        any_length = tf.TensorShape([None])
        _, ids, starts = tf.while_loop(
            lambda more, ids, starts: more,
            step,
            (tf.size(ids) > 0, ids, starts),
            shape_invariants=(tf.TensorShape([]), any_length, any_length),
        )
        return ids, starts


class VocabularyModel:
    """Whole words or characters, or word pieces by the longest match (Schuster & Nakajima 2012).

    The vocabulary is a trie: node 0 is the start of a word and node 1 its inside; edge ``i`` leads
    to node ``i + 2``.

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
        start: dict = {}
        inside: dict = {}
        for token, token_id in vocab.items():
            _insert(start, token, token_id)
            if self._pieces and token.startswith(prefix):
                _insert(inside, token[len(prefix) :], token_id)
        self._edges, self._tokens = _flatten([start, inside])

    def __call__(self, pieces):
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
        word = _numbers(starts)
        size = tf.math.segment_sum(tf.ones_like(codes), word)
        ids, length = self._longest(codes, word, starts)
        if not self._pieces:
            known = length == tf.gather(size, word)
            return tf.where(known, ids, self._unknown), starts
        begins = _begins(length, word, starts)
        failed = tf.math.segment_max(tf.cast(begins & (length == 0), tf.int32), word) > 0
        if self._max_word is not None:
            failed |= size > self._max_word
        failed = tf.gather(failed, word)
        return tf.where(failed, self._unknown, ids), tf.where(failed, starts, begins)

    def _longest(self, codes, word, starts):
        """Id and length of the longest token at each place: (n,) int32 each, length 0 for none."""
        place = tf.range(tf.size(codes))
        tokens = tf.constant(self._tokens)

        def step(depth, node, ids, length):
            at = tf.minimum(place + depth, tf.size(codes) - 1)
            inside = (at == place + depth) & (tf.gather(word, at) == word)
            code = tf.cast(tf.gather(codes, at), tf.int64)
            entry, found = lookup(self._edges, tf.cast(node, tf.int64) * _CODE_RANGE + code)
            node = tf.where(found & inside, entry + 2, -1)
            token = tf.gather(tokens, tf.maximum(node, 0))
            ends = (node >= 0) & (token >= 0)
            depth += 1
            return depth, node, tf.where(ends, token, ids), tf.where(ends, depth, length)

        node = tf.where(starts, 0, 1 if self._pieces else -1)
        nothing = tf.zeros_like(codes)
        _, _, ids, length = tf.while_loop(
            lambda depth, node, ids, length: tf.reduce_any(node >= 0),
            step,
            (0, node, nothing, nothing),
        )
        return ids, length


def _begins(length, word, starts):
    """Where a token begins, from word starts on: (n,) each to (n,) bool."""

    def step(frontier, begins):
        jump = tf.gather(length, frontier)
        following = tf.minimum(frontier + jump, tf.size(word) - 1)
        same = tf.gather(word, following) == tf.gather(word, frontier)
        frontier = tf.boolean_mask(following, (following == frontier + jump) & (jump > 0) & same)
        ones = tf.ones_like(frontier, tf.bool)
        return frontier, tf.tensor_scatter_nd_update(begins, frontier[:, None], ones)

    _, begins = tf.while_loop(
        lambda frontier, begins: tf.size(frontier) > 0,
        step,
        (tf.cast(tf.where(starts)[:, 0], tf.int32), starts),
        shape_invariants=(tf.TensorShape([None]), tf.TensorShape([None])),
    )
    return begins


def _insert(root, text, token_id):
    node = root
    for character in text:
        node = node.setdefault(character, {})
    if text:
        node[None] = token_id


def _flatten(roots):
    """Trie as arrays: sorted edges (node * _CODE_RANGE + code point) and the token of each node."""
    nodes, edges = list(roots), []
    for number, node in enumerate(nodes):  # grows as it goes: breadth first, so edges are sorted
        for character in sorted(key for key in node if key is not None):
            edges.append(number * _CODE_RANGE + ord(character))
            nodes.append(node[character])
    tokens = [node.get(None, -1) for node in nodes]
    return np.array(edges or [-1], np.int64), np.array(tokens, np.int32)
