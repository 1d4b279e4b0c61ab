"""Added tokens inside the graph: what is found in a text before the model sees the rest."""

import tensorflow as tf

from keraslm.export.to_saved_model.graph_normalize import WHITESPACE, literal
from keraslm.export.to_saved_model.graph_reading import unsupported

_SEPARATOR = b"\xff"  # a byte that no UTF-8 text holds


class AddedTokens:
    """The added tokens that are found in the text, or those found in the normalized text.

    Args:
        engine: a ``tokenizers.Tokenizer``.
        spec: its ``tokenizer.json``.
        normalized: which of the two.

    Raises:
        ValueError: a token with a rule that is not reproduced here.
    """

    def __init__(self, engine, spec, normalized):
        normalize = engine.normalizer.normalize_str if normalized and engine.normalizer else str
        tokens = [t for t in spec["added_tokens"] if t["normalized"] == normalized and t["content"]]
        found = {normalize(token["content"]): token for token in tokens}
        found.pop("", None)
        self._ids = {content: token["id"] for content, token in found.items()}
        self._strips = any(token["lstrip"] or token["rstrip"] for token in tokens)
        for content, token in found.items():
            if token["single_word"]:
                raise unsupported("added tokens with single_word", token)
            if self._strips and content != content.strip():
                raise unsupported("added tokens that strip spaces beside tokens of spaces", content)
        # The longest first, so that of two that begin at one place the longer one is found.
        self._pattern = "|".join(
            f"{WHITESPACE}*" * found[content]["lstrip"]
            + literal(content)
            + f"{WHITESPACE}*" * found[content]["rstrip"]
            for content in sorted(found, key=lambda content: -len(content.encode()))
        )

    def ids(self, texts, first, inner):
        """Ids of texts.

        Args:
            texts: (n,) string.
            first: (n,) bool, handed on to ``inner`` for the piece that begins a text.
            inner: ``(pieces, first)`` to ragged (pieces, None) int32, for all between the tokens.

        Returns:
            ragged (n, None) int32.
        """
        if not self._ids:
            return inner(texts, first)
        # RE2 meets nothing but literals here.
        marked = _SEPARATOR + rb"\0" + _SEPARATOR
        pieces = tf.strings.split(
            tf.strings.regex_replace(texts, self._pattern, marked), _SEPARATOR
        )
        row = pieces.value_rowids()
        place = tf.range(tf.size(row, tf.int64)) - tf.gather(pieces.row_starts(), row)
        is_token = place % 2 == 1  # text, token, text, token, …, text
        text = pieces.flat_values
        ids = inner(tf.where(is_token, "", text), (place == 0) & tf.gather(first, row))
        # A piece is either text or a token: one of the two is empty.
        contents, token_ids = zip(*self._ids.items(), strict=True)
        token = tf.boolean_mask(text, is_token)
        if self._strips:
            token = tf.strings.regex_replace(token, rf"\A{WHITESPACE}+|{WHITESPACE}+\z", "")
        same = token[:, None] == tf.constant(contents)
        token = tf.gather(tf.constant(token_ids, tf.int32), tf.argmax(same, axis=1))
        splits = tf.cumsum(tf.cast(is_token, tf.int64))
        splits = tf.concat([tf.zeros([1], tf.int64), splits], 0)
        ids = tf.concat([ids, tf.RaggedTensor.from_row_splits(token, splits)], axis=1)
        return pieces.with_flat_values(ids).merge_dims(1, 2)
