"""Smaller weights: what is stored, that it is stored once, and that the model is the same."""

import numpy as np
import pytest

from keraslm import export
from keraslm.export.to_tflite.exporter import convert
from keraslm.export.to_tflite.verify import perplexities
from keraslm.generation import GenerationConfig
from keraslm.litert.flatbuffer import LiteRTFile
from keraslm.litert.quantization import BLOCK, quantize

KINDS = ("float16", "int8", "int8_weights", "int4")


@pytest.fixture(scope="module")
def plain(lm):
    return convert(lm.model, (8, 32))


@pytest.fixture(scope="module")
def files(plain, tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantised")
    for kind in KINDS:
        (folder / f"{kind}.tflite").write_bytes(quantize(plain, kind))
    (folder / "float32.tflite").write_bytes(plain)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_still_the_same_model(lm, files, kind):
    result = export.verify(files / f"{kind}.tflite", lm)
    assert result.passed and result.quantization == kind
    assert result.equal_tokens >= 0.8 * result.tokens
    worst = {"float16": 1e-6, "int8": 5e-3, "int8_weights": 5e-3, "int4": 5e-2}[kind]
    assert 0 <= result.kl < worst


@pytest.mark.parametrize(("kind", "worst"), [("int8", 1.005), ("int4", 1.05)])
def test_perplexity(lm, files, articles, kind, worst):
    ours, theirs = perplexities(files / f"{kind}.tflite", lm, articles[-5:])
    same, keras = perplexities(files / "float32.tflite", lm, articles[-5:])
    assert theirs == keras and abs(same / keras - 1) < 1e-5
    assert ours / keras < worst


def test_every_table_and_matrix_is_stored_once(lm, files):
    config = lm.model.transformer_config
    for kind, dtype in (("int8", "int8"), ("int4", "int8"), ("float16", "float16")):
        constants = LiteRTFile((files / f"{kind}.tflite").read_bytes()).constants()
        table = [c for c in constants if c.shape == (config.vocab_size, config.d_model)]
        assert [c.dtype for c in table] == [dtype]
        matrices = [c for c in constants if c.shape == (config.d_model, config.ffn_dim)]
        assert len(matrices) == config.num_layers  # however many signatures read them


def test_sizes(lm, files):
    weights = {n: sum(LiteRTFile((files / f"{n}.tflite").read_bytes()).sizes().values())
               for n in (*KINDS, "float32")}  # fmt: skip
    assert weights["float16"] < 0.54 * weights["float32"]
    assert weights["int8"] < 0.30 * weights["float32"]
    assert weights["int4"] < weights["int8"]
    plain = LiteRTFile((files / "int8.tflite").read_bytes())
    before = sum(c.float32_bytes for c in plain.constants())
    assert abs(before / weights["float32"] - 1) < 0.05


def test_the_numbers_are_the_nearest(plain):
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(6, 2 * BLOCK)).astype("float32")
    weights[3] = 0
    from keraslm.litert.quantization import _int4_blocks, _int8_rows

    values, parameters = _int8_rows(weights)
    back = values * parameters.scale[:, None]
    assert np.abs(back - weights).max() <= parameters.scale.max() / 2 + 1e-7
    packed, scale = _int4_blocks(weights)
    low, high = (packed & 15).astype("int8"), (packed >> 4).astype("int8")
    values = np.stack([low, high], -1).reshape(6, 2, BLOCK)
    values = np.where(values > 7, values - 16, values)
    off = np.abs(values * scale[..., None].astype("float32") - weights.reshape(values.shape))
    assert off.max() <= scale.max() * 0.52  # the scale itself is rounded to 8 bits


def test_quantised_sampling_still_works(lm, files):
    litert = export.LiteRTModel(files / "int8.tflite")
    config = GenerationConfig(max_new_tokens=10, temperature=0.7, top_k=20, seed=3)
    prompt = lm.tokenizer.encode("The government")
    first = list(litert.generate(prompt, config))
    assert len(first) == 10 and first == list(litert.generate(prompt, config))


def test_a_wrong_model_is_noticed_in_spite_of_quantisation(lm, files):
    import keras

    keras.utils.set_random_seed(77)
    other = type(lm.model).from_config(lm.model.get_config())
    for weight in other.weights:
        weight.assign(weight + 0.3 * keras.random.normal(weight.shape))
    assert not export.verify(files / "int8.tflite", other).passed


def test_bad_input(plain, lm, tmp_path):
    with pytest.raises(ValueError, match="quantization must be None or one of .*received 'int3'"):
        quantize(plain, "int3")
    with pytest.raises(ValueError, match="received 'q4'"):
        export.tflite(lm, tmp_path, quantization="q4")
    with pytest.raises(ValueError, match="not a .tflite file"):
        quantize(b"PK\x03\x04 a zip archive", "int8")
    for length in (9, 200, len(plain) // 2):
        with pytest.raises(ValueError, match="damaged"):
            quantize(plain[:length], "int8")
        damaged = tmp_path / "damaged.tflite"
        damaged.write_bytes(plain[:length])
        with pytest.raises(ValueError, match="damaged"):
            export.LiteRTModel(damaged)
