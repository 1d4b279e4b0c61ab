"""Metrics of language models, weighted by token."""

from typing import Any

import keras
from keras import ops

from keraslm.layers.common import register


@register
class Perplexity(keras.metrics.Metric):
    """The exponential of the mean cross-entropy of all tokens.

    The mean is over tokens, not over batches: with uneven padding, a mean of batch means is
    wrong. Pass it as one of ``weighted_metrics``, so that padding does not count.

    ``update_state``:
        y_true: int ``(batch, seq)``.
        y_pred: float logits ``(batch, seq, vocab_size)``.
        sample_weight: float ``(batch, seq)`` or ``None``.

    Example:
        >>> gpt.compile(weighted_metrics=[keraslm.training.Perplexity()])
    """

    def __init__(self, name: str = "perplexity", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.total = self.add_weight(name="total", initializer="zeros", dtype="float32")
        self.count = self.add_weight(name="count", initializer="zeros", dtype="float32")

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true = ops.cast(y_true, "int32")
        nll = ops.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)
        weights = ops.ones_like(nll) if sample_weight is None else sample_weight
        weights = ops.broadcast_to(ops.cast(weights, nll.dtype), ops.shape(nll))
        self.total.assign_add(ops.cast(ops.sum(nll * weights), "float32"))
        self.count.assign_add(ops.cast(ops.sum(weights), "float32"))

    def result(self):
        return ops.exp(self.total / ops.maximum(self.count, 1e-9))
