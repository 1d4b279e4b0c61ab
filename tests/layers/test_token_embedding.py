"""The token table, both ways."""

import keras
import numpy as np
import pytest
from keras import ops

from keraslm.layers import TokenEmbedding

IDS = np.array([[0, 4, 2], [1, 1, 3]], "int32")


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize(
    "dtype",
    [
        "int16",
        "int32",
        "int64",
        "int8",
        "uint8",
        "uint16",
        "uint32",
    ],
)
def test_looks_up_rows(dtype, scale):
    layer = TokenEmbedding(5, 6, scale=scale)
    y = layer(IDS.astype(dtype))
    table = np.asarray(layer.embeddings)
    np.testing.assert_allclose(y, table[IDS] * (6**0.5 if scale else 1), rtol=1e-6)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("scale", [False, True])
def test_reverse_gives_float32_logits(scale, policy, rng):
    layer = TokenEmbedding(5, 6, scale=scale, dtype=policy, embeddings_initializer="normal")
    hidden = rng.normal(size=(2, 3, 6)).astype("float32")
    y = layer(IDS)
    assert keras.backend.standardize_dtype(y.dtype) == layer.compute_dtype
    logits = layer(hidden, reverse=True)
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    expected = hidden @ np.asarray(layer.embeddings).T
    atol = {"float32": 1e-6, "mixed_bfloat16": 2e-2, "mixed_float16": 2e-3}[policy]
    np.testing.assert_allclose(logits, expected, atol=atol)


@pytest.mark.parametrize("reverse_first", [False, True])
def test_one_table_for_both(reverse_first):
    layer = TokenEmbedding(5, 6)
    if reverse_first:
        layer(np.zeros((1, 1, 6), "float32"), reverse=True)
    layer(layer(IDS), reverse=True)
    assert [tuple(w.shape) for w in layer.weights] == [(5, 6)]


def test_both_ways_train_the_table():
    import tensorflow as tf

    layer = TokenEmbedding(5, 6)
    layer(IDS)
    with tf.GradientTape() as tape:
        loss = ops.sum(layer(IDS[:1, :1]) ** 2)  # token 0
    rows = tf.convert_to_tensor(tape.gradient(loss, layer.embeddings.value))
    np.testing.assert_array_equal(np.abs(rows).sum(-1) > 0, [1, 0, 0, 0, 0])
    with tf.GradientTape() as tape:
        loss = ops.sum(layer(np.ones((1, 1, 6), "float32"), reverse=True) ** 2)
    rows = tf.convert_to_tensor(tape.gradient(loss, layer.embeddings.value))
    assert (np.abs(rows).sum(-1) > 0).all()


def test_initializer_fills_the_table():
    table = np.arange(30, dtype="float32").reshape(5, 6)
    layer = TokenEmbedding(5, 6, embeddings_initializer=keras.initializers.Constant(table))
    np.testing.assert_array_equal(layer(IDS), table[IDS])


def test_default_spread():
    layer = TokenEmbedding(500, 64)
    layer(IDS)
    assert np.asarray(layer.embeddings).std() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((0, 6), "vocab_size must be a positive whole number; received 0"),
        ((5, "6"), "d_model must be a positive whole number; received '6'"),
    ],
)
def test_bad_arguments(args, message):
    with pytest.raises(ValueError, match=message):
        TokenEmbedding(*args)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"scale": "a"}, "scale must be True or False; received 'a'"),
        ({"scale": 2}, "scale must be True or False; received 2"),
        *(
            ({"embeddings_initializer": value}, "embeddings_initializer must be a Keras init")
            for value in (0, False, [], "a", np.ones((5, 4)))
        ),
    ],
    ids=str,
)
def test_options_that_cannot_be(options, says):
    with pytest.raises(ValueError, match=says):
        TokenEmbedding(5, 4, **options)
