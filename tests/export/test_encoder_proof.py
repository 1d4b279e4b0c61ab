"""The proof of an encoder: a damaged file fails, and limits and old manifests are read."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from marks import slow_but

from keraslm import export
from keraslm.export.to_tflite.exporter import convert_encoder
from keraslm.export.verification import LIMITS
from keraslm.litert.flatbuffer import LiteRTFile
from keraslm.litert.notes import EncoderNote, add_note
from keraslm.models import BERT

K = keras.layers
VOCABULARY, LENGTH = 60, 12


def bert(head="classifier"):
    keras.utils.set_random_seed(3)
    return BERT(VOCABULARY, 2, 32, 2, max_length=24, initializer_range=0.3, head=head,
                num_classes=4)  # fmt: skip


def pooled():
    """A model without a mask input: mask_zero and a mean."""
    keras.utils.set_random_seed(3)
    layers = [K.Embedding(VOCABULARY, 32, mask_zero=True), K.GlobalAveragePooling1D(), K.Dense(64),
              K.Dense(3, activation="softmax")]  # fmt: skip
    model = keras.Sequential([keras.Input((LENGTH,), dtype="int32"), *layers])
    for weight in model.weights:
        weight.assign(np.random.default_rng(1).normal(size=weight.shape))
    return model


def table_of(file):
    """The largest constant with a row for each id."""
    tables = [t for g in file.model.subgraphs for t in g.tensors if len(t.shape) == 2
              and t.shape[0] == VOCABULARY and file.raw(t) is not None]  # fmt: skip
    return max(tables, key=lambda t: int(np.prod(t.shape)))


def with_nan(file):
    for graph in file.model.subgraphs:
        for tensor in graph.tensors:
            values = file.constant(tensor)
            if values is not None and values.dtype == np.float32 and values.size >= 8:
                file.set_constant(tensor, np.full(values.shape, np.nan, "float32"))


def with_infinity(file):
    values = file.constant(table_of(file)).copy()
    values[7, 0] = np.inf
    file.set_constant(table_of(file), values)


def with_a_sign_flipped(file):
    weights = [t for g in file.model.subgraphs for t in g.tensors
               if file.constant(t) is not None and len(t.shape) == 2
               and t.shape[0] != VOCABULARY]  # fmt: skip
    largest = max(weights, key=lambda t: int(np.prod(t.shape)))
    file.set_constant(largest, -file.constant(largest))


def with_rows_swapped(file):
    values = file.constant(table_of(file)).copy()
    values[[20, 31]] = values[[31, 20]]
    file.set_constant(table_of(file), values)


def with_weights_reversed(file):
    """The 4-bit weights of a matrix in the wrong order."""
    packed = [t for g in file.model.subgraphs for t in g.tensors if file.dtype(t) == "INT4"]
    largest = max(packed, key=lambda t: len(file.raw(t)))
    file.set_constant(largest, file.raw(largest)[::-1])


CONTROLS = [
    (bert, None, with_nan),
    (bert, None, with_infinity),
    (bert, None, with_a_sign_flipped),
    (bert, None, with_rows_swapped),
    (bert, "int8", with_a_sign_flipped),
    (bert, "int8", with_nan),
    (lambda: bert(None), "int8", with_rows_swapped),
    (lambda: bert(None), "int4", with_weights_reversed),
    (pooled, None, with_nan),
    (pooled, None, with_rows_swapped),
    (pooled, "int8", with_a_sign_flipped),
]


@pytest.mark.parametrize(("build", "kind", "damage"), slow_but((0, 4, 7, 9), CONTROLS))
def test_a_damaged_file_fails(build, kind, damage, tmp_path):
    model = build()
    path = tmp_path / "model.tflite"
    content = convert_encoder(model, LENGTH, kind)
    path.write_bytes(content)
    sound = export.verify(path, model)
    assert sound.passed, sound
    file = LiteRTFile(content)
    damage(file)
    path.write_bytes(file.to_bytes())
    found = export.verify(path, model)
    assert not found.passed and "FAILED" in str(found), found


def test_a_proof_reads_the_note(tmp_path):
    """The order of the inputs, those that may be left out, and those that may be padded."""
    model, path = bert(), tmp_path / "model.tflite"
    file = LiteRTFile(convert_encoder(model, LENGTH))
    file.model.metadata = [x for x in file.model.metadata if b"keraslm" not in x.name]
    names = ("token_ids", "token_types", "padding_mask")
    add_note(file, EncoderNote(names, optional=("padding_mask",), padded=()))
    path.write_bytes(file.to_bytes())
    result = export.verify(path, model)
    assert not result.passed
    order = "('token_ids', 'padding_mask', 'token_types')"
    assert result.differing == (
        f"inputs is {names} in the file and {order} in the task",
        "optional is ('padding_mask',) in the file and ('token_types',) in the task",
        f"padded is () in the file and {order} in the task",
    )


@pytest.mark.parametrize("kind", [None, "int8"])
def test_a_file_that_ignores_the_padding_mask_fails(kind, tmp_path, monkeypatch):
    model = bert()
    path = tmp_path / "model.tflite"
    real = BERT.__call__
    monkeypatch.setattr(BERT, "__call__", lambda self, inputs, **options: real(
        self, {k: v for k, v in inputs.items() if k != "padding_mask"}, **options))  # fmt: skip
    path.write_bytes(convert_encoder(model, LENGTH, kind))
    monkeypatch.undo()
    assert "padding_mask" in export.LiteRTEncoder(path).input_names
    assert not export.verify(path, model).passed


def test_nan_and_infinity_fail_every_record():
    good = export.Verification("tflite", 3, 5, 5, 0.0, 10, kl=0.0, quantization="int8",
                               keras_perplexity=1.0)  # fmt: skip
    assert good.passed
    for field in ("max_difference", "kl", "cosine", "perplexity"):
        for value in (np.nan, np.inf):
            bad = dataclasses.replace(good, **{field: float(value)})
            assert not bad.passed and "NaN or infinity" in str(bad)
    encoder = dataclasses.replace(good, cosine=0.5, least_cosine=0.5)
    assert not encoder.passed


def test_a_model_that_gives_nan_in_keras_is_refused(tmp_path):
    inputs = keras.Input((4,), name="features")
    model = keras.Model(inputs, keras.ops.log(K.Dense(2, kernel_initializer="zeros")(inputs) - 1))
    with pytest.raises(ValueError, match="gives NaN or infinity in Keras"):
        export.tflite(model, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_limits(tmp_path):
    model = bert()
    path = export.tflite(model, tmp_path, lengths=LENGTH, quantization="int8")
    result = export.Verification.from_manifest(path)
    assert result.compared == "labels" and result.cosine >= LIMITS["int8"]["cosine"]
    assert "labels as in Keras" in str(result) and "cosine 0.9" in str(result)
    with pytest.raises(RuntimeError, match="was not kept: FAILED"):
        export.tflite(model, tmp_path / "strict", lengths=LENGTH, quantization="int8",
                      limits={"cosine": 0.999999})  # fmt: skip
    lenient = export.tflite(model, tmp_path / "lenient", lengths=LENGTH, quantization="int4",
                            limits={"cosine": 0.1, "least_cosine": -1, "labels": 0})  # fmt: skip
    read = export.Verification.from_manifest(lenient)
    assert read.limits["labels"] == 0 and read.passed
    with pytest.raises(ValueError, match="limits has no 'cos'. It takes cosine, difference"):
        export.tflite(model, tmp_path, limits={"cos": 0.9})
    with pytest.raises(ValueError, match="must be a number; received 'high'"):
        export.tflite(model, tmp_path, limits={"cosine": "high"})


def test_old_manifests_are_read(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"1234TFL3")
    entry = {"target": "tflite", "prompts": 3, "equal_tokens": 4, "tokens": 4,
             "max_difference": 1e-6, "num_bytes": 8, "operations": ["ADD"]}  # fmt: skip
    manifest = {path.name: {"target": "tflite", "bytes": 8, "verification": entry}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    result = export.Verification.from_manifest(path)
    assert result.passed and result.cosine is None and "greedy tokens" in str(result)
