"""Loss, perplexity and bits per byte on held-out text."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np


class Evaluation(NamedTuple):
    """Token-weighted results; ``loss`` in nats per token.

    Example:
        >>> Evaluation(loss=1.0, perplexity=2.72, bits_per_byte=None, num_tokens=100).perplexity
        2.72
    """

    loss: float
    perplexity: float
    bits_per_byte: float | None
    num_tokens: int


def evaluate(
    model: Any, dataset: Iterable[Any], bytes_per_token: float | None = None
) -> Evaluation:
    """Evaluate a language model on batches of ``(inputs, targets[, sample_weight])``.

    Args:
        model: gives logits ``(batch, seq, vocab_size)``.
        dataset: batches, for example ``pack(…).dataset(8, shuffle=False)``.
        bytes_per_token: bytes of text for each token, for bits per byte, which compares models
            with different tokenizers.

    Raises:
        ValueError: no batch, or a loss that is not finite.

    Example:
        >>> from keraslm.data import encode_documents, pack
        >>> stream = encode_documents(texts, tokenizer)
        >>> rows = pack(stream, length=32).dataset(8, shuffle=False)
        >>> evaluation = evaluate(gpt, rows, stream.bytes_per_token)
        >>> evaluation.num_tokens == len(stream.ids) // 32 * 32
        True
    """
    import tensorflow as tf

    @tf.function
    def sums(inputs, targets, weights):
        logits = model(inputs, training=False)
        nll = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
        return tf.reduce_sum(nll * weights), tf.reduce_sum(weights)

    total = count = 0.0
    for batch in dataset:
        inputs, targets, *weights = batch
        targets = tf.cast(targets, tf.int32)
        weights = tf.cast(weights[0], tf.float32) if weights else tf.ones(tf.shape(targets))
        part, number = sums(inputs, targets, weights)
        # Summed in double precision: float32 loses tokens of a large validation set.
        total, count = total + float(part), count + float(number)
    if not count:
        raise ValueError("The dataset has no tokens to evaluate on.")
    loss = total / count
    if not np.isfinite(loss):
        raise ValueError(f"The loss is {loss}: the model diverged. Train with a lower rate.")
    bits = None if bytes_per_token is None else loss / math.log(2) / bytes_per_token
    return Evaluation(loss, math.exp(min(loss, 700.0)), bits, int(count))
