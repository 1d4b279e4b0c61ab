"""Keras' own conformance check, for every public layer."""

import dataclasses
import inspect

import keras
import numpy as np
import pytest
from keras import ops
from keras.src.testing import TestCase

from keraslm import layers

SHAPE = (2, 5, 8)
ATTENTION = {"d_model": 8, "num_heads": 4}
BLOCK = {**ATTENTION, "ffn_dim": 12}

# layer, arguments, number of weights, number of losses
FLOAT_TO_FLOAT = {
    "attention": (layers.MultiHeadAttention, ATTENTION, 8, 0),
    "attention_dropout": (layers.MultiHeadAttention, {**ATTENTION, "dropout": 0.2}, 8, 0),
    "attention_options": (
        layers.MultiHeadAttention,
        {**ATTENTION, "num_kv_heads": 2, "head_dim": 6, "causal": True, "rotary_base": 100.0,
         "use_bias": False, "kernel_initializer": "he_normal", "output_initializer": "zeros",
         "kernel_regularizer": keras.regularizers.L2(0.1)},
        4, 4,
    ),
    "feed_forward": (layers.FeedForward, {"d_model": 8, "ffn_dim": 12, "dropout": 0.2}, 4, 0),
    "feed_forward_gated": (
        layers.FeedForward,
        {"d_model": 8, "ffn_dim": 12, "activation": "silu", "gated": True, "use_bias": False,
         "output_initializer": keras.initializers.RandomNormal(stddev=0.1),
         "kernel_regularizer": "l2"},
        3, 3,
    ),
    "sinusoidal": (layers.PositionalEncoding, {"max_length": 6, "d_model": 8}, 0, 0),
    "learned": (
        layers.PositionalEncoding, {"max_length": 6, "d_model": 8, "kind": "learned"}, 1, 0,
    ),
    "block": (layers.TransformerBlock, {**BLOCK, "dropout": 0.2}, 16, 0),
    "block_norm_first": (
        layers.TransformerBlock, {**BLOCK, "norm_first": True, "activation": "gelu"}, 16, 0,
    ),
    "block_rms": (layers.TransformerBlock, {**BLOCK, "norm": "rms", "norm_epsilon": 1e-3}, 14, 0),
    "block_causal_rotary": (
        layers.TransformerBlock, {**BLOCK, "causal": True, "rotary_base": 100.0}, 16, 0,
    ),
    "block_l2": (
        layers.TransformerBlock,
        {**BLOCK, "kernel_regularizer": "l2", "attention_dropout": 0.1,
         "output_initializer": "zeros"},
        16, 6,
    ),
    "block_llama": (
        layers.TransformerBlock,
        {**BLOCK, "norm_first": True, "norm": "rms", "activation": "silu", "gated": True,
         "num_kv_heads": 2, "head_dim": 6, "rotary_base": 100.0, "causal": True,
         "use_bias": False},
        9, 0,
    ),
}  # fmt: skip


# Those with every kind of part: a training step takes a second.
TRAINED = {"attention_options", "feed_forward_gated", "sinusoidal", "learned", "block_llama",
           "block_l2"}  # fmt: skip


@pytest.mark.filterwarnings(
    "ignore:.*shuffle.*", "ignore:.*any trainable weights.*", "ignore:.*destroy the mask.*"
)
@pytest.mark.parametrize("name", FLOAT_TO_FLOAT)
def test_float_to_float(name):
    cls, kwargs, weights, losses = FLOAT_TO_FLOAT[name]
    TestCase().run_layer_test(
        cls,
        kwargs,
        input_shape=SHAPE,
        expected_output_shape=SHAPE,
        expected_output_dtype="float32",
        expected_num_trainable_weights=weights,
        expected_num_non_trainable_weights=0,
        expected_num_losses=losses,
        supports_masking=True,
        run_training_check=name in TRAINED,
    )
    check_dtypes(cls, kwargs, {}, ops.ones(SHAPE))
    check_mask(cls(**kwargs), ops.ones(SHAPE))


@pytest.mark.filterwarnings("ignore:.*shuffle.*", "ignore:.*any trainable weights.*")
def test_rotary():
    shape = (2, 3, 5, 8)
    TestCase().run_layer_test(
        layers.RotaryEmbedding,
        {"base": 100.0},
        input_shape=shape,
        expected_output_shape=shape,
        expected_output_dtype="float32",
        expected_num_trainable_weights=0,
        supports_masking=True,
    )
    check_dtypes(layers.RotaryEmbedding, {}, {}, ops.ones(shape))


@pytest.mark.filterwarnings("ignore:.*shuffle.*")
@pytest.mark.parametrize("kwargs", [{}, {"scale": True, "embeddings_initializer": "ones"}])
def test_token_embedding(kwargs):
    kwargs = {"vocab_size": 6, "d_model": 8, **kwargs}
    TestCase().run_layer_test(
        layers.TokenEmbedding,
        kwargs,
        input_shape=SHAPE[:2],
        input_dtype="int32",
        expected_output_shape=SHAPE,
        expected_output_dtype="float32",
        expected_num_trainable_weights=1,
        supports_masking=False,
    )
    # The other way, float to float: its width is not that of the ids that built it.
    TestCase().run_layer_test(
        layers.TokenEmbedding,
        kwargs,
        input_shape=SHAPE,
        call_kwargs={"reverse": True},
        expected_output_shape=(2, 5, 6),
        expected_output_dtype="float32",
        # These two call the layer without ``reverse``.
        run_training_check=False,
        run_mixed_precision_check=False,
    )


def test_segment_positions():
    TestCase().run_layer_test(
        layers.SegmentPositions,
        {},
        input_shape=SHAPE[:2],
        input_dtype="int32",
        expected_output_shape=SHAPE[:2],
        expected_output_dtype="int32",
        expected_num_trainable_weights=0,
        supports_masking=True,
        run_training_check=False,  # whole numbers have no gradient
    )


CROSS = {
    "attention": (layers.MultiHeadAttention, ATTENTION, ("query", "value"), 8),
    "attention_key": (layers.MultiHeadAttention, ATTENTION, ("query", "value", "key"), 8),
    "block": (
        layers.TransformerBlock,
        {**BLOCK, "cross_attention": True},
        ("x", "encoder_output"),
        26,
    ),
    "block_options": (
        layers.TransformerBlock,
        {**BLOCK, "cross_attention": True, "norm_first": True, "norm": "rms", "num_kv_heads": 1,
         "rotary_base": 100.0, "gated": True, "activation": "silu", "causal": True,
         "kernel_regularizer": "l2", "dropout": 0.1},
        ("x", "encoder_output"),
        25,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CROSS)
def test_cross_attention(name):
    cls, kwargs, names, weights = CROSS[name]
    shapes = dict(zip(names, (SHAPE, (2, 7, 6), (2, 7, 3)), strict=False))
    TestCase().run_layer_test(
        cls,
        kwargs,
        input_shape={f"{name}_shape": shape for name, shape in shapes.items()},
        input_dtype={f"{name}_shape": "float32" for name in names},
        expected_output_shape=SHAPE,
        expected_output_dtype="float32",
        expected_num_trainable_weights=weights,
        supports_masking=True,
        run_training_check=False,  # hands the dict to the layer as its first argument
    )
    inputs = {name: ops.ones(shape) for name, shape in shapes.items()}
    check_dtypes(cls, kwargs, inputs)
    symbolic = {name: keras.Input(shape[1:], name=name) for name, shape in shapes.items()}
    check_training_and_reload(keras.Model(symbolic, cls(**kwargs)(**symbolic)), inputs)


# The check takes neither bool inputs, nor a missing output, nor several outputs: by hand.


@pytest.mark.parametrize("padding", [False, True])
@pytest.mark.parametrize("segments", [False, True])
def test_attention_mask(segments, padding):
    layer = layers.AttentionMask(name="mask")
    again = layers.AttentionMask.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    ids = {"token_ids": np.zeros(SHAPE[:2], "int32")}
    if padding:
        ids["padding_mask"] = np.ones(SHAPE[:2], bool)
    if segments:
        ids["segment_ids"] = np.zeros(SHAPE[:2], "int32")
    if not padding and not segments:
        assert layer(**ids) is None
        return
    symbolic = layer(**{
        name: keras.Input((5,), batch_size=2, dtype=str(value.dtype))
        for name, value in ids.items()
    })  # fmt: skip
    eager = again(**ids)
    assert tuple(eager.shape) == symbolic.shape == (2, 5 if segments else 1, 5)
    assert keras.backend.standardize_dtype(eager.dtype) == symbolic.dtype == "bool"
    assert layer.supports_masking
    assert not layer.weights


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("scores", [False, True])
@pytest.mark.parametrize("cached", [False, True])
def test_several_outputs(cached, scores, policy):
    layer = layers.MultiHeadAttention(**ATTENTION, num_kv_heads=2, dtype=policy)
    x = ops.ones(SHAPE, layer.compute_dtype)
    kwargs = {"return_attention_scores": scores}
    symbolic = dict(kwargs)
    if cached:
        shape = (2, 2, 9, 2)
        kwargs["cache"] = tuple(ops.zeros(shape, layer.compute_dtype) for _ in range(2))
        symbolic["cache"] = tuple(keras.KerasTensor(shape, layer.compute_dtype) for _ in range(2))
        kwargs["start"] = symbolic["start"] = 3
    eager = keras.tree.flatten(layer(x, **kwargs))
    spec = keras.tree.flatten(layer(keras.KerasTensor(SHAPE, layer.compute_dtype), **symbolic))
    assert len(eager) == len(spec) == 1 + scores + 2 * cached
    for tensor, expected in zip(eager, spec, strict=True):
        assert tuple(tensor.shape) == expected.shape
        assert keras.backend.standardize_dtype(tensor.dtype) == expected.dtype


def test_block_with_a_cache():
    layer = layers.TransformerBlock(**BLOCK, cross_attention=True)
    shapes = [(2, 4, 9, 2)] * 2 + [(2, 4, 7, 2)] * 2
    eager = layer(ops.ones(SHAPE), cache=tuple(ops.zeros(s) for s in shapes), start=1)
    spec = layer(
        keras.KerasTensor(SHAPE), cache=tuple(keras.KerasTensor(s) for s in shapes), start=1
    )
    eager, spec = keras.tree.flatten(eager), keras.tree.flatten(spec)
    assert [tuple(t.shape) for t in eager] == [t.shape for t in spec] == [SHAPE, *shapes]


@pytest.mark.parametrize(
    "name",
    [name for name in layers.__all__ if issubclass(getattr(layers, name), keras.layers.Layer)],
)
def test_config_has_every_argument(name):
    """A config that leaves one out still makes a layer, only another one."""
    cls = getattr(layers, name)
    made = [(c, k) for c, k, *_ in (*FLOAT_TO_FLOAT.values(), *CROSS.values()) if c is cls]
    made.append((cls, {"base": 5.0} if name == "RotaryEmbedding" else {}))
    if name == "TokenEmbedding":
        made = [(cls, {"vocab_size": 6, "d_model": 8, "scale": True})]
    arguments = set(inspect.signature(cls).parameters) - {"kwargs", "options"}
    if options := getattr(cls, "options_class", None):  # these are there when they are set
        arguments -= {f.name for f in dataclasses.fields(options) if f.metadata["later"]}
    if name == "RotaryEmbedding":
        arguments -= {"fraction"}  # likewise
    for _, kwargs in made[:-1] or made:
        config = cls(**kwargs, name="mine", trainable=False).get_config()
        assert arguments <= set(config)
        assert (config["name"], config["trainable"]) == ("mine", False)
        plain = {key: value for key, value in kwargs.items() if "izer" not in key}
        assert {key: config[key] for key in plain} == plain


# === Checks ===


def check_dtypes(cls, kwargs, inputs, *args):
    """What Keras' check, which takes float16, leaves out: the policy reaches every part."""
    for policy in ("mixed_bfloat16", "bfloat16"):
        layer = cls.from_config(cls(**kwargs, dtype=policy).get_config())
        assert {part.dtype_policy.name for part in layer._flatten_layers()} == {policy}
    y = layer(*args, **inputs)
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    assert np.isfinite(np.asarray(ops.cast(y, "float32"))).all()
    assert {w.dtype for w in layer.trainable_weights} <= {"bfloat16"}


def check_mask(layer, x):
    """A Keras mask goes through."""
    mask = np.ones(x.shape[:2], bool)
    keras.src.backend.set_keras_mask(x, mask)
    np.testing.assert_array_equal(layer(x)._keras_mask, mask)


def check_training_and_reload(model, inputs):
    """One step moves every weight that has a gradient; a saved model gives the same output."""
    before = [np.asarray(w) for w in model.trainable_weights]
    model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
    model.fit(inputs, np.random.default_rng(0).normal(size=SHAPE), verbose=0)
    moved = [(np.asarray(w) != b).any() for w, b in zip(model.trainable_weights, before,
                                                        strict=True)]  # fmt: skip
    assert sum(moved) > len(moved) / 2
    again = keras.Model.from_config(model.get_config())
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again(inputs), model(inputs))
