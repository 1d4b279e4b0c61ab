"""Tokens that begin at each place of a text, found by a trie inside the graph."""

from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

from keraslm.export.to_saved_model.graph_split import lookup

_RANGE = 1 << 21  # more than any code point


class Trie:
    """Sequences of code points (or bytes) and their ids.

    Args:
        groups: ``(sequence, id)`` each; node ``i`` is the root of group ``i``. Of equal sequences
            the last counts.
    """

    def __init__(self, *groups: Iterable[tuple[Sequence[int], int]]):
        roots: list[dict] = []
        self.depth = 0  # length of the longest sequence
        for group in groups:
            root: dict = {}
            for sequence, token_id in group:
                node = root
                for code in sequence:
                    node = node.setdefault(code, {})
                if len(sequence):
                    node[None] = token_id
                self.depth = max(self.depth, len(sequence))
            roots.append(root)
        # Sorted edges, node * _RANGE + code; edge ``i`` leads to node ``i + len(roots)``.
        nodes, edges = list(roots), []
        for number, node in enumerate(nodes):  # grows as it goes: breadth first, edges sorted
            for code in sorted(key for key in node if key is not None):
                edges.append(number * _RANGE + code)
                nodes.append(node[code])
        self._roots = len(roots)
        self._edges = np.array(edges or [-1], np.int64)
        self._ids = np.array([node.get(None, -1) for node in nodes], np.int32)

    def longest(self, codes, word, node):
        """The longest sequence that begins at each place, inside its word.

        Args:
            codes: (n,) int32.
            word: (n,) number of the word of each.
            node: (n,) int32 root of each; -1: nothing begins there.

        Returns:
            its id and its length, (n,) int32 each; length 0 for none.
        """

        def step(depth, node, ids, length):
            node, found = self._step(depth, node, codes, word)
            depth += 1
            return (
                depth,
                node,
                tf.where(found >= 0, found, ids),
                tf.where(found >= 0, depth, length),
            )

        nothing = tf.zeros_like(codes)
        return tf.while_loop(
            lambda depth, node, *_: tf.reduce_any(node >= 0), step, (0, node, nothing, nothing)
        )[2:]

    def all(self, codes, word):
        """Ids of the sequences of each length that begin at each place: (n, depth) int32, or -1."""

        def step(depth, node, found):
            node, ids = self._step(depth, node, codes, word)
            return depth + 1, node, found.write(depth, ids)

        found = tf.TensorArray(tf.int32, self.depth, element_shape=[None])
        state = (0, tf.zeros_like(codes), found)
        found = tf.while_loop(lambda depth, *_: depth < self.depth, step, state)[2]
        return tf.transpose(found.stack())

    def _step(self, depth, node, codes, word):
        """The nodes one character further, and the ids that end there: (n,) int32 each."""
        place = tf.range(tf.size(codes))
        at = tf.minimum(place + depth, tf.size(codes) - 1)
        inside = (at == place + depth) & (tf.gather(word, at) == word) & (node >= 0)
        key = tf.cast(node, tf.int64) * _RANGE + tf.cast(tf.gather(codes, at), tf.int64)
        entry, found = lookup(self._edges, key)
        node = tf.where(found & inside, entry + self._roots, -1)
        return node, tf.where(node >= 0, tf.gather(tf.constant(self._ids), tf.maximum(node, 0)), -1)
