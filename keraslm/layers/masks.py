"""Who may see whom: attention masks, and positions that restart with each document."""

from typing import Any

import keras
from keras import ops

from keraslm.layers.common import register

# Taken off the score of a hidden key. Finite, so that a row in which every key is hidden gives a
# uniform average instead of NaN; far above any score.
HIDDEN = 1e9


def penalty(mask):
    """A mask as float32 to subtract from attention scores ``(batch, heads, query, key)``.

    Subtracted, not added: TensorFlow fuses product, scale and addition of a broadcast tensor into
    one oneDNN operation that takes 100 times as long as the three.

    Args:
        mask: bool or integer (non-zero: visible), or float (added to the scores), of shape
            ``(batch, key)``, ``(batch, query, key)`` or ``(batch, heads, query, key)``;
            any axis but the last two of the widest form may be 1.

    Returns:
        float32 of rank 4 that broadcasts to the scores.
    """
    dtype = keras.backend.standardize_dtype(mask.dtype)
    if keras.backend.is_float_dtype(dtype):
        # -inf is common in hand-written masks, and would give NaN in a fully hidden row.
        mask = ops.minimum(ops.cast(mask, "float32") * -1.0, HIDDEN)
    else:
        mask = ops.where(ops.cast(mask, "bool"), 0.0, HIDDEN)
    rank = len(mask.shape)
    if rank == 2:
        return ops.expand_dims(ops.expand_dims(mask, 1), 1)
    if rank == 3:
        return ops.expand_dims(mask, 1)
    if rank == 4:
        return mask
    raise ValueError(
        "attention_mask must have the shape (batch, key), (batch, query, key) or "
        f"(batch, heads, query, key); received shape {tuple(mask.shape)}."
    )


def causal(query_length, key_length, start=0, window=None):
    """Bool ``(1, query, key)``: the query in slot ``start + i`` sees keys up to its own slot.

    With a ``window``, only that many of them.
    """
    slots = ops.expand_dims(start + ops.arange(query_length, dtype="int32"), 1)
    keys = ops.expand_dims(ops.arange(key_length, dtype="int32"), 0)
    visible = keys <= slots
    if window is not None:
        visible = ops.logical_and(visible, keys > slots - window)
    return ops.expand_dims(visible, 0)


@register
class AttentionMask(keras.layers.Layer):
    """Joins a padding mask and document numbers into one attention mask.

    Call arguments:
        token_ids: int ``(batch, seq)``.
        padding_mask: bool ``(batch, seq)``, True for real tokens, or ``None``.
        segment_ids: int ``(batch, seq)``, or ``None``: tokens see only their own segment.

    Returns:
        bool ``(batch, query, key)``, where ``query`` is 1 if only padding is masked; ``None``
        when there is nothing to mask.

    Example:
        >>> ids = np.array([[5, 6, 7, 0]])
        >>> np.array(keraslm.layers.AttentionMask()(ids, ids != 0)).tolist()
        [[[True, True, True, False]]]
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.built = True

    def call(self, token_ids, padding_mask=None, segment_ids=None):
        mask = None
        if padding_mask is not None:
            mask = ops.expand_dims(ops.cast(padding_mask, "bool"), 1)  # (B, 1, T)
        if segment_ids is not None:
            same = _same_segment(segment_ids)
            mask = same if mask is None else ops.logical_and(mask, same)
        return mask

    def compute_output_spec(self, token_ids, padding_mask=None, segment_ids=None):
        batch, length = token_ids.shape
        query = 1 if segment_ids is None else length
        return keras.KerasTensor((batch, query, length), dtype="bool")

    def get_config(self):
        return super().get_config()  # Keras' own, without it, fails on a dtype policy


@register
class SegmentPositions(keras.layers.Layer):
    """Positions that restart at 0 with each document of a packed row.

    A document in a packed row then gets the logits that it gets alone.

    Call arguments:
        segment_ids: int ``(batch, seq)``, the same for neighbours of one document; or ``None``.

    Returns:
        int32 ``(batch, seq)``; ``None`` for ``None``.

    Example:
        >>> np.array(keraslm.layers.SegmentPositions()(np.array([[1, 1, 1, 2, 2]]))).tolist()
        [[0, 1, 2, 0, 1]]
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.built = True

    def call(self, segment_ids=None):
        if segment_ids is None:
            return None
        length = ops.shape(segment_ids)[1]
        earlier = ops.logical_and(_same_segment(segment_ids), causal(length, length))
        return ops.sum(ops.cast(earlier, "int32"), axis=-1) - 1

    def compute_output_spec(self, segment_ids=None):
        return keras.KerasTensor(segment_ids.shape, dtype="int32")

    def get_config(self):
        return super().get_config()  # Keras' own, without it, fails on a dtype policy


def _same_segment(segment_ids):
    """Bool ``(batch, query, key)``."""
    return ops.equal(ops.expand_dims(segment_ids, 1), ops.expand_dims(segment_ids, 2))
