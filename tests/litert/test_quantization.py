"""Smaller weights: what is stored, that it is stored once, and that the model is the same."""

import numpy as np
import pytest

from keraslm import export
from keraslm.export.to_tflite.exporter import convert
from keraslm.generation import GenerationConfig
from keraslm.litert.flatbuffer import LiteRTFile
from keraslm.litert.quantization import BLOCK, quantize
from keraslm.tasks import TextGenerator

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
def test_it_is_still_the_same_model(lm, files, articles, kind):
    """On real text: perplexity and likeliest tokens, and text that is written freely."""
    result = export.verify(files / f"{kind}.tflite", lm, texts=articles[-3:])
    assert result.passed and result.quantization == kind
    assert result.judged_on == "the given text" and result.judged_tokens > 200
    assert result.agreeing_tokens >= 0.9 * result.judged_tokens
    assert 0 < result.equal_tokens <= result.tokens and result.tokens > 60
    worst = {"float16": 1e-5, "int8": 5e-3, "int8_weights": 5e-3, "int4": 5e-2}[kind]
    assert 0 <= result.kl < worst
    assert abs(result.perplexity / result.keras_perplexity - 1) < 2 * worst
    shown = str(result)
    assert f"{result.agreeing_tokens} of {result.judged_tokens} tokens of a text" in shown
    assert f"text written freely equal for {result.equal_tokens} of {result.tokens}" in shown


def test_the_perplexity_is_that_of_keras_evaluate(lm, files, articles):
    """On one window, which `evaluate` packs as it is."""
    ids = lm.tokenizer.encode(articles[-1])[:128]
    text = lm.tokenizer.decode(ids)
    result = export.verify(files / "float32.tflite", lm, texts=[text])
    scored = lm.generator.score([lm.tokenizer.encode(text)])[0]
    assert abs(result.keras_perplexity / np.exp(-np.mean(scored)) - 1) < 1e-4
    assert abs(result.perplexity / result.keras_perplexity - 1) < 1e-5


def test_limits_decide(lm, files, articles):
    strict = export.verify(files / "int4.tflite", lm, texts=articles[-2:], limits={"kl": 1e-9})
    assert not strict.passed and "FAILED" in str(strict)
    with pytest.raises(ValueError, match="limits has no 'ppl'"):
        export.verify(files / "int4.tflite", lm, limits={"ppl": 1.0})


def test_without_a_text_a_page_of_keraslm_is_read(lm, files):
    bare = TextGenerator(lm.model, lm.tokenizer)
    assert export.verify(files / "float16.tflite", bare).judged_on == "keraslm's English page"


def damaged(content, change):
    """The file with every float table of two axes changed."""
    file = LiteRTFile(content)
    for graph in file.model.subgraphs:
        for tensor in graph.tensors:
            values = file.constant(tensor)
            if values is not None and values.dtype == np.float32 and values.ndim == 2:
                file.set_constant(tensor, change(values.copy()))
    return file.to_bytes()


@pytest.mark.parametrize(
    "change",
    [
        lambda x: np.full_like(x, np.nan),
        lambda x: np.where(np.arange(x.shape[1]) % 7, x, -x),
        lambda x: x[::-1].copy() if x.shape[0] > 500 else x,
    ],
    ids=["nan", "signs", "rows"],
)
def test_a_damaged_file_fails(lm, plain, tmp_path, change):
    path = tmp_path / "damaged.tflite"
    path.write_bytes(damaged(plain, change))
    result = export.verify(path, lm)
    assert not result.passed and "FAILED" in str(result)


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


@pytest.mark.slow
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
