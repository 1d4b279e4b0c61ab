"""Small models with weights large enough for mistakes to show."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

VOCAB = 13
SMALL = {"vocab_size": VOCAB, "num_layers": 1, "d_model": 8, "num_heads": 2, "max_length": 12}


def randomise(model, seed=7):
    """Random weights: a fresh model's logits are near 0 and its biases all 0."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if "seed" not in weight.path:
            one = 1 if weight.name in ("gamma", "scale") else 0
            weight.assign(one + rng.normal(0, 0.4, weight.shape))
    return model


@pytest.fixture(scope="session")
def small():
    """``small(cls, **fields)``: a tiny model with random weights."""

    def make(cls, **fields):
        return randomise(cls(**{**SMALL, **fields}))

    return make


@pytest.fixture(scope="session")
def shared(small):
    """Like ``small``, but made once: for tests that leave the model as it is."""
    return functools.cache(small)


@pytest.fixture(scope="session")
def numpy():
    """A tensor as a float32 array."""
    return lambda x: np.asarray(ops.cast(x, "float32"))


@pytest.fixture
def ids():
    return np.random.default_rng(0).integers(1, VOCAB, (3, 6)).astype("int32")


@pytest.fixture(scope="session")
def decayed():
    """``decayed(model)``: paths of the weights that one step with no gradients changes."""

    def paths(model):
        for state in model.optimizer.variables:
            if len(state.shape):  # momentum would move a weight too
                state.assign(ops.zeros(state.shape))
        before = [np.asarray(w) for w in model.trainable_variables]
        model.optimizer.apply([ops.zeros(w.shape, "float32") for w in model.trainable_variables])
        return {
            w.path
            for w, b in zip(model.trainable_variables, before, strict=True)
            if (np.asarray(w) != b).any()
        }

    return paths


@pytest.fixture(scope="session")
def same_dtype():
    return lambda x, dtype: keras.backend.standardize_dtype(x.dtype) == dtype
