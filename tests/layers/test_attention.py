"""Attention against NumPy and Keras, its masks, its cache, its errors."""

import keras
import numpy as np
import pytest
from keras import ops

from keraslm.layers import MultiHeadAttention

D, H, T, S = 8, 4, 5, 7

OPTIONS = {
    "plain": {},
    "causal": {"causal": True},
    "rotary": {"rotary_base": 100.0},
    "grouped": {"num_kv_heads": 2},
    "one_kv_head": {"num_kv_heads": 1},
    "wide_heads": {"head_dim": 6},
    "no_bias": {"use_bias": False},
    "all": {
        "causal": True, "rotary_base": 100.0, "num_kv_heads": 2, "head_dim": 6, "use_bias": False,
    },
}  # fmt: skip


def options(*names):
    return pytest.mark.parametrize("kwargs", [OPTIONS[n] for n in names or OPTIONS],
                                   ids=names or list(OPTIONS))  # fmt: skip


def numpy(x):
    return np.asarray(ops.cast(x, "float32"))


@pytest.fixture
def x(rng):
    return rng.normal(size=(2, T, D)).astype("float32")


@pytest.fixture
def memory(rng):
    return rng.normal(size=(2, S, 6)).astype("float32")


def make(reference, example, *more, **kwargs):
    layer = MultiHeadAttention(D, H, **kwargs)
    layer(example, *more)
    return reference.randomise(layer)


# === Values ===


@options()
def test_self_attention_is_numpy(kwargs, reference, x):
    layer = make(reference, x, **kwargs)
    expected, weights = reference.attention(layer, x)
    y, scores = layer(x, return_attention_scores=True)
    np.testing.assert_allclose(y, expected, atol=2e-5)
    np.testing.assert_allclose(scores, weights, atol=2e-6)


@options("plain", "grouped", "wide_heads", "no_bias")
def test_cross_attention_is_numpy(kwargs, reference, x, memory):
    layer = make(reference, x, memory, **kwargs)
    y = layer(x, memory)
    np.testing.assert_allclose(y, reference.attention(layer, x, memory)[0], atol=2e-5)


def test_key_and_value_may_differ(reference, rng, x, memory):
    key = rng.normal(size=(2, S, 5)).astype("float32")
    layer = make(reference, x, memory, key)
    expected, _ = reference.attention(layer, x, memory, key)
    np.testing.assert_allclose(layer(x, memory, key), expected, atol=2e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_equals_keras_with_the_same_weights(causal, reference, rng, x):
    ours = make(reference, x, causal=causal)
    theirs = keras.layers.MultiHeadAttention(H, D // H)
    mask = rng.random((2, T, T)) < 0.6
    mask[:, :, 0] = True
    theirs(x, x)
    weights = [np.asarray(w) for w in ours.weights]
    theirs.set_weights([w.reshape(theirs.weights[i].shape) for i, w in enumerate(weights[:8])])
    expected = theirs(x, x, attention_mask=mask, use_causal_mask=causal)
    np.testing.assert_allclose(ours(x, x, attention_mask=mask), expected, atol=2e-5)


def test_grouped_heads_equal_repeated_heads(reference, x):
    grouped = make(reference, x, num_kv_heads=2)
    full = make(reference, x)

    def repeat(weight):
        by_head = np.asarray(weight).reshape(*weight.shape[:-1], 2, D // H)
        return np.repeat(by_head, 2, axis=-2).reshape(*weight.shape[:-1], D)

    for name in ("query", "key", "value", "output_projection"):
        ours, theirs = getattr(grouped, name), getattr(full, name)
        shared = name in ("key", "value")
        theirs.kernel.assign(repeat(ours.kernel) if shared else ours.kernel)
        theirs.bias.assign(repeat(ours.bias) if shared else ours.bias)
    np.testing.assert_allclose(full(x), grouped(x), atol=1e-5)


def test_rotary_sees_only_distances(reference, x):
    layer = make(reference, x, rotary_base=100.0)
    positions = np.arange(T, dtype="int32")[None]
    y = layer(x)
    np.testing.assert_allclose(layer(x, positions=positions), y, atol=1e-6)
    np.testing.assert_allclose(layer(x, positions=positions + 1000), y, atol=1e-3)
    assert np.abs(numpy(layer(x, positions=positions * 2)) - numpy(y)).max() > 1e-2


def test_positions_of_each_row(reference, x):
    layer = make(reference, x, rotary_base=100.0)
    positions = np.array([[0, 1, 2, 0, 1], [0, 0, 1, 2, 3]], "int32")
    expected, _ = reference.attention(layer, x, positions=positions)
    np.testing.assert_allclose(layer(x, positions=positions), expected, atol=2e-5)


# === Masks ===


def widen(mask):
    """A mask of rank 2, 3 or 4 as ``(batch, heads, query, key)``."""
    return np.expand_dims(mask, {2: (1, 2), 3: (1,), 4: ()}[mask.ndim])


def all_forms(visible):
    """One bool mask in every type."""
    return {
        "bool": visible,
        "int": visible.astype("int32") * 3,
        "infinite": np.where(visible, 0, -np.inf).astype("float32"),
        "finite": np.where(visible, 0, -1e9).astype("float32"),
        "float16": np.where(visible, 0, -np.inf).astype("float16"),
    }


@pytest.mark.parametrize("form", ["bool", "int", "infinite", "finite", "float16"])
@pytest.mark.parametrize("rank", [2, 3, 4])
@pytest.mark.parametrize("causal", [False, True])
def test_masks_of_every_rank_and_type(causal, rank, form, reference, rng, x):
    layer = make(reference, x, causal=causal)
    shape = {2: (2, T), 3: (2, T, T), 4: (2, H, T, T)}[rank]
    visible = rng.random(shape) < 0.6
    visible[..., 0] = True
    expected, _ = reference.attention(layer, x, visible=widen(visible))
    y = layer(x, attention_mask=all_forms(visible)[form])
    np.testing.assert_allclose(y, expected, atol=2e-5)


@pytest.mark.parametrize("shape", [(1, T), (1, T, T), (2, 1, T), (1, 1, T, T), (1, H, 1, T)])
def test_masks_broadcast(shape, reference, rng, x):
    layer = make(reference, x)
    visible = rng.random(shape) < 0.6
    visible[..., 0] = True
    expected, _ = reference.attention(layer, x, visible=widen(visible))
    np.testing.assert_allclose(layer(x, attention_mask=visible), expected, atol=2e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_a_float_mask_is_added_to_the_scores(causal, reference, rng, x):
    layer = make(reference, x, causal=causal)
    bias = rng.normal(size=(2, H, T, T)).astype("float32")
    expected, _ = reference.attention(layer, x, bias=bias)
    np.testing.assert_allclose(layer(x, attention_mask=bias), expected, atol=2e-5)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("form", ["bool", "infinite"])
@pytest.mark.parametrize("causal", [False, True])
def test_fully_hidden_rows_give_no_nan(causal, form, policy, reference, x):
    import tensorflow as tf

    layer = make(reference, x, causal=causal, dtype=policy)
    visible = np.ones((2, H, T, T), bool)
    visible[0] = False  # a row of the batch
    visible[1, :, 2] = False  # a query
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y, scores = layer(x, attention_mask=all_forms(visible)[form], return_attention_scores=True)
        total = ops.sum(ops.cast(y, "float32"))
    assert np.isfinite(numpy(y)).all()
    assert np.isfinite(numpy(scores)).all()
    assert np.isfinite(numpy(tape.gradient(total, x))).all()
    assert numpy(scores)[1, :, 1].max() > 0  # the other rows are as ever


def test_hidden_keys_do_not_matter(reference, x):
    layer = make(reference, x)
    other = x.copy()
    other[:, 3:] += 5
    mask = np.arange(T)[None] < 3
    y, scores = layer(x, x, attention_mask=mask, return_attention_scores=True)
    np.testing.assert_array_equal(y, layer(x, other, attention_mask=mask))
    assert (numpy(scores)[..., 3:] == 0).all()


def test_causal_sees_nothing_later(reference, x):
    layer = make(reference, x, causal=True)
    other = x.copy()
    other[:, 3:] += 5
    y, z = numpy(layer(x)), numpy(layer(other))
    np.testing.assert_array_equal(y[:, :3], z[:, :3])
    assert np.abs(y[:, 3:] - z[:, 3:]).max() > 1e-2


@options("plain", "causal", "grouped")
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_scores_on_request(policy, kwargs, reference, x):
    layer = make(reference, x, dtype=policy, dropout=0.5, **kwargs)
    y, scores = layer(x, return_attention_scores=True)
    assert keras.backend.standardize_dtype(scores.dtype) == "float32"
    assert scores.shape == (2, H, T, T)
    np.testing.assert_allclose(numpy(scores).sum(-1), 1, atol=1e-6)
    np.testing.assert_array_equal(numpy(y), numpy(layer(x)))


@options("plain", "causal", "grouped")
def test_one_token_is_numpy_without_a_warning_and_has_gradients(kwargs, reference, x):
    """Keras warns of a softmax over one number; a text of one token is no mistake."""
    import tensorflow as tf

    layer = make(reference, x, **kwargs)
    one = x[:, :1]
    hidden = np.zeros((len(one), 1), bool)
    with tf.GradientTape() as tape:
        y, scores = layer(one, attention_mask=hidden, return_attention_scores=True)
    np.testing.assert_allclose(y, reference.attention(layer, one)[0], atol=2e-5)
    np.testing.assert_array_equal(scores, np.ones((len(one), H, 1, 1), "float32"))
    gradients = tape.gradient(y, [w.value for w in layer.trainable_weights])
    assert all(gradient is not None for gradient in gradients)


# === Keras masks ===


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_keras_mask_is_honoured(policy, reference, x, masked):
    h, mask = masked
    layer = make(reference, h, dtype=policy)
    plain = ops.convert_to_tensor(np.asarray(h))
    expected = numpy(layer(plain, attention_mask=mask))
    np.testing.assert_array_equal(numpy(layer(h)), expected)
    np.testing.assert_array_equal(numpy(layer(h, h)), expected)
    np.testing.assert_array_equal(numpy(layer(x, h)), numpy(layer(x, plain, attention_mask=mask)))
    assert np.abs(numpy(layer(plain)) - expected).max() > 1e-2


def test_keras_mask_is_honoured_with_positions(reference, masked):
    h, _ = masked
    layer = make(reference, h, rotary_base=100.0)
    positions = np.arange(h.shape[1], dtype="int32")[None]
    np.testing.assert_array_equal(numpy(layer(h, positions=positions)), numpy(layer(h)))


def test_explicit_mask_wins_over_the_keras_mask(reference, masked):
    h, mask = masked
    layer = make(reference, h)
    plain = ops.convert_to_tensor(np.asarray(h))
    first = np.zeros_like(mask)
    first[:, 0] = True
    expected = numpy(layer(plain, attention_mask=first))
    np.testing.assert_array_equal(numpy(layer(h, attention_mask=first)), expected)
    np.testing.assert_array_equal(numpy(layer(h, h, attention_mask=first)), expected)


def test_output_keeps_the_mask_of_the_query(reference, masked):
    h, mask = masked
    layer = make(reference, h)
    other = ops.zeros((2, 3, D))
    np.testing.assert_array_equal(layer(h, other)._keras_mask, mask)
    assert getattr(layer(other, h), "_keras_mask", None) is None


# === Cache ===


def tolerance(policy):
    return {"float32": 5e-6, "mixed_bfloat16": 6e-2}[policy]


@pytest.mark.parametrize(
    ("policy", "kwargs"),
    [*(("float32", kwargs) for kwargs in OPTIONS.values()), ("mixed_bfloat16", OPTIONS["all"])],
    ids=[*OPTIONS, "bfloat16"],
)
def test_cached_equals_uncached(policy, kwargs, reference, rng, x):
    layer = make(reference, x, dtype=policy, **{**kwargs, "causal": True})
    expected = numpy(layer(x))
    shape = (2, layer.num_kv_heads, T + 2, layer.head_dim)
    cache = tuple(ops.cast(rng.normal(size=shape), layer.compute_dtype) for _ in range(2))
    parts, start = [], 0
    for length in (3, 1, 1):  # prefill, then token by token
        positions = np.arange(start, start + length, dtype="int32")[None]
        y, cache = layer(
            x[:, start : start + length], positions=positions, cache=cache, start=start
        )
        parts.append(numpy(y))
        start += length
        assert [c.shape for c in cache] == [shape, shape]
    np.testing.assert_allclose(np.concatenate(parts, 1), expected, atol=tolerance(policy))


@options("plain", "grouped", "wide_heads", "no_bias")
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_projected_memory_equals_cross_attention(policy, kwargs, reference, x, memory):
    layer = make(reference, x, memory, dtype=policy, **kwargs)
    mask = np.arange(S)[None] < np.array([[4], [7]])
    cache = layer.project(memory)
    assert cache[0].shape == (2, layer.num_kv_heads, S, layer.head_dim)
    for t in range(T):
        y, same = layer(x[:, t : t + 1], cache=cache, attention_mask=mask)
        expected = layer(x[:, t : t + 1], memory, attention_mask=mask)
        np.testing.assert_allclose(numpy(y), numpy(expected), atol=tolerance(policy))
    np.testing.assert_array_equal(numpy(same[0]), numpy(cache[0]))


def test_scores_and_cache_together(reference, x):
    layer = make(reference, x, causal=True)
    cache = tuple(ops.zeros((2, H, T, D // H)) for _ in range(2))
    y, scores, cache = layer(x, cache=cache, start=0, return_attention_scores=True)
    np.testing.assert_allclose(y, layer(x), atol=1e-6)
    np.testing.assert_array_equal(numpy(scores), numpy(layer(x, return_attention_scores=True)[1]))


def test_keras_mask_of_new_tokens_and_a_cache(reference, masked):
    h, _ = masked
    layer = make(reference, h, causal=True)
    cache = tuple(ops.zeros((2, H, 9, D // H)) for _ in range(2))
    y, _ = layer(h, cache=cache, start=0)
    real = np.asarray(h._keras_mask)
    np.testing.assert_allclose(numpy(y)[real], numpy(layer(h))[real], atol=1e-5)


def test_project_before_the_first_call(x, memory):
    layer = MultiHeadAttention(D, H)
    cache = layer.project(memory)
    y, _ = layer(x, cache=cache)
    np.testing.assert_allclose(y, layer(x, memory), atol=1e-5)


# === Training ===


def test_dropout_only_in_training(reference, x):
    layer = make(reference, x, dropout=0.5)
    plain = make(reference, x)
    np.testing.assert_array_equal(layer(x), plain(x))
    np.testing.assert_array_equal(layer(x, training=False), plain(x))
    first, second = numpy(layer(x, training=True)), numpy(layer(x, training=True))
    assert np.abs(first - second).max() > 1e-3


def test_regularizer_adds_a_loss(x):
    layer = MultiHeadAttention(D, H, kernel_regularizer="l2")
    layer(x)
    kernels = [w for w in layer.trainable_weights if w.name == "kernel"]
    assert len(layer.losses) == len(kernels) == 4
    expected = 0.01 * sum(float((np.asarray(k) ** 2).sum()) for k in kernels)
    assert float(sum(layer.losses)) == pytest.approx(expected, rel=1e-4)


def test_weights_of_one_shape_start_different(x):
    layer = MultiHeadAttention(D, H, kernel_initializer=keras.initializers.RandomNormal())
    layer(x)
    kernels = [np.asarray(w) for w in layer.weights if w.name == "kernel"]
    for i, first in enumerate(kernels):
        for second in kernels[i + 1 :]:
            assert not np.array_equal(first, second)


def test_an_initializer_may_be_a_function(x):
    def ones(shape, dtype=None):
        return ops.ones(shape, dtype)

    layer = MultiHeadAttention(D, H, kernel_initializer=ones)
    layer(x)
    assert (np.asarray(layer.query.kernel) == 1).all()


def test_output_initializer_is_for_the_last_projection(x):
    layer = MultiHeadAttention(D, H, output_initializer="zeros")
    layer(x)
    assert not np.asarray(layer.output_projection.kernel).any()
    assert np.asarray(layer.value.kernel).all()


def test_every_weight_gets_a_gradient(reference, x):
    import tensorflow as tf

    layer = make(reference, x, num_kv_heads=2, rotary_base=100.0)
    with tf.GradientTape() as tape:
        loss = ops.sum(layer(x) ** 2)
    for weight, gradient in zip(
        layer.trainable_weights,
        tape.gradient(loss, [w.value for w in layer.trainable_weights]),
        strict=True,
    ):
        assert np.abs(numpy(gradient)).max() > 0, weight.path


# === Use and misuse ===


def test_spelling(x):
    layer = MultiHeadAttention(D, H)
    assert layer(x, x, attention_mask=np.ones((2, T), bool)).shape == (2, T, D)
    assert MultiHeadAttention(D, H, 0.25).dropout == 0.25


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((100, 3), {}, "num_heads must divide d_model; received d_model=100, num_heads=3. Use a"),
        ((8, 4), {"num_kv_heads": 3}, "num_kv_heads must divide num_heads; received num_heads=4"),
        ((8, 4), {"num_kv_heads": 0}, "num_kv_heads must be a positive whole number; received 0"),
        ((0, 1), {}, "d_model must be a positive whole number; received 0"),
        ((8, 2.0), {}, "num_heads must be a positive whole number; received 2.0"),
        ((8, True), {}, "num_heads must be a positive whole number; received True"),
        ((8, 4, 1.0), {}, r"dropout must be in \[0, 1\); received 1.0"),
        ((8, 4, -0.1), {}, r"dropout must be in \[0, 1\); received -0.1"),
        ((8, 4), {"rotary_base": 0}, "rotary_base must be a positive number; received 0"),
    ],
)
def test_bad_arguments(args, kwargs, message):
    with pytest.raises(ValueError, match=message):
        MultiHeadAttention(*args, **kwargs)


@pytest.mark.parametrize("shape", [(T,), (1, 1, 1, 1, T)])
def test_mask_of_another_rank(shape, x):
    with pytest.raises(ValueError, match=r"attention_mask must have the shape .*received shape"):
        MultiHeadAttention(D, H)(x, attention_mask=np.ones(shape, bool))


def test_odd_heads_cannot_turn(x):
    with pytest.raises(ValueError, match="head_dim must be even for rotary positions; received 3"):
        MultiHeadAttention(D, H, head_dim=3, rotary_base=100.0)(x)


def test_a_bool_as_second_argument(x):
    with pytest.raises(ValueError, match=r"keyword argument|must be a tensor"):
        MultiHeadAttention(D, H)(x, True)
