"""The block: its order of parts, its masks, its cache, its errors."""

import json
import warnings

import keras
import numpy as np
import pytest
from keras import ops

from keraslm.layers import TransformerBlock

D, H, F, T, S = 8, 4, 12, 5, 7

OPTIONS = {
    "post_norm": {},
    "pre_norm": {"norm_first": True, "activation": "gelu_tanh"},
    "rms": {"norm": "rms", "norm_first": True},
    "post_rms": {"norm": "rms"},
    "gated": {"gated": True, "activation": "silu", "use_bias": False},
    "grouped": {"num_kv_heads": 2, "head_dim": 6},
    "rotary": {"rotary_base": 100.0, "norm_epsilon": 1e-3},
    "llama": {
        "norm": "rms", "norm_first": True, "gated": True, "activation": "silu",
        "num_kv_heads": 1, "rotary_base": 100.0, "use_bias": False,
    },
}  # fmt: skip
ALL = pytest.mark.parametrize("kwargs", OPTIONS.values(), ids=OPTIONS)
CACHED = pytest.mark.parametrize(
    ("policy", "kwargs"),
    [*(("float32", kwargs) for kwargs in OPTIONS.values()), ("mixed_bfloat16", OPTIONS["llama"])],
    ids=[*OPTIONS, "bfloat16"],
)
POLICIES = pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])


def numpy(x):
    return np.asarray(ops.cast(x, "float32"))


@pytest.fixture
def x(rng):
    return rng.normal(size=(2, T, D)).astype("float32")


@pytest.fixture
def memory(rng):
    return rng.normal(size=(2, S, 6)).astype("float32")


def make(reference, x, memory=None, **kwargs):
    layer = TransformerBlock(D, H, F, cross_attention=memory is not None, **kwargs)
    layer(x, encoder_output=memory)
    return reference.randomise(layer)


@ALL
@pytest.mark.parametrize("causal", [False, True])
def test_is_numpy(causal, kwargs, reference, x):
    layer = make(reference, x, causal=causal, **kwargs)
    np.testing.assert_allclose(layer(x), reference.block(layer, x), atol=1e-4)


@ALL
def test_cross_attention_is_numpy(kwargs, reference, x, memory):
    layer = make(reference, x, memory, causal=True, **kwargs)
    mask = np.arange(T)[None] < np.array([[3], [5]])
    encoder_mask = np.arange(S)[None] < np.array([[7], [2]])
    expected = reference.block(
        layer, x, memory, visible=mask[:, None, None], memory_visible=encoder_mask[:, None, None]
    )
    y = layer(x, attention_mask=mask, encoder_output=memory, encoder_mask=encoder_mask)
    np.testing.assert_allclose(y, expected, atol=1e-4)


@pytest.mark.parametrize("rank", [2, 3, 4])
def test_masks_of_every_rank(rank, reference, rng, x):
    layer = make(reference, x)
    visible = rng.random({2: (2, T), 3: (2, T, T), 4: (2, H, T, T)}[rank]) < 0.6
    visible[..., 0] = True
    wide = np.expand_dims(visible, {2: (1, 2), 3: (1,), 4: ()}[rank])
    expected = reference.block(layer, x, visible=wide)
    for mask in (visible, np.where(visible, 0, -np.inf).astype("float32")):
        np.testing.assert_allclose(layer(x, attention_mask=mask), expected, atol=1e-4)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("name", ["post_norm", "llama"])
def test_fully_hidden_rows_give_no_nan(name, policy, reference, x, memory):
    layer = make(reference, x, memory, dtype=policy, causal=True, **OPTIONS[name])
    hidden = np.zeros((2, S), bool)
    y = layer(x, attention_mask=hidden[:, :T], encoder_output=memory, encoder_mask=hidden)
    assert np.isfinite(numpy(y)).all()


# === Keras masks ===


@POLICIES
@pytest.mark.parametrize("positions", [None, np.arange(6, dtype="int32")[None]])
def test_keras_mask_is_honoured(positions, policy, reference, masked):
    h, mask = masked
    layer = make(reference, h, dtype=policy, rotary_base=100.0)
    plain = ops.convert_to_tensor(np.asarray(h))
    expected = numpy(layer(plain, attention_mask=mask, positions=positions))
    np.testing.assert_array_equal(numpy(layer(h, positions=positions)), expected)
    assert np.abs(numpy(layer(plain)) - expected).max() > 1e-2
    np.testing.assert_array_equal(layer(h)._keras_mask, mask)


def test_keras_mask_with_rms_norm_warns_of_nothing(masked):
    h, mask = masked
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y = TransformerBlock(D, H, F, norm="rms", norm_first=True)(h)
    np.testing.assert_array_equal(y._keras_mask, mask)


@POLICIES
def test_keras_mask_of_the_encoder_is_honoured(policy, reference, x, masked):
    h, mask = masked
    layer = make(reference, x, h, dtype=policy)
    plain = ops.convert_to_tensor(np.asarray(h))
    expected = numpy(layer(x, encoder_output=plain, encoder_mask=mask))
    np.testing.assert_array_equal(numpy(layer(x, encoder_output=h)), expected)
    assert np.abs(numpy(layer(x, encoder_output=plain)) - expected).max() > 1e-2


def test_explicit_mask_wins_over_the_keras_mask(reference, masked):
    h, mask = masked
    layer = make(reference, h, h)
    plain = ops.convert_to_tensor(np.asarray(h))
    first = np.zeros_like(mask)
    first[:, 0] = True
    expected = layer(plain, attention_mask=first, encoder_output=plain, encoder_mask=first)
    y = layer(h, attention_mask=first, encoder_output=h, encoder_mask=first)
    np.testing.assert_array_equal(y, expected)


# === Cache ===


def decode(layer, x, cache, **kwargs):
    parts, start = [], 0
    for length in (2, 1, 2):
        chunk = x[:, start : start + length]
        positions = np.arange(start, start + length, dtype="int32")[None]
        y, cache = layer(chunk, positions=positions, cache=cache, start=start, **kwargs)
        parts.append(numpy(y))
        start += length
    return np.concatenate(parts, axis=1), cache


def empty(layer):
    shape = (2, layer.attention.num_kv_heads, T, layer.attention.head_dim)
    return tuple(ops.zeros(shape, layer.compute_dtype) for _ in range(2))


@CACHED
def test_cached_equals_uncached(policy, kwargs, reference, x):
    layer = make(reference, x, dtype=policy, causal=True, **kwargs)
    y, cache = decode(layer, x, empty(layer))
    assert len(cache) == 2
    np.testing.assert_allclose(y, numpy(layer(x)), atol=1e-5 if policy == "float32" else 0.2)


@CACHED
def test_cached_cross_attention_equals_uncached(policy, kwargs, reference, x, memory):
    layer = make(reference, x, memory, dtype=policy, causal=True, **kwargs)
    encoder_mask = np.arange(S)[None] < np.array([[7], [2]])
    expected = numpy(layer(x, encoder_output=memory, encoder_mask=encoder_mask))
    projected = layer.cross.project(memory)
    y, cache = decode(layer, x, (*empty(layer), *projected), encoder_mask=encoder_mask)
    np.testing.assert_allclose(y, expected, atol=1e-5 if policy == "float32" else 0.2)
    assert len(cache) == 4
    np.testing.assert_array_equal(numpy(cache[2]), numpy(projected[0]))


# === Training ===


def test_dropout_only_in_training(reference, x):
    layer = make(reference, x, dropout=0.5)
    np.testing.assert_allclose(layer(x), reference.block(layer, x), atol=1e-4)
    first, second = numpy(layer(x, training=True)), numpy(layer(x, training=True))
    assert np.abs(first - second).max() > 1e-3


def test_attention_dropout_of_its_own(x):
    assert TransformerBlock(D, H, F, 0.5).attention.dropout == 0.5
    layer = TransformerBlock(D, H, F, 0.5, attention_dropout=0.0, cross_attention=True)
    assert (layer.attention.dropout, layer.cross.dropout, layer.feed_forward.dropout) == (0, 0, 0.5)


@pytest.mark.parametrize("cross", [False, True])
def test_regularizer_adds_a_loss(cross, x, memory):
    layer = TransformerBlock(D, H, F, kernel_regularizer="l2", cross_attention=cross)
    layer(x, encoder_output=memory if cross else None)
    kernels = [np.asarray(w) for w in layer.weights if w.name == "kernel"]
    assert len(layer.losses) == len(kernels) == (10 if cross else 6)
    expected = 0.01 * sum((k**2).sum() for k in kernels)
    assert float(sum(layer.losses)) == pytest.approx(expected, rel=1e-4)


def test_weights_of_one_shape_start_different(x, memory):
    layer = TransformerBlock(D, H, D, gated=True, cross_attention=True,
                             kernel_initializer=keras.initializers.RandomNormal())  # fmt: skip
    layer(x, encoder_output=x)
    kernels = [np.asarray(w) for w in layer.weights if w.name == "kernel"]
    assert len(kernels) == 11
    for i, first in enumerate(kernels):
        assert not any(np.array_equal(first, second) for second in kernels[i + 1 :])


def test_output_initializer_is_for_what_is_added_to_the_residual(x):
    layer = TransformerBlock(D, H, F, norm_first=True, output_initializer="zeros")
    np.testing.assert_array_equal(layer(x), x)


# === Use and misuse ===


def test_seeds_spelling(x):
    block = TransformerBlock(D, H, F, 0.1)
    assert (block.norm_first, block.activation, block.causal) == (False, "relu", False)
    assert block.dropout == 0.1
    y = block(x, attention_mask=np.ones((2, T), bool), training=False)
    assert y.shape == x.shape
    np.testing.assert_array_equal(block(x, np.ones((2, T), bool)), y)


def test_numpy_sizes(x):
    layer = TransformerBlock(np.int64(D), np.int32(H), np.int64(F), num_kv_heads=np.int64(2))
    assert layer(x).shape == x.shape
    json.dumps(layer.get_config())


@pytest.mark.parametrize("symbolic", [False, True])
def test_a_bool_as_second_argument(symbolic, x):
    x = keras.Input((T, D)) if symbolic else x
    with pytest.raises(ValueError, match=r"passed as a keyword argument: True|training=True"):
        TransformerBlock(D, H, F)(x, True)


def test_a_bool_as_mask(x):
    with pytest.raises(ValueError, match=r"attention_mask must be a tensor; received False"):
        TransformerBlock(D, H, F)(x, attention_mask=False)


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((100, 3, F), {}, "num_heads must divide d_model; received d_model=100, num_heads=3. Use"),
        ((D, H, 0), {}, "ffn_dim must be a positive whole number; received 0"),
        ((D, H, F, 1.5), {}, r"dropout must be in \[0, 1\); received 1.5"),
        ((D, H, F), {"norm": "batch"}, r"norm must be one of \['layer', 'rms'\]; received 'batch'"),
        ((D, H, F), {"activation": "swish"}, "activation must be one of .*; received 'swish'"),
        ((D, H, F), {"num_kv_heads": 3}, "num_kv_heads must divide num_heads; received num_heads="),
        ((D, H, F), {"attention_dropout": 2}, r"dropout must be in \[0, 1\); received 2"),
    ],
)
def test_bad_arguments(args, kwargs, message):
    with pytest.raises(ValueError, match=message):
        TransformerBlock(*args, **kwargs)


@pytest.mark.parametrize("symbolic", [False, True])
def test_another_width(symbolic):
    x = keras.Input((T, 5)) if symbolic else np.zeros((2, T, 5), "float32")
    with pytest.raises(ValueError, match="The input must be d_model=8 wide; received"):
        TransformerBlock(D, H, F)(x)


def test_encoder_output_is_missing(x):
    with pytest.raises(ValueError, match="encoder_output is missing: this block was built with"):
        TransformerBlock(D, H, F, cross_attention=True)(x)


def test_encoder_output_is_missing_symbolically():
    with pytest.raises(ValueError, match="encoder_output is missing"):
        TransformerBlock(D, H, F, cross_attention=True)(keras.Input((T, D)))


def test_encoder_output_without_cross_attention(x, memory):
    with pytest.raises(ValueError, match="cross_attention"):
        TransformerBlock(D, H, F)(x, encoder_output=memory)
