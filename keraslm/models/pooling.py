"""One vector of hidden states: the ways to pool, by the names of sentence-transformers."""

from keras import ops


def _first(hidden, real):
    earlier = ops.cumsum(ops.cast(real, "int32"), axis=1)
    return _picked(hidden, ops.logical_and(real, earlier == 1))


def last_token(hidden, real):
    """The last token that counts: ``(batch, d_model)``."""
    number = ops.cumsum(ops.cast(real, "int32"), axis=1)
    total = ops.max(number, axis=1, keepdims=True)
    return _picked(hidden, ops.logical_and(real, number == total))


def _picked(hidden, one):
    """The one token of each row; a sum, because gathering along an axis is not in LiteRT."""
    return ops.sum(hidden * ops.expand_dims(ops.cast(one, hidden.dtype), -1), axis=1)


def _weights(real, dtype):
    return ops.expand_dims(ops.cast(real, dtype), -1)  # (B, T, 1)


def _mean(hidden, real):
    weights = _weights(real, hidden.dtype)
    return ops.sum(hidden * weights, axis=1) / ops.maximum(ops.sum(weights, axis=1), 1.0)


def _mean_sqrt_len(hidden, real):
    weights = _weights(real, hidden.dtype)
    return ops.sum(hidden * weights, axis=1) / ops.sqrt(ops.maximum(ops.sum(weights, axis=1), 1.0))


def _weighted_mean(hidden, real):
    """A token counts as much as its position, from 1."""
    position = ops.cumsum(ops.ones_like(real, "int32"), axis=1)
    weights = _weights(real, hidden.dtype) * _weights(position, hidden.dtype)
    return ops.sum(hidden * weights, axis=1) / ops.maximum(ops.sum(weights, axis=1), 1.0)


def _max(hidden, real):
    return ops.max(ops.where(ops.expand_dims(real, -1), hidden, -1e9), axis=1)


POOLINGS = {
    "mean": _mean,
    "cls": _first,
    "max": _max,
    "mean_sqrt_len": _mean_sqrt_len,
    "weightedmean": _weighted_mean,
    "lasttoken": last_token,
}


def pool(hidden, real, ways):
    """One vector a text.

    Args:
        hidden: float ``(batch, seq, d_model)``.
        real: bool ``(batch, seq)``, the tokens that count.
        ways: names of `POOLINGS`.

    Returns:
        float ``(batch, len(ways) * d_model)``, one way beside the other.
    """
    vectors = [POOLINGS[way](hidden, real) for way in ways]
    return vectors[0] if len(vectors) == 1 else ops.concatenate(vectors, axis=-1)
