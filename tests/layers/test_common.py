"""The dense layer of all blocks."""

import keras
import numpy as np
import pytest

from keraslm.layers.common import Dense


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("length", [1, 3])
def test_gives_what_keras_dense_gives(dtype, bias, length):
    x = np.random.default_rng(0).normal(size=(2, length, 4)).astype("float32")
    settings = dict(
        activation="gelu", use_bias=bias, bias_initializer="normal", dtype=dtype, name="d"
    )
    ours, theirs = Dense(5, **settings), keras.layers.Dense(5, **settings)
    ours.build(x.shape), theirs.build(x.shape)
    theirs.set_weights(ours.get_weights())
    a, b = ours(x), theirs(x)
    assert a.dtype == b.dtype
    tolerance = 1e-6 if dtype == "float32" else 2e-2
    np.testing.assert_allclose(np.float32(a), np.float32(b), rtol=tolerance, atol=tolerance)
