"""Models without a step function: BERT with its heads, and any ``keras.Model`` on ids."""

import keras
import numpy as np
import pytest
from marks import slow_but

from keraslm import export
from keraslm.litert.flatbuffer import LiteRTFile
from keraslm.models import BERT


def bert(**options):
    keras.utils.set_random_seed(3)
    options = {"max_length": 24, "initializer_range": 0.3, **options}
    return BERT(60, 2, 32, 2, **options)


def answer(model, ids):
    return keras.ops.convert_to_numpy(model(np.array([ids]), training=False))


@pytest.mark.parametrize(
    ("head", "lengths"),
    slow_but(
        (0, 2),
        [
            (None, "dynamic"),
            ("masked_lm", 16),
            ("pooled", (8, 24)),
            ("next_sentence", 16),
            ("token_classifier", "dynamic"),
        ],
    ),
)
def test_heads_and_lengths(head, lengths, tmp_path):
    model = bert(head=head, num_classes=3)
    path = export.tflite(model, tmp_path, lengths=lengths)
    assert export.Verification.from_manifest(path).max_difference < 1e-4
    litert = export.LiteRTEncoder(path)
    for n in (3, 7):
        ids = list(range(5, 5 + n))
        found, wanted = litert(ids), answer(model, ids)
        if found.ndim == 3:
            found = found[:, :n]
        assert found.shape == wanted.shape and np.abs(found - wanted).max() < 1e-4


@pytest.mark.parametrize("kind", slow_but((1,), ["float16", "int8", "int4"]))
def test_quantised_classifier(kind, tmp_path):
    model = bert(head="classifier", num_classes=4)
    random = {"cosine": 0.7, "least_cosine": -1, "labels": 0.65}  # 4 bits are coarse for it
    limits = random if kind == "int4" else None
    path = export.tflite(model, tmp_path, lengths=16, quantization=kind, limits=limits)
    result = export.Verification.from_manifest(path)
    assert result.passed and result.quantization == kind
    sizes = LiteRTFile(path.read_bytes()).sizes()
    assert sizes.get("int8" if kind == "int8" else kind, 0) > sizes["float32"]


def test_token_types_and_mixed_precision(tmp_path):
    model = bert(head="pooled", dtype="mixed_bfloat16")
    litert = export.LiteRTEncoder(export.tflite(model, tmp_path / "m.tflite", lengths=16))
    assert litert.input_names == ["padding_mask", "token_ids", "token_types"]
    one, two = litert([4, 5, 6, 7]), litert([4, 5, 6, 7], token_types=[0, 0, 1, 1])
    assert np.abs(one - two).max() > 1e-3
    inputs = {"token_ids": np.array([[4, 5, 6, 7]]), "token_types": np.array([[0, 0, 1, 1]])}
    assert np.abs(keras.ops.convert_to_numpy(model(inputs)) - two).max() < 5e-2  # bfloat16


def test_any_keras_model_on_ids(tmp_path):
    keras.utils.set_random_seed(0)
    ids = keras.Input((None,), dtype="int32", name="words")
    x = keras.layers.Embedding(90, 16)(ids)
    x = keras.layers.GlobalAveragePooling1D()(x)
    model = keras.Model(ids, keras.layers.Dense(3, activation="softmax")(x))
    path = export.tflite(model, tmp_path, lengths=10)
    assert export.Verification.from_manifest(path).max_difference < 1e-6
    litert = export.LiteRTEncoder(path)
    ids = list(range(10))
    assert np.abs(litert(ids) - answer(model, ids)).max() < 1e-6
    with pytest.raises(ValueError, match="11 tokens, more than the 10"):
        litert(range(11))


def test_a_sequential_model_with_a_lstm(tmp_path):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Embedding(50, 8), keras.layers.LSTM(6, unroll=True),
              keras.layers.Dense(2)]  # fmt: skip
    model = keras.Sequential([keras.Input((12,), dtype="int32"), *layers])
    path = export.tflite(model, tmp_path, lengths=12)
    assert export.Verification.from_manifest(path).passed


def test_bad_arguments_are_named(lm, tmp_path):
    model = bert(head="pooled")
    with pytest.raises(
        ValueError, match=r"lengths must be .* 1 up to max_length=24; received \(99"
    ):
        export.tflite(model, tmp_path, lengths=99)
    with pytest.raises(ValueError, match="cache_length and generate are for a model that has"):
        export.tflite(model, tmp_path, cache_length=9)
    with pytest.raises(ValueError, match="lengths is for encoders"):
        export.tflite(lm, tmp_path, lengths=9)
    with pytest.raises(ValueError, match="has no symbolic inputs"):
        export.tflite(keras.Sequential(), tmp_path)
    decoder = export.tflite(lm, tmp_path, prefill_lengths=(8,), verify=False)
    with pytest.raises(ValueError, match="has no 'encode' signature; it has .'decode'"):
        export.LiteRTEncoder(decoder)


def test_the_layer_that_cannot_be_converted_is_named(tmp_path):
    class Odd(keras.layers.Layer):
        def call(self, x):
            import tensorflow as tf

            return tf.math.cumprod(tf.math.erfinv(x), axis=1)

    ids = keras.Input((8,), dtype="int32", name="ids")
    x = Odd(name="my_odd_layer")(keras.layers.Embedding(9, 4)(ids))
    with pytest.raises(ValueError, match="Erfinv in my_odd_layer.*Cumprod in my_odd_layer.*cumsum"):
        export.tflite(keras.Model(ids, x), tmp_path)
    assert not list(tmp_path.iterdir())
