"""The schedule, the metric and the evaluation, against computations by hand."""

import math

import numpy as np
import pytest
from keras import ops

from keraslm.training import Perplexity, evaluate, warmup_cosine


def test_warmup_then_cosine():
    schedule = warmup_cosine(1e-2, 1000, warmup=0.1, final=0.1)
    rate = [float(schedule(step)) for step in (0, 50, 100, 550, 1000, 2000)]
    assert rate[0] <= 1e-4 + 1e-9 and rate[1] == pytest.approx(5e-3, rel=0.02)
    assert rate[2] == pytest.approx(1e-2) and rate[3] == pytest.approx(5.5e-3, rel=0.01)
    assert rate[4] == rate[5] == pytest.approx(1e-3, rel=1e-4)
    assert float(warmup_cosine(1e-2, 1)(0)) > 0
    with pytest.raises(ValueError, match="warmup must be"):
        warmup_cosine(1e-2, 10, warmup=1.0)


def test_perplexity_weighs_tokens_not_batches():
    rng = np.random.default_rng(0)
    metric, total, count = Perplexity(), 0.0, 0.0
    for size, kept in ((8, 8), (8, 1)):
        logits = rng.normal(size=(2, size, 5)).astype("float32")
        targets = rng.integers(0, 5, (2, size))
        weights = np.zeros((2, size), "float32")
        weights[:, :kept] = 1
        metric.update_state(targets, logits, weights)
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        nll = -np.take_along_axis(log_p, targets[..., None], -1)[..., 0]
        total, count = total + (nll * weights).sum(), count + weights.sum()
    assert float(metric.result()) == pytest.approx(math.exp(total / count), rel=1e-5)
    metric.reset_state()
    metric.update_state(np.zeros((1, 3), int), np.zeros((1, 3, 7), "float32"))
    assert float(metric.result()) == pytest.approx(7.0, rel=1e-5)


def test_evaluate_sums_over_uneven_batches():
    def model(x, training=False):
        return ops.one_hot(x, 4) * 2.0

    batches = [
        (np.array([[0, 1]]), np.array([[0, 2]])),
        (np.array([[3, 3]]), np.array([[3, 0]]), np.array([[1.0, 0.0]])),
    ]
    hit, miss = (math.log(math.exp(2) + 3) - 2, math.log(math.exp(2) + 3))
    found = evaluate(model, batches, bytes_per_token=2.0)
    assert found.num_tokens == 3
    assert found.loss == pytest.approx((hit + miss + hit) / 3, rel=1e-5)
    assert found.bits_per_byte == pytest.approx(found.loss / math.log(2) / 2)


def test_evaluate_tells_of_nothing_and_of_nan():
    with pytest.raises(ValueError, match="no tokens to evaluate"):
        evaluate(lambda x, training=False: x, [])
    with pytest.raises(ValueError, match="diverged"):
        evaluate(
            lambda x, training=False: ops.one_hot(x, 4) * math.nan,
            [(np.array([[0]]), np.array([[0]]))],
        )
