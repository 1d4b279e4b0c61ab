"""Sinusoidal, learned and rotary positions."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from keraslm.layers import PositionalEncoding, RotaryEmbedding

POSITIONS = np.array([[3, 0, 1, 4], [2, 2, 0, 5]], "int32")


@pytest.fixture
def x(rng):
    return rng.normal(size=(2, 4, 6)).astype("float32")


def paper(position, feature, d_model):
    """Vaswani et al. 2017, section 3.5, one number at a time."""
    angle = position / 10000 ** (2 * (feature // 2) / d_model)
    return math.cos(angle) if feature % 2 else math.sin(angle)


@pytest.mark.parametrize("d_model", [6, 7])
def test_sinusoidal_is_the_paper(d_model):
    y = PositionalEncoding(50, d_model)(np.zeros((1, 50, d_model), "float32"))
    expected = [[paper(p, f, d_model) for f in range(d_model)] for p in range(50)]
    np.testing.assert_allclose(y[0], expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["sinusoidal", "learned"])
def test_encoding_is_added(kind, x):
    layer = PositionalEncoding(8, 6, kind)
    table = np.asarray(layer(np.zeros((1, 8, 6), "float32")))[0]
    np.testing.assert_allclose(layer(x), x + table[:4], atol=1e-6)
    np.testing.assert_allclose(layer(x, positions=POSITIONS), x + table[POSITIONS], atol=1e-6)
    np.testing.assert_allclose(layer(x, positions=POSITIONS[:1]), x + table[POSITIONS[:1]],
                               atol=1e-6)  # fmt: skip
    assert len(layer.trainable_weights) == (kind == "learned")


def test_learned_table_is_the_weight(x):
    layer = PositionalEncoding(8, 6, "learned", embeddings_initializer="ones")
    np.testing.assert_allclose(layer(x), x + 1, atol=1e-6)


def test_two_learned_tables_start_different(x):
    initializer = keras.initializers.RandomNormal()
    first, second = (
        PositionalEncoding(8, 6, "learned", embeddings_initializer=initializer) for _ in range(2)
    )
    assert np.abs(np.asarray(first(x)) - np.asarray(second(x))).max() > 1e-4


@pytest.mark.parametrize("kind", ["sinusoidal", "learned"])
def test_seeds_spelling(kind, x):
    y = PositionalEncoding(4, 6, kind=kind)(x)  # exactly max_length
    assert y.shape == x.shape


def test_keras_mask_goes_through(masked):
    h, mask = masked
    np.testing.assert_array_equal(PositionalEncoding(8, 8)(h)._keras_mask, mask)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PositionalEncoding(0, 6), "max_length must be a positive whole number; rece"),
        (lambda: PositionalEncoding(8, -6), "d_model must be a positive whole number; received"),
        (lambda: PositionalEncoding(8, 6, "rotary"), "kind must be one of .*; received 'rotary'"),
        (lambda: RotaryEmbedding(-1.0), "base must be a positive number; received -1.0"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("kind", ["sinusoidal", "learned"])
@pytest.mark.parametrize("symbolic", [False, True])
def test_too_long_or_too_wide(symbolic, kind):
    def give(*shape):
        return keras.Input(shape) if symbolic else np.zeros((2, *shape), "float32")

    layer = PositionalEncoding(3, 6, kind)
    with pytest.raises(ValueError, match="has 4 positions, more than max_length=3. Shorten it"):
        layer(give(4, 6))
    with pytest.raises(ValueError, match="must be d_model=6 wide; received"):
        layer(give(3, 5))
    layer(give(3, 6))
    with pytest.raises(ValueError, match="has 4 positions, more than max_length=3"):
        layer(give(4, 6))


# === Rotary ===


@pytest.fixture
def heads(rng):
    return rng.normal(size=(2, 3, 4, 6)).astype("float32")


@pytest.mark.parametrize("base", [10.0, 10000.0])
@pytest.mark.parametrize("positions", [None, POSITIONS, POSITIONS[:1]])
def test_rotary_is_a_complex_product(positions, base, heads, reference):
    y = RotaryEmbedding(base)(heads, positions=positions)
    at = np.arange(4)[None] if positions is None else positions
    np.testing.assert_allclose(y, reference.rotate(heads, at, base), atol=1e-6)


def test_rotary_keeps_lengths(heads):
    y = np.asarray(RotaryEmbedding()(heads))
    np.testing.assert_allclose((y**2).sum(-1), (heads**2).sum(-1), rtol=1e-5)
    np.testing.assert_array_equal(y[:, :, 0], heads[:, :, 0])


def test_rotary_products_depend_on_distance(heads):
    rotary = RotaryEmbedding(100.0)

    def products(shift):
        at = np.arange(4, dtype="int32")[None] + shift
        y = np.asarray(rotary(heads, positions=at))
        return y @ y.swapaxes(-1, -2)

    np.testing.assert_allclose(products(0), products(500), atol=1e-3)
    assert np.abs(products(0) - heads @ heads.swapaxes(-1, -2)).max() > 0.1


def test_rotary_angles_are_float32_whatever_the_policy(heads, reference):
    at = np.full((1, 4), 1001, "int32")  # bfloat16 knows 1000 and 1004
    y = RotaryEmbedding(dtype="bfloat16")(ops.cast(heads, "bfloat16"), positions=at)
    expected = reference.rotate(heads, at, 10000.0)
    np.testing.assert_allclose(ops.cast(y, "float32"), expected, atol=0.05)


@pytest.mark.parametrize("symbolic", [False, True])
def test_rotary_needs_an_even_width(symbolic):
    x = keras.Input((2, 4, 5)) if symbolic else np.zeros((1, 2, 4, 5), "float32")
    with pytest.raises(ValueError, match="head_dim must be even for rotary positions; received 5"):
        RotaryEmbedding()(x)


@pytest.mark.parametrize("fraction", [0.5, 1 / 3])
def test_rotary_of_a_part_leaves_the_rest(heads, fraction, reference):
    heads = np.concatenate([heads, heads], axis=-1)  # 12 features
    width = int(12 * fraction)
    y = np.asarray(RotaryEmbedding(10.0, fraction=fraction)(heads))
    turned = reference.rotate(heads[..., :width], np.arange(4)[None], 10.0)
    np.testing.assert_allclose(y[..., :width], turned, atol=1e-6)
    np.testing.assert_array_equal(y[..., width:], heads[..., width:])


# === On a phone ===


def converted(function, *shapes):
    """A ``.tflite`` of built-in operations only, as an interpreter."""
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    signature = [tf.TensorSpec(shape) for shape in shapes]
    concrete = tf.function(function, input_signature=signature).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    return concrete, Interpreter(model_content=converter.convert())


def run(interpreter, x):
    index = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(index, x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(index, x)
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]


@pytest.mark.parametrize("kind", ["sinusoidal", "learned", "rotary"])
def test_one_file_takes_any_length(kind, rng):
    layer = RotaryEmbedding() if kind == "rotary" else PositionalEncoding(16, 8, kind)
    shape = (1, 2, None, 8) if kind == "rotary" else (1, None, 8)
    layer.build(shape) if kind != "rotary" else None
    _, interpreter = converted(layer, shape)
    for length in (3, 11):
        x = rng.normal(size=[length if n is None else n for n in shape]).astype("float32")
        np.testing.assert_allclose(run(interpreter, x)[0], layer(x), atol=1e-6)


def test_gradients_are_built_in_operations(rng):
    """So that a phone can train: slices have gradients that LiteRT does not know."""
    import tensorflow as tf

    encoding, rotary = PositionalEncoding(16, 8, "learned"), RotaryEmbedding()
    encoding.build((1, 5, 8))

    def gradients(x):
        with tf.GradientTape() as tape:
            tape.watch([x, encoding.table.value])
            y = rotary(ops.reshape(encoding(x), (1, 1, 5, 8)))
            loss = tf.reduce_sum(y**3)
        return [tf.convert_to_tensor(g) for g in tape.gradient(loss, [x, encoding.table.value])]

    concrete, interpreter = converted(gradients, (1, 5, 8))
    x = rng.normal(size=(1, 5, 8)).astype("float32")
    found = {g.shape: g for g in run(interpreter, x)}
    for wanted in concrete(tf.constant(x)):
        np.testing.assert_allclose(found[tuple(wanted.shape)], wanted, atol=1e-4)
