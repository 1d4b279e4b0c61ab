"""The feed-forward network."""

import keras
import numpy as np
import pytest

from keraslm.layers import FeedForward


@pytest.fixture
def x(rng):
    return rng.normal(size=(2, 3, 6)).astype("float32")


@pytest.mark.parametrize("activation", ["relu", "gelu", "gelu_tanh", "silu"])
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("use_bias", [False, True])
def test_is_numpy(use_bias, gated, activation, reference, x):
    layer = FeedForward(6, 10, activation, gated=gated, use_bias=use_bias)
    layer(x)
    reference.randomise(layer)
    np.testing.assert_allclose(layer(x), reference.feed_forward(layer, x), atol=2e-5)
    assert len(layer.weights) == (2 + gated) * (1 + use_bias)


def test_dropout_only_in_training(reference, x):
    layer = FeedForward(6, 10, dropout=0.5, activation="gelu")
    layer(x)
    reference.randomise(layer)
    expected = reference.feed_forward(layer, x)
    np.testing.assert_allclose(layer(x), expected, atol=2e-5)
    trained = np.asarray(layer(x, training=True))
    assert 0 < (trained == 0).mean() < 1
    kept = trained != 0
    np.testing.assert_allclose(trained[kept], 2 * expected[kept], atol=5e-5)


@pytest.mark.parametrize("gated", [False, True])
def test_regularizer_adds_a_loss(gated, x):
    layer = FeedForward(6, 10, gated=gated, kernel_regularizer=keras.regularizers.L2(0.1))
    layer(x)
    kernels = [np.asarray(w) for w in layer.weights if w.name == "kernel"]
    assert len(layer.losses) == len(kernels) == 2 + gated
    expected = 0.1 * sum((k**2).sum() for k in kernels)
    assert float(sum(layer.losses)) == pytest.approx(expected, rel=1e-4)


def test_weights_of_one_shape_start_different(x):
    layer = FeedForward(6, 6, gated=True, kernel_initializer=keras.initializers.RandomNormal())
    layer(x)
    up, gate, down = (np.asarray(part.kernel) for part in (layer.up, layer.gate, layer.down))
    assert not np.array_equal(up, gate)
    assert not np.array_equal(up, down)


def test_output_initializer_is_for_the_last(x):
    layer = FeedForward(6, 10, output_initializer="zeros")
    assert not np.asarray(layer(x)).any()
    assert np.asarray(layer.up.kernel).any()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((0, 10), "d_model must be a positive whole number; received 0"),
        ((6, 2.5), "ffn_dim must be a positive whole number; received 2.5"),
        ((6, 10, "tanhh"), r"activation must be one of \['gelu', .*; received 'tanhh'"),
        ((6, 10, "relu", 1), r"dropout must be in \[0, 1\); received 1"),
    ],
)
def test_bad_arguments(args, message):
    with pytest.raises(ValueError, match=message):
        FeedForward(*args)
