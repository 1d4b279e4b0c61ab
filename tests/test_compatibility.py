"""Promises to users of version 0.1: their files, scripts and commands still work.

``tests/fixtures/v0_1`` was written by that version, with ``tests/fixtures/make_fixtures.py``. It is
not made again: a test that fails here tells of something that a user would lose.
"""

import importlib
import inspect
import json
import re
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

import keraslm
from keraslm.cli import main

V0_1 = Path(__file__).parent / "fixtures" / "v0_1"
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
# The runtime rounds activations to 8 bits, a little differently on each kind of processor.
CLOSE_INT8 = {"rtol": 0.0, "atol": 0.1}


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def arrays(outputs):
    return [keras.ops.convert_to_numpy(y) for y in keras.tree.flatten(outputs)]


# === .keras files ===

KERAS_FILES = sorted((V0_1 / "keras").glob("*.keras"))
# The names under which 0.1 registers its classes with Keras.
REGISTERED = {
    "AttentionMask", "BERT", "Dense", "FeedForward", "GPT", "MaskedLMHead", "MultiHeadAttention",
    "Perplexity", "PositionalEncoding", "RotaryEmbedding", "SegmentPositions", "TokenBias",
    "TokenEmbedding", "Transformer", "TransformerBlock", "VectorInitializer", "_TokenTypes",
}  # fmt: skip


def calls_of(file):
    """By name of a call, its inputs and its outputs, as the fixtures keep them."""
    calls = {}
    with np.load(file.with_suffix(".npz")) as kept:
        for key in kept.files:
            call, part, *name = key.split("/")
            inputs, outputs = calls.setdefault(call, ({}, {}))
            if part == "out":
                outputs[int(name[0])] = kept[key]
            else:
                inputs[name[0] if name else None] = kept[key]
    for name, (inputs, outputs) in calls.items():
        inputs = inputs.get(None, inputs)
        yield name, inputs, [outputs[i] for i in range(len(outputs))]


@pytest.mark.parametrize("file", KERAS_FILES, ids=lambda file: file.stem)
def test_keras_files_of_version_0_1_compute_the_same(file):
    model = keras.models.load_model(file)
    for name, inputs, wanted in calls_of(file):
        found = arrays(model(inputs, training=False))
        assert len(found) == len(wanted) > 0
        for y, kept in zip(found, wanted, strict=True):
            np.testing.assert_allclose(y, kept, **CLOSE, err_msg=name)


@pytest.mark.parametrize("name", ["block_layers", "head_layers", "gpt_llama", "bert_masked_lm"])
def test_keras_files_of_version_0_1_can_be_saved_again(name, tmp_path):
    file = V0_1 / "keras" / f"{name}.keras"
    keras.models.load_model(file).save(tmp_path / file.name)
    again = keras.models.load_model(tmp_path / file.name)
    name, inputs, wanted = list(calls_of(file))[-1]
    for y, kept in zip(arrays(again(inputs, training=False)), wanted, strict=True):
        np.testing.assert_allclose(y, kept, **CLOSE, err_msg=name)


def test_every_registered_name_of_version_0_1_occurs_in_a_keras_file():
    configs = [zipfile.ZipFile(file).read("config.json").decode() for file in KERAS_FILES]
    assert set(re.findall(r'"keraslm>(\w+)"', " ".join(configs))) == REGISTERED


def test_a_compiled_keras_file_of_version_0_1_evaluates_and_trains_on():
    file = V0_1 / "keras" / "gpt_compiled.keras"
    model, kept = keras.models.load_model(file), read_json(file.with_suffix(".json"))
    assert int(model.optimizer.iterations) == kept["steps"]
    packed = {name: inputs for name, inputs, _ in calls_of(file)}["packed"]
    ids, weight = packed["token_ids"], packed["padding_mask"][:, 1:].astype("float32")
    data = {"x": ids[:, :-1], "y": ids[:, 1:], "sample_weight": weight, "verbose": 0}
    found = model.evaluate(**data, return_dict=True)
    assert found == pytest.approx(kept["evaluate"], rel=1e-4)
    model.fit(**data)
    assert int(model.optimizer.iterations) == kept["steps"] + 1
    assert model.evaluate(**data, return_dict=True)["loss"] < found["loss"]


# === Bundles ===

BUNDLES = read_json(V0_1 / "bundles" / "expected.json")


def bundles(prefix):
    return [name for name in BUNDLES if name.startswith(prefix)]


def check_tokenizer(task, kept):
    assert task.tokenizer.kind == kept["kind"]
    for text, ids in zip(kept["texts"], kept["token_ids"], strict=True):
        assert task.tokenizer.encode(text, add_special_tokens=True) == ids


def test_every_bundle_of_version_0_1_is_known():
    folders = {path.name for path in (V0_1 / "bundles").iterdir() if path.is_dir()}
    assert folders == set(BUNDLES)


@pytest.mark.parametrize("name", bundles("generator"))
def test_text_generators_of_version_0_1_write_the_same(name):
    kept = BUNDLES[name]
    lm = keraslm.from_pretrained(V0_1 / "bundles" / name)
    assert isinstance(lm, keraslm.tasks.TextGenerator)
    assert (lm.tokenizer.kind, lm.tokenizer.vocab_size) == (kept["kind"], kept["vocab_size"])
    prompt = kept["prompt"]
    assert lm.tokenizer.encode(prompt) == kept["token_ids"]
    settings = lm.generation_config.to_dict()
    assert {key: settings[key] for key in kept["generation_config"]} == kept["generation_config"]

    # Version 0.1 loses the space between a prompt and a continuation of whole words; that is no
    # promise.
    def text(x):
        return re.sub(r"\s", "", x) if kept["kind"] == "word" else x

    assert text(lm.generate(prompt)) == text(kept["generate"])
    assert text(prompt + "".join(lm.stream(prompt))) == text(kept["generate"])
    generated = lm.generate(prompt, return_log_probs=True)
    assert generated.ids == kept["generated"]["ids"]
    np.testing.assert_allclose(generated.log_probs, kept["generated"]["log_probs"], **CLOSE)
    batch = lm.generate(kept["batch"]["prompts"])
    assert list(map(text, batch)) == list(map(text, kept["batch"]["generate"]))
    for setting in ("max_length", "stop"):
        case = kept[setting]
        answer = lm.generate(prompt, **{setting: case[setting]})
        assert text(answer) == text(case["generate"])


@pytest.mark.parametrize("name", bundles("generator"))
def test_text_generators_of_version_0_1_score_the_same(name):
    lm = keraslm.from_pretrained(str(V0_1 / "bundles" / name))
    kept = BUNDLES[name]["score"]
    score = lm.score(kept["text"])
    assert score.tokens == kept["tokens"]
    np.testing.assert_allclose(score.log_probs, kept["log_probs"], **CLOSE)
    assert score.total == pytest.approx(kept["total"], rel=1e-4)
    assert score.perplexity == pytest.approx(kept["perplexity"], rel=1e-4)
    kept = dict(BUNDLES[name]["evaluate"])
    found = lm.evaluate(kept.pop("texts"))
    assert {key: getattr(found, key) for key in kept} == pytest.approx(kept, rel=1e-4)


@pytest.mark.parametrize("name", bundles("fill"))
def test_masked_language_models_of_version_0_1_fill_in_the_same_words(name):
    kept = BUNDLES[name]
    fill = keraslm.from_pretrained(V0_1 / "bundles" / name)
    assert isinstance(fill, keraslm.tasks.FillMask)
    check_tokenizer(fill, kept)
    for case in kept["predict"]:
        found = fill.predict(case["text"], top_k=3)
        several = isinstance(found[0], list)
        rows = found if several else [found]
        wanted = case["filled"] if several else [case["filled"]]
        assert [[(x.token, x.text) for x in row] for row in rows] == [
            [(token, text) for token, _, text in row] for row in wanted
        ]
        np.testing.assert_allclose(
            [[x.probability for x in row] for row in rows],
            [[probability for _, probability, _ in row] for row in wanted],
            **CLOSE,
        )


@pytest.mark.parametrize("name", bundles("encoder"))
def test_sentence_encoders_of_version_0_1_give_the_same_vectors(name):
    kept = BUNDLES[name]
    encoder = keraslm.from_pretrained(V0_1 / "bundles" / name)
    assert isinstance(encoder, keraslm.tasks.SentenceEncoder)
    check_tokenizer(encoder, kept)
    assert {key: getattr(encoder, key) for key in kept["settings"]} == kept["settings"]
    texts = kept["texts"]
    np.testing.assert_allclose(encoder.encode(texts), kept["encode"], **CLOSE)
    np.testing.assert_allclose(encoder.encode(texts[0]), kept["encode"][0], **CLOSE)
    np.testing.assert_allclose(encoder.similarity(texts[:1], texts), kept["similarity"], **CLOSE)


@pytest.mark.parametrize("name", bundles("classifier"))
def test_classifiers_of_version_0_1_give_the_same_classes(name):
    kept = BUNDLES[name]
    classifier = keraslm.from_pretrained(V0_1 / "bundles" / name)
    assert isinstance(classifier, keraslm.tasks.TextClassifier)
    check_tokenizer(classifier, kept)
    for found, wanted in zip(classifier.predict(kept["texts"]), kept["predict"], strict=True):
        assert found.label == wanted["label"]
        assert list(found.probabilities) == list(wanted["probabilities"])
        assert found.probabilities == pytest.approx(wanted["probabilities"], abs=1e-4)


@pytest.mark.parametrize("name", ["generator_char", "classifier"])
def test_bundles_of_version_0_1_can_be_saved_again(name, tmp_path):
    old = keraslm.from_pretrained(V0_1 / "bundles" / name)
    new = keraslm.from_pretrained(old.save(tmp_path / name))
    assert type(new) is type(old)
    for a, b in zip(old.model.weights, new.model.weights, strict=True):
        np.testing.assert_array_equal(*arrays([a, b]))


# === Word vectors ===

VECTORS = read_json(V0_1 / "vectors" / "expected.json")


@pytest.mark.parametrize("name", VECTORS)
def test_word_vectors_of_version_0_1_are_read_the_same(name):
    kept = VECTORS[name]
    vectors = keraslm.embeddings.load_vectors(V0_1 / "vectors" / name)
    assert list(vectors.index_to_key) == kept["words"]
    for word, vector in kept["vectors"].items():
        np.testing.assert_allclose(vectors[word], vector, **CLOSE)
    for a, b, similarity in kept["similarity"]:
        assert vectors.similarity(a, b) == pytest.approx(similarity, abs=1e-4)
    for word, wanted in kept["most_similar"].items():
        found = vectors.most_similar(word, topn=len(wanted))
        assert [name for name, _ in found] == [name for name, _ in wanted]
        assert [x for _, x in found] == pytest.approx([x for _, x in wanted], abs=1e-4)


# === Exports ===

EXPORTS = read_json(V0_1 / "exports" / "expected.json")
DECODERS = [name for name in EXPORTS if name.startswith("decoder")]


def greedy():
    return keraslm.generation.GenerationConfig(max_new_tokens=EXPORTS["max_new_tokens"])


@pytest.mark.parametrize("name", DECODERS)
def test_tflite_decoders_of_version_0_1_run_the_same(name):
    kept, prompt = EXPORTS[name], EXPORTS["token_ids"]
    model = keraslm.export.LiteRTModel(V0_1 / "exports" / name)
    assert list(model.generate(prompt, greedy())) == kept["ids"]
    model.reset()
    model.prefill(prompt[:-1])
    close = CLOSE_INT8 if "int8" in name else CLOSE
    np.testing.assert_allclose(model.decode(prompt[-1]), kept["logits"], **close)
    if "at_once" in kept:
        found = model.generate_at_once(prompt, EXPORTS["max_new_tokens"])
        assert found == kept["at_once"] == kept["ids"]


def test_tflite_encoders_of_version_0_1_run_the_same():
    model = keraslm.export.LiteRTEncoder(V0_1 / "exports" / "classifier.tflite")
    for case in EXPORTS["classifier.tflite"]:
        np.testing.assert_allclose(model(case["token_ids"]), case["output"], **CLOSE)


def test_litertlm_files_of_version_0_1_run_the_same():
    pytest.importorskip("litert_lm", reason="litert-lm-api is not installed")
    pytest.importorskip("litert_lm_builder", reason="litert-lm-builder is not installed")
    kept, prompt = EXPORTS["model.litertlm"], EXPORTS["prompt"]
    with keraslm.export.LiteRTLM(V0_1 / "exports" / "model.litertlm") as model:
        assert model.tokenize(prompt) == kept["tokenize"] == EXPORTS["token_ids"]
        assert "".join(model.stream(prompt, EXPORTS["max_new_tokens"])) == kept["text"]


@pytest.mark.parametrize("name", [*DECODERS, "classifier.tflite", "model.litertlm"])
def test_manifests_of_version_0_1_are_read(name):
    result = keraslm.export.Verification.from_manifest(V0_1 / "exports" / name)
    assert result.passed
    assert result.target == Path(name).suffix[1:]
    assert result.num_bytes == (V0_1 / "exports" / name).stat().st_size
    assert result.quantization == ("int8" if "int8" in name else None)


# === Names ===

NAMES = read_json(V0_1 / "names.json")


def found(path):
    """What a dotted name stands for."""
    module, _, rest = path.partition(".")
    value = importlib.import_module(module)
    for part in rest.split("."):
        value = getattr(value, part)
    return value


@pytest.mark.parametrize("module", NAMES["names"])
def test_public_names_of_version_0_1_are_still_public(module):
    names = NAMES["names"][module]
    imported = importlib.import_module(module)
    assert sorted(set(names) - set(imported.__all__)) == []
    assert [name for name in names if not hasattr(imported, name)] == []


def problems(parameters, kept):
    """What of a signature of version 0.1 could no longer be written, in words."""
    positional = [
        p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    by_name = {p.name: p for p in parameters}
    takes_any = {p.kind for p in parameters} & {inspect.Parameter.VAR_KEYWORD}
    position = 0
    for name, kind, *default in kept:
        if kind in ("VAR_POSITIONAL", "VAR_KEYWORD"):
            if not any(p.kind.name == kind for p in parameters):
                yield f"takes no *{name} any more"
            continue
        if name not in by_name:
            if not takes_any:
                yield f"takes no {name} any more"
        elif default and by_name[name].default is inspect.Parameter.empty:
            yield f"now needs {name}"
        elif kind != "KEYWORD_ONLY" and positional[position : position + 1] != [name]:
            yield f"{name} is no longer number {position + 1}"
        position += kind != "KEYWORD_ONLY"
    old = {name for name, *_ in kept}
    for p in parameters:
        is_needed = p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        if p.name not in old and is_needed:
            yield f"now needs {p.name}"


@pytest.mark.parametrize("name", NAMES["signatures"])
def test_public_parameters_of_version_0_1_are_still_accepted(name):
    parameters = inspect.signature(found(name)).parameters.values()
    now = [p for p in parameters if p.name != "self"]
    assert list(problems(now, NAMES["signatures"][name])) == []


def test_the_check_of_parameters_can_fail():
    def example(first, second, *, third=1, **options): ...

    now = list(inspect.signature(example).parameters.values())
    both = [["first", "POSITIONAL_OR_KEYWORD"], ["second", "POSITIONAL_OR_KEYWORD"]]
    assert list(problems(now, both)) == []
    assert list(problems(now, [*both, ["moved", "KEYWORD_ONLY", "1"]])) == []
    assert list(problems(now[:-1], [*both, ["gone", "KEYWORD_ONLY", "1"]])) == [
        "takes no gone any more"
    ]
    assert list(problems(now, both[:1])) == ["now needs second"]
    assert list(problems(now, [*both[:1], [*both[1], "None"]])) == ["now needs second"]
    assert list(problems(now, both[::-1])) == [
        "second is no longer number 1",
        "first is no longer number 2",
    ]


@pytest.mark.parametrize("command", NAMES["commands"])
def test_commands_and_flags_of_version_0_1_are_still_accepted(command, capsys):
    kept = NAMES["commands"][command]
    flags = [word for flag, words in kept["flags"].items() for word in (flag, *words)]
    # Last comes a flag that no version has: the parser complains of that one alone, and nothing
    # is run.
    words = [*command.split(), *flags, *kept["arguments"], "--no-such-flag"]
    with pytest.raises(SystemExit):
        main(words)
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.endswith("error: unrecognized arguments: --no-such-flag")


# === Spellings ===


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")


@pytest.fixture(scope="module")
def mask():
    return np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], bool)


def test_a_block_is_made_and_called_as_in_version_0_1(x, mask):
    d_model, num_heads, ffn_dim = 8, 2, 16
    block = keraslm.layers.TransformerBlock(d_model, num_heads, ffn_dim, 0.1)
    y = block(x, attention_mask=mask, training=False)
    assert y.shape == x.shape
    for training in (False, True):  # easily taken for the second argument, which is the mask
        with pytest.raises(ValueError, match="keyword argument|must be a tensor"):
            block(x, training)


def test_attention_is_made_and_called_as_in_version_0_1(x, mask):
    d_model, num_heads = 8, 2
    att = keraslm.layers.MultiHeadAttention(d_model, num_heads)
    y = att(x, x, attention_mask=mask)
    assert y.shape == x.shape
    changed = x.copy()
    changed[0, 3:] = 9.0  # hidden
    again = att(x, changed, attention_mask=mask)
    np.testing.assert_allclose(*arrays([again, y]), atol=1e-5)


def test_positions_are_made_and_called_as_in_version_0_1(x):
    max_length, d_model = 6, 8
    pos = keraslm.layers.PositionalEncoding(max_length, d_model)
    y = pos(x)
    np.testing.assert_allclose(arrays(y)[0][:, 0] - x[:, 0], [[0, 1] * 4] * 2, atol=1e-6)


def test_a_transformer_is_made_and_called_as_in_version_0_1():
    vocab_size, d_model, num_heads, ffn_dim, max_length = 20, 8, 2, 16, 6
    trunk = keraslm.models.Transformer(vocab_size, d_model, num_heads, ffn_dim, max_length, 0.1)
    ids = keras.Input((None,), dtype="int32")
    pooled = keras.layers.GlobalAveragePooling1D()(trunk(ids))
    classifier = keras.Model(ids, keras.layers.Dense(2, "softmax")(pooled))
    assert trunk(np.array([[1, 2, 3]])).shape == (1, 3, d_model)
    assert classifier(np.array([[1, 2, 3]])).shape == (1, 2)


def test_a_gpt_is_trained_from_vectors_as_in_version_0_1(tmp_path):
    import tensorflow as tf

    vectors = keraslm.embeddings.load_vectors(V0_1 / "vectors" / "folder")
    tokenizer = keraslm.tokenizers.Tokenizer.load(V0_1 / "bundles" / "generator_word")
    gpt = keraslm.models.GPT(
        vocab_size=tokenizer.vocab_size,
        num_layers=1,
        d_model=8,
        num_heads=2,
        embeddings_initializer=keraslm.embeddings.VectorInitializer(vectors, tokenizer),
    )
    cat = tokenizer.token_to_id("cat")
    table = arrays(gpt.weights[0])[0]
    assert table.shape == (tokenizer.vocab_size, 8)
    assert np.abs(table[cat]).max() > 0
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    gpt.compile("adam", loss=loss)
    ids = np.array([tokenizer.encode("the cat sleeps by the river")] * 4)
    dataset = tf.data.Dataset.from_tensor_slices((ids[:, :-1], ids[:, 1:])).batch(2)
    history = gpt.fit(dataset, callbacks=[keraslm.callbacks.TensorBoard(tmp_path)], verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert list(tmp_path.rglob("events.out.tfevents.*"))


def test_several_texts_are_generated_as_in_version_0_1():
    path = str(V0_1 / "bundles" / "generator_char")
    lm = keraslm.from_pretrained(path)
    with pytest.warns(UserWarning, match="sampling"):
        texts = lm.generate("The cat", max_length=12, num_return_sequences=5)
    assert len(texts) == 5
    assert all(text.startswith("The cat") and len(text) <= 12 for text in texts)
