"""Which ``keras.ops`` convert to builtin operations of LiteRT: the list of docs/export.md."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from keras import ops

from keraslm.litert import to_litert

pytestmark = pytest.mark.slow
# Float ``(2, 5, 4)``.
X = np.random.default_rng(0).normal(size=(2, 5, 4)).astype("float32")


def largest(x):
    return ops.cast(ops.top_k(x, 1)[1][..., 0], "int32")


def unrolled(x):
    state = x[:, 0]
    for i in range(1, x.shape[1]):
        state = ops.tanh(state + x[:, i])
    return state


def looped(x):
    def step(i, state):
        return i + 1, ops.tanh(state + ops.take(x, i, axis=1))

    return ops.while_loop(lambda i, state: i < 5, step, (1, x[:, 0]))[1]


def scanned(x):
    def step(state, part):
        state = ops.tanh(state + part)
        return state, state

    return ops.scan(step, x[:, 0], ops.transpose(x, (1, 0, 2))[1:])[0]


CONVERT = {
    "matmul": lambda x: ops.matmul(x, ops.transpose(x, (0, 2, 1))),
    "einsum": lambda x: ops.einsum("btc,bsc->bts", x, x),
    "softmax": lambda x: ops.softmax(x, axis=-1),
    "log_softmax": lambda x: ops.log_softmax(x, axis=-1),
    "logsumexp": lambda x: ops.logsumexp(x, axis=1),
    "gelu": lambda x: ops.gelu(x, approximate=False),
    "silu": ops.silu,
    "cumsum": lambda x: ops.cumsum(x, axis=1),
    "top_k": lambda x: ops.top_k(x, 2)[0],
    "top_k(x, 1)[1]": largest,
    "one_hot": lambda x: ops.one_hot(largest(x), 4),
    "take": lambda x: ops.take(x, np.array([2, 0], "int32"), axis=1),
    "take_along_axis": lambda x: ops.take_along_axis(x, ops.expand_dims(largest(x), -1), axis=-1),
    "associative_scan": lambda x: ops.associative_scan(ops.multiply, x, axis=1),
    "where": lambda x: ops.where(x > 0, x, -1e9),
    "slice_update": lambda x: ops.slice_update(x, (0, 1, 0), x[:, :1]),
    "expand_dims": lambda x: ops.expand_dims(x, 1),
    "norm": lambda x: ops.sqrt(ops.sum(ops.square(x), axis=-1)),
    "unrolled loop": unrolled,
    "while_loop": looped,
    "scan": scanned,
}
REFUSED = {
    "argmax": lambda x: ops.argmax(x, axis=-1),
    "erf": ops.erf,
    "cumprod": lambda x: ops.cumprod(x, axis=1),
    "searchsorted": lambda x: ops.searchsorted(ops.sort(x[0, 0]), x[0, 1]),
    "bitwise_and": lambda x: ops.bitwise_and(ops.cast(x, "int32"), 3),
}


FIXED_SHAPES_ONLY = ("unrolled loop", "scan", "associative_scan")


def converted(function, shape=X.shape):
    import tensorflow as tf

    def run(x):
        y = function(x)
        return {"output": ops.cast(y, "float32")}

    spec = tf.TensorSpec(shape, tf.float32, "x")
    signature = tf.function(run, autograph=False).get_concrete_function(spec)
    return to_litert([], {"run": signature})


@pytest.mark.parametrize("name", CONVERT)
def test_it_converts_and_computes_the_same(name):
    runner = Interpreter(model_content=converted(CONVERT[name])).get_signature_runner("run")
    expected = ops.convert_to_numpy(ops.cast(CONVERT[name](ops.convert_to_tensor(X)), "float32"))
    assert np.abs(runner(x=X)["output"] - expected).max() < 1e-5


@pytest.mark.parametrize("name", [name for name in CONVERT if name not in FIXED_SHAPES_ONLY])
def test_it_converts_for_any_batch_and_length(name):
    assert converted(CONVERT[name], (None, None, X.shape[-1]))


@pytest.mark.parametrize("name", FIXED_SHAPES_ONLY[1:])
def test_it_wants_fixed_shapes(name):
    with pytest.raises(ValueError, match="builtin operations only"):
        converted(CONVERT[name], (None, None, X.shape[-1]))


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(name):
    with pytest.raises(ValueError, match="builtin operations only|does not have built in"):
        converted(REFUSED[name])
