"""The .tflite in its real runtime, LiteRT: builtin operations only, and equal to Keras."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from keraslm import export
from keraslm.export.decoder_proof import Comparison, judged_parts, text_for
from keraslm.export.to_tflite.exporter import convert
from keraslm.export.to_tflite.stated import seed_of
from keraslm.generation import GenerationConfig, Generator
from keraslm.generation.sampling import draw
from keraslm.litert.conversion import check_builtin
from keraslm.litert.flatbuffer import LiteRTFile
from keraslm.litert.notes import DecoderNote, add_note
from keraslm.models import GPT
from keraslm.tasks import TextGenerator
from keraslm.tokenizers import Tokenizer


@pytest.fixture(scope="module")
def exported(lm, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    lm.save(folder)
    return export.tflite(lm, folder, verify=False)


@pytest.mark.parametrize("length", [1, 9, 130])
def test_greedy_tokens_and_logits(lm, exported, length):
    litert = export.LiteRTModel(exported)
    prompt = np.random.default_rng(length).integers(1, lm.model.vocab_size, length).tolist()
    config = GenerationConfig(max_new_tokens=28)
    wanted = lm.generator.generate([prompt], config)[0].ids
    assert list(litert.generate(prompt, config)) == wanted
    logits = ops.convert_to_numpy(lm.model(np.array([prompt + wanted])))[0]
    litert.reset()
    litert.prefill(prompt[:-1])
    for i, token in enumerate([prompt[-1], *wanted[:-1]]):
        difference = np.abs(litert.decode(token) - logits[length - 1 + i]).max()
        assert difference < 1e-4


@pytest.mark.parametrize(
    "settings",
    [{"temperature": 0.8}, {"top_k": 20, "top_p": 0.9}, {"min_p": 0.1, "repetition_penalty": 1.3}],
)
def test_the_same_seed_gives_the_same_tokens(lm, exported, settings):
    config = GenerationConfig(max_new_tokens=20, seed=6, **settings)
    prompt = lm.tokenizer.encode("The government")
    found = list(export.LiteRTModel(exported).generate(prompt, config))
    assert found == lm.generator.generate([prompt], config)[0].ids


def test_only_builtin_operations_and_the_signatures_of_litert_lm(lm, exported):
    names = LiteRTFile(exported.read_bytes()).operations()
    assert not [n for n in names if n.startswith(("custom:", "Flex")) or n == "VAR_HANDLE"]
    assert names["FULLY_CONNECTED"] + names["BATCH_MATMUL"] > 0
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(exported))
    signatures = interpreter.get_signature_list()
    assert set(signatures) == {"prefill_8", "prefill_32", "prefill_128", "decode"}
    cache = {f"kv_cache_{kind}_{i}" for i in range(2) for kind in "kv"}
    assert set(signatures["decode"]["inputs"]) == {"tokens", "input_pos", *cache}
    assert set(signatures["decode"]["outputs"]) == {"logits", *cache}
    assert set(signatures["prefill_8"]["outputs"]) == cache
    details = interpreter.get_signature_runner("prefill_32").get_input_details()
    assert tuple(details["tokens"]["shape"]) == (1, 32)
    assert tuple(details["kv_cache_k_0"]["shape"]) == (1, 2, 160, 16)


def test_weights_are_stored_once(lm, exported):
    parameters = 4 * lm.model.count_params()
    assert exported.stat().st_size < 1.02 * parameters + 150_000


def test_context_bounds_the_runner(lm, exported):
    litert = export.LiteRTModel(exported)
    with pytest.raises(ValueError, match="fills the context of 160"):
        next(litert.generate([1] * 160, GenerationConfig()))
    prompt = [3] * 155  # the last prefill step would cross the end of the cache
    config = GenerationConfig(max_new_tokens=50)
    wanted = lm.generator.generate([prompt], config)[0].ids
    assert len(wanted) == 5
    assert list(litert.generate(prompt, config)) == wanted


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"positions": "rotary", "norm": "rms", "gated": True, "activation": "silu",
         "use_bias": False, "tied": False, "num_kv_heads": 1},
        {"positions": "sinusoidal", "norm_first": False, "activation": "gelu",
         "embedding_scale": True, "dtype": "mixed_bfloat16"},
    ],
)  # fmt: skip
def test_other_families_and_dtypes(options, tmp_path):
    keras.utils.set_random_seed(5)
    gpt = GPT(40, 2, 16, 2, max_length=48, initializer_range=0.3, **options)
    path = export.tflite(gpt, tmp_path / "m.tflite", prefill_lengths=(8,), verify=False)
    reference = GPT.from_config({**gpt.get_config(), "dtype": "float32"})
    for new, old in zip(reference.weights, gpt.weights, strict=True):
        new.assign(old)
    result = export.verify(path, reference)
    assert result.passed and result.max_difference < 1e-4


def test_verify_notices_other_weights(lm, exported, tmp_path):
    keras.utils.set_random_seed(9)
    other = GPT.from_config(lm.model.get_config())
    result = export.verify(exported, other)
    assert not result.passed and "FAILED" in str(result)
    assert export.verify(exported, lm).passed


def test_an_unequal_file_is_not_left_behind(lm, tmp_path, monkeypatch):
    keras.utils.set_random_seed(9)
    wrong = convert(GPT.from_config(lm.model.get_config()), (8,))
    monkeypatch.setattr("keraslm.export.to_tflite.exporter.convert", lambda *_, **__: wrong)
    good = tmp_path / "model.tflite"
    good.write_bytes(b"the good one")
    with pytest.raises(RuntimeError, match="was not kept"):
        export.tflite(lm, good)
    assert good.read_bytes() == b"the good one"
    assert [p.name for p in tmp_path.iterdir()] == ["model.tflite"]


def test_manifest_has_the_proof(lm, tmp_path):
    path = export.tflite(lm, tmp_path, prefill_lengths=(8,))
    entry = json.loads((tmp_path / "manifest.json").read_text())["exports"]["model.tflite"]
    assert entry["bytes"] == path.stat().st_size and len(entry["sha256"]) == 64
    assert entry["verification"]["equal_tokens"] == entry["verification"]["tokens"] > 60


def test_flex_and_custom_operations_are_refused():
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((2,), tf.float32)])
    def uses_flex(x):
        return tf.math.cumprod(x)

    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [uses_flex.get_concrete_function()], uses_flex
    )
    converter.target_spec.supported_ops = [
        tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS,
    ]  # fmt: skip
    with pytest.raises(ValueError, match="custom:FlexCumprod"):
        check_builtin(converter.convert())


def test_a_model_that_needs_flex_is_told(tmp_path):
    class Odd(GPT):
        def step(self, token_ids, cache, start, pad=None, last_only=False):
            import tensorflow as tf

            logits, cache = super().step(token_ids, cache, start, pad, last_only)
            return tf.math.erfinv(logits), cache

    gpt = Odd(20, 1, 8, 1, max_length=16)
    with pytest.raises(ValueError, match="builtin operations only.*Erfinv in"):
        export.tflite(gpt, tmp_path / "m.tflite", verify=False)
    assert not list(tmp_path.iterdir())


def test_bad_arguments_are_named(lm, tmp_path):
    with pytest.raises(ValueError, match="cache_length=999 is more than"):
        export.tflite(lm, tmp_path, cache_length=999)
    with pytest.raises(ValueError, match="no symbolic inputs"):
        export.tflite(keras.Sequential(), tmp_path)
    with pytest.raises(FileNotFoundError, match="No file"):
        export.LiteRTModel(tmp_path / "none.tflite")
    (tmp_path / "bad.tflite").write_bytes(b"nonsense" * 9)
    with pytest.raises(ValueError, match="is not a .tflite file"):
        export.LiteRTModel(tmp_path / "bad.tflite")
    with pytest.raises(FileNotFoundError, match="Export the model first"):
        export.verify(tmp_path / "none", lm)
    with pytest.raises(ValueError, match="neither"):
        export.verify(tmp_path, lm)


def test_generator_and_litert_agree_on_ties():
    """argmax takes the first of equals on both sides."""
    gpt = GPT(10, 1, 8, 1, max_length=16)
    for weight in gpt.weights:
        weight.assign(ops.zeros_like(weight))
    assert Generator(gpt).generate([[1]], GenerationConfig(max_new_tokens=2))[0].ids == [0, 0]


def test_a_page_of_which_the_tokenizer_knows_no_character_is_not_judged_on():
    tokenizer = Tokenizer.train(
        ["我喜欢这个故事，很有趣。"], kind="char", vocab_size=15, min_frequency=1
    )
    assert not tokenizer.decode(tokenizer.encode("word"))
    gpt = GPT(tokenizer.vocab_size, 1, 8, 2, max_length=16)
    judged = judged_parts(TextGenerator(gpt, tokenizer))
    assert text_for(judged, None, 16).name == "keraslm's Chinese page"


def test_a_proof_reads_the_note(lm, exported, tmp_path):
    file = LiteRTFile(exported.read_bytes())
    file.model.metadata = [x for x in file.model.metadata if b"keraslm" not in x.name]
    add_note(file, DecoderNote(200))
    path = tmp_path / "other.tflite"
    path.write_bytes(file.to_bytes())
    result = export.verify(path, lm, texts="The government of Afghanistan")
    assert not result.passed
    assert result.differing == ("max_length is 200 in the file and 160 in the task",)


@pytest.mark.parametrize("vocab_size", [40, 600, 9000])
def test_a_seed_that_draws_a_token_first(vocab_size):
    """Drawn by the decoder's own functions from logits that are all alike."""
    for token in (0, 39, vocab_size // 2, vocab_size - 1):
        seed = seed_of(token, vocab_size)
        found = draw(np.zeros((1, vocab_size), "float32"), seed, np.zeros(1, "int32"), 0)
        assert int(found[0]) == token


def test_a_gross_difference_is_said_as_one():
    comparison, logits = Comparison(), np.arange(5.0)
    comparison.probe(logits, logits + 1e-6, "a prompt of 9 tokens")
    assert comparison.gross == [] and comparison.difference < 1e-3
    comparison.probe(logits, 9 * logits[::-1], "a prompt of 33 tokens")
    (sentence,) = comparison.gross
    assert sentence == "logits after a prompt of 33 tokens differ by 3.6e+01 from Keras'"
    assert comparison.difference == 36
    comparison.probe(logits, logits * np.nan, "a prompt of 9 tokens")
    assert len(comparison.gross) == 1 and np.isnan(comparison.difference)


@pytest.mark.slow
def test_every_signature_and_every_slot_is_proven(lm, tmp_path):
    """A table of one signature rolled by a row, and a NaN in the last position."""
    path = export.tflite(lm, tmp_path, prefill_lengths=(8, 32), generate=(8, 16))
    content = path.read_bytes()
    width = lm.model.transformer_config.d_model
    damaged = tmp_path / "damaged.tflite"
    other = TextGenerator(lm.model, lm.tokenizer, GenerationConfig(stop_ids=(0, 599)))
    assert export.verify(path, lm).differing == ()
    (sentence,) = export.verify(path, other).differing
    assert sentence == "stop_ids is [0] in the file and [0, 599] in the task"
    for name in ("prefill_32", "generate"):
        file = LiteRTFile(content)
        for tensor in file.model.subgraphs[file.signatures()[name]].tensors:
            values = file.constant(tensor)
            if values is not None and values.shape == (lm.model.vocab_size, width):
                file.set_constant(tensor, np.roll(values, 1, axis=0))
        damaged.write_bytes(file.to_bytes())
        result = export.verify(damaged, lm)
        assert not result.passed, name
        assert "NaN" not in str(result) and "largest difference" in str(result)
    file = LiteRTFile(content)
    for graph in file.model.subgraphs:
        for tensor in graph.tensors:
            values = file.constant(tensor)
            if values is not None and values.shape == (lm.model.max_length, width):
                file.set_constant(tensor, np.where(np.arange(len(values))[:, None] == 159,
                                                   np.nan, values).astype("float32"))  # fmt: skip
    damaged.write_bytes(file.to_bytes())
    assert not export.verify(damaged, lm).passed
