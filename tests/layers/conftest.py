"""NumPy versions of the layers, in float64, for the tests of this folder."""

import math
from types import SimpleNamespace

import keras
import numpy as np
import pytest


def randomise(layer, seed=7):
    """Random values for every weight: biases start at 0 and norms at 1, which hides mistakes."""
    rng = np.random.default_rng(seed)
    for weight in layer.weights:
        if "seed" not in weight.path:
            weight.assign(rng.normal(0.1, 0.4, weight.shape))
    return layer


def dense(layer, x):
    y = x @ np.asarray(layer.kernel, "float64")
    return y if layer.bias is None else y + np.asarray(layer.bias, "float64")


def rotate(x, positions, base):
    """Rotary positions as a product of complex numbers; ``x`` is ``(batch, heads, seq, dim)``."""
    half = x.shape[-1] // 2
    rates = base ** (-np.arange(half) / half)
    turn = np.exp(1j * positions[:, None, :, None] * rates)
    y = (x[..., :half] + 1j * x[..., half:]) * turn
    return np.concatenate([y.real, y.imag], axis=-1)


def attention(layer, query, value=None, key=None, visible=None, bias=None, positions=None):
    """Output and weights. ``visible`` and ``bias`` broadcast to ``(batch, heads, query, key)``."""
    value = query if value is None else value
    key = value if key is None else key

    def heads(x, count):
        return x.reshape(*x.shape[:2], count, layer.head_dim).transpose(0, 2, 1, 3)

    q = heads(dense(layer.query, query), layer.num_heads)
    k = heads(dense(layer.key, key), layer.num_kv_heads)
    v = heads(dense(layer.value, value), layer.num_kv_heads)
    if layer.rotary_base is not None:
        if positions is None:
            positions = np.arange(q.shape[2])[None]
        q, k = (rotate(x, positions, layer.rotary_base) for x in (q, k))
    k, v = (np.repeat(x, layer.num_heads // layer.num_kv_heads, axis=1) for x in (k, v))
    scores = np.einsum("bhtd,bhsd->bhts", q, k) / math.sqrt(layer.head_dim)
    if bias is not None:
        scores = scores + bias
    if layer.causal:
        scores = np.where(np.tril(np.ones(scores.shape[-2:], bool)), scores, -np.inf)
    if visible is not None:
        scores = np.where(visible, scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights = weights / weights.sum(-1, keepdims=True)
    y = np.einsum("bhts,bhsd->bthd", weights, v)
    return dense(layer.output_projection, y.reshape(*y.shape[:2], -1)), weights


ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    "silu": lambda x: x / (1 + np.exp(-x)),
}


def feed_forward(layer, x):
    activate = ACTIVATIONS[layer.activation]
    y = dense(layer.up, x)
    y = activate(dense(layer.gate, x)) * y if layer.gated else activate(y)
    return dense(layer.down, y)


def norm(layer, x, kind, epsilon):
    if kind == "layer":
        y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon)
        return y * np.asarray(layer.gamma, "float64") + np.asarray(layer.beta, "float64")
    y = x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon)
    return y * np.asarray(layer.scale, "float64")


def block(layer, x, memory=None, visible=None, memory_visible=None):
    parts = [(lambda h: attention(layer.attention, h, visible=visible)[0], layer.attention_norm)]
    if layer.cross_attention:
        parts.append(
            (
                lambda h: attention(layer.cross, h, memory, visible=memory_visible)[0],
                layer.cross_norm,
            )
        )
    parts.append((lambda h: feed_forward(layer.feed_forward, h), layer.feed_forward_norm))
    for part, norm_layer in parts:
        if layer.norm_first:
            x = x + part(norm(norm_layer, x, layer.norm, layer.norm_epsilon))
        else:
            x = norm(norm_layer, x + part(x), layer.norm, layer.norm_epsilon)
    return x


@pytest.fixture(scope="session")
def reference():
    return SimpleNamespace(
        attention=attention, block=block, feed_forward=feed_forward, randomise=randomise,
        rotate=rotate,
    )  # fmt: skip


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def masked():
    """Vectors that carry a Keras mask, and the mask: the last tokens of each row are padding."""
    ids = np.array([[3, 1, 4, 2, 0, 0], [2, 4, 0, 0, 0, 0]], "int32")
    table = keras.initializers.RandomNormal(stddev=1.0, seed=3)
    return keras.layers.Embedding(5, 8, mask_zero=True, embeddings_initializer=table)(ids), ids != 0
