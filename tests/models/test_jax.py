"""GPT and BERT under Keras' JAX backend: nothing in layers and models is TensorFlow's own."""

import importlib.util
import os
import subprocess
import sys

import pytest

SCRIPT = """
import sys
import keras, numpy as np
from keraslm.models import BERT, GPT
assert keras.backend.backend() == "jax"
keras.utils.set_random_seed(0)
ids = np.random.default_rng(0).integers(0, 30, (8, 13)).astype("int32")
small = dict(vocab_size=30, num_layers=2, d_model=16, num_heads=2, max_length=16)
llama = dict(norm="rms", positions="rotary", gated=True, activation="silu", num_kv_heads=1)
for model in (GPT(**small), GPT(**small, **llama), BERT(**small)):
    model.compile(keras.optimizers.Adam(1e-2))
    losses = model.fit(ids[:, :-1], ids[:, 1:], epochs=30, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0], losses
    if isinstance(model, GPT):
        full = np.asarray(model(ids))
        cache = model.init_cache(8, 13)
        a, cache = model.step(ids[:, :5], cache, 0)
        b, cache = model.step(ids[:, 5:], cache, 5)
        np.testing.assert_allclose(np.concatenate([a, b], 1), full, atol=2e-5)
        segments = np.repeat([[0] * 6 + [1] * 7], 8, 0)
        packed = np.asarray(model({"token_ids": ids, "segment_ids": segments}))
        np.testing.assert_allclose(packed[:, 6:], np.asarray(model(ids[:, 6:])), atol=2e-5)
print("done")
"""


@pytest.mark.peer
def test_forward_backward_and_fit():
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False,
        env={**os.environ, "KERAS_BACKEND": "jax"},
    )  # fmt: skip
    assert done.stdout.strip() == "done", done.stderr[-2000:]
