"""The SavedModels on text, loaded in a fresh process."""

import functools
import json
import resource
import subprocess
import sys

import keras
import numpy as np
import pytest
import tokenizers

from keraslm import export
from keraslm.export.proof import TEXTS as TEXTS_OF_PROOF
from keraslm.export.to_saved_model import proof as verify_saved_model
from keraslm.models import BERT, GPT, Transformer
from keraslm.models.precision import in_float32
from keraslm.tasks import SentenceEncoder, TextGenerator
from keraslm.tokenizers import Tokenizer

# One process for all that needs a fresh one: TensorFlow takes seconds to import. Its optimizer,
# which takes as long as the calls, is left to the slow test.
SCRIPT = """
import contextlib, io, json, os, re, sys
import tensorflow as tf
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
os.chdir(sys.argv[1])
models = {name: tf.saved_model.load(name) for name in os.listdir(".")}
out = {"modules": [m for m in sys.modules
    if m.partition(".")[0] in ("keraslm", "keras_nlp", "tensorflow_text", "tokenizers")]}
out["signatures"] = {name: sorted(model.signatures) for name, model in models.items()}
def plain(value):
    return tf.nest.map_structure(
        lambda x: x.decode() if isinstance(x, bytes) else x, value.numpy().tolist())
for name, (model, endpoint, inputs) in json.load(sys.stdin).items():
    try:
        outputs = models[model].signatures[endpoint](
            **{k: tf.constant(v, dtype) for k, (v, dtype) in inputs.items()})
        out[name] = {k: plain(v) for k, v in outputs.items()}
    except tf.errors.InvalidArgumentError as error:
        out[name] = str(error)
tf.saved_model.load = models.get  # the snippets need not load them again
for model in models:
    snippet = re.search("```python(.*?)```", open(f"{model}/README.md").read(), re.S)[1]
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        exec(snippet, {})
    out[f"README of {model}"] = shown.getvalue()
print("RESULT" + json.dumps(out))
"""

TEXTS = ["The government", "", "In Afghanistan \u4f60\u597d caf\u00e9 don't  stop", "a"]
SCORED = [*TEXTS[::2], "", "<|endoftext|>Police", "a"]
ENCODED = ["The Government of caf\u00e9", "", "word " * 60, "a [SEP] b \u4f60\u597d"]
LENGTH = 20
LABELS = ["art", "sport", "\u653f\u6cbb"]


def strings(texts):
    return {"text": (texts, "string")}


def settings(n, temperature, k, p, seed):
    return {
        "max_new_tokens": (n, "int32"), "temperature": (temperature, "float32"),
        "top_k": (k, "int32"), "top_p": (p, "float32"), "seed": (seed, "int32"),
    }  # fmt: skip


def of_ids(rows, **others):
    """Inputs of an encoder: rows padded on the right."""
    longest = max(map(len, rows))
    return {
        "token_ids": ([row + [0] * (longest - len(row)) for row in rows], "int32"),
        "padding_mask": ([[i < len(row) for i in range(longest)] for row in rows], "bool"),
        "token_types": ([[0] * longest for _ in rows], "int32"),
        **others,
    }


IDS = [[2, 17, 30, 3], [2, 40, 41, 42, 43, 44, 3]]
CALLS = {
    "default": ("gpt", "serving_default", strings(TEXTS)),
    "greedy": ("gpt", "generate", strings(TEXTS) | settings(12, 0.0, 5, 1.0, 0)),
    "sampled": ("gpt", "generate", strings(TEXTS[:1]) | settings(12, 0.9, 30, 0.95, 3)),
    "too long": ("gpt", "generate", strings(["word " * 400]) | settings(3, 0.0, 1, 1.0, 0)),
    "negative temperature": ("gpt", "generate", strings(["a"]) | settings(3, -1.0, 1, 1.0, 0)),
    "no temperature": ("gpt", "generate", strings(["a"]) | settings(3, float("nan"), 1, 1.0, 0)),
    "negative top_k": ("gpt", "generate", strings(["a"]) | settings(3, 1.0, -1, 1.0, 0)),
    "no top_p": ("gpt", "generate", strings(["a"]) | settings(3, 1.0, 1, 0.0, 0)),
    "large top_p": ("gpt", "generate", strings(["a"]) | settings(3, 1.0, 1, 1.5, 0)),
    "no new tokens": ("gpt", "generate", strings(["a"]) | settings(0, 1.0, 1, 1.0, 0)),
    "score": ("gpt", "score", strings(SCORED)),
    "too long a score": ("gpt", "score", strings(["word " * 400])),
    "logits": ("gpt", "logits", {"token_ids": ([[1, 2, 3]], "int32")}),
    "no token": ("gpt", "logits", {"token_ids": ([[1, 600]], "int32")}),
    "embed": ("embed", "embed", strings(ENCODED)),
    "embed_ids": ("embed", "embed_ids", of_ids(IDS)),
    "pooled": ("pooled", "embed", strings(["to be", ""])),
    "nothing": ("pooled", "embed", strings([""])),
    "classify": ("classify", "classify", strings(ENCODED)),
    "classify_ids": ("classify", "classify_ids", of_ids(
        IDS, token_types=([[0, 0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1, 1]], "int32"))),
    "too many ids": ("classify", "classify_ids", of_ids([[1] * 33])),
    "masked": ("masked", "logits", of_ids(IDS)),
}  # fmt: skip


@pytest.fixture(scope="module")
def wordpiece(articles):
    return Tokenizer.train(articles[:50], kind="wordpiece", vocab_size=300, lowercase=True)


@pytest.fixture(scope="module")
def berts(wordpiece):
    """By folder: model, tokenizer, and what else `saved_model` is given."""
    keras.utils.set_random_seed(3)
    chars = Tokenizer.train(["to be or not"] * 3, kind="char", vocab_size=None)

    def bert(head, tokenizer, **options):
        size = tokenizer.vocab_size
        return BERT(size, 1, 16, 2, max_length=32, head=head, initializer_range=0.3, **options)

    return {
        "embed": (bert(None, wordpiece), wordpiece, {"length": LENGTH}),
        "pooled": (bert("pooled", chars, token_types=0), chars, {}),
        "classify": (
            bert("classifier", wordpiece, num_classes=3, dtype="mixed_bfloat16"),
            wordpiece,
            {"labels": LABELS},
        ),
        "masked": (bert("masked_lm", wordpiece), wordpiece, {}),
    }


@pytest.fixture(scope="module")
def folder(lm, berts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    export.saved_model(lm, folder / "gpt", verify=False)
    for name, (model, tokenizer, options) in berts.items():
        export.saved_model(model, folder / name, tokenizer=tokenizer, verify=False, **options)
    return folder


def left_padded(lm):
    """Inputs of ``generate_ids`` for TEXTS."""
    rows = [lm.tokenizer.encode(text) or [lm.tokenizer.bos_id] for text in TEXTS]
    pad = [max(map(len, rows)) - len(row) for row in rows]
    ids = [[0] * n + row for n, row in zip(pad, rows, strict=True)]
    return {"token_ids": (ids, "int32"), "num_padding": (pad, "int32")}


@pytest.fixture(scope="module")
def found(lm, folder):
    on_ids = left_padded(lm) | settings(12, 0.0, 1, 1.0, 0)
    calls = {**CALLS, "generate_ids": ("gpt", "generate_ids", on_ids)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder)], input=json.dumps(calls), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.rpartition("RESULT")[2])


def test_needs_tensorflow_only(found):
    assert found["modules"] == []


# === Decoders ===


def test_default_is_the_text_of_keras(lm, found):
    assert found["default"]["text"] == lm.generate(TEXTS)


def test_greedy_and_sampled(lm, found):
    assert found["greedy"]["text"] == lm.generate(TEXTS, max_new_tokens=12, temperature=0)
    settings = {"temperature": 0.9, "top_k": 30, "top_p": 0.95, "seed": 3}
    assert found["sampled"]["text"] == lm.generate(TEXTS[:1], max_new_tokens=12, **settings)


def test_too_long_a_prompt_is_told(found):
    assert "fills the context of 160 tokens" in found["too long"]
    assert "More tokens than the context of 160" in found["too long a score"]
    assert "token_ids must be from 0 to 599" in found["no token"]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("negative temperature", "temperature must be 0 (greedy) or more"),
        ("no temperature", "temperature must be 0 (greedy) or more"),
        ("negative top_k", "top_k must be 0 (off) or a positive whole number"),
        ("no top_p", "top_p must be above 0 and at most 1"),
        ("large top_p", "top_p must be above 0 and at most 1"),
        ("no new tokens", "max_new_tokens must be a positive whole number"),
    ],
)
def test_settings_that_cannot_be_are_named(found, call, says):
    assert says in found[call]


def test_score_is_that_of_keras(lm, found):
    """Of an empty text, which has nothing to score, it is 0."""
    score = found["score"]
    for i, text in enumerate(SCORED):
        wanted = lm.score(text).log_probs if text else []
        assert score["num_tokens"][i] == len(wanted)
        row = np.array(score["log_probs"][i])
        np.testing.assert_allclose(row[: len(wanted)], wanted, atol=1e-4)
        assert not row[len(wanted) :].any()
        assert score["total"][i] == pytest.approx(sum(wanted), abs=1e-3)
    assert np.shape(score["log_probs"])[1] == max(score["num_tokens"])


def test_generate_ids_and_logits(lm, found):
    got = found["generate_ids"]
    for i, text in enumerate(lm.generate(TEXTS, max_new_tokens=12, temperature=0)):
        row, count = got["token_ids"][i], got["num_tokens"][i]
        assert TEXTS[i] + lm.tokenizer.decode(row[:count]) == text
        assert not any(row[count:])
    logits = keras.ops.convert_to_numpy(lm.model(np.array([[1, 2, 3]])))
    np.testing.assert_allclose(found["logits"]["logits"], logits, atol=1e-4)


# === Encoders ===


def reference(model, tokenizer, texts, length):
    """The output of Keras for each text alone, in float32, cut by the tokenizer's own engine."""
    engine = tokenizers.Tokenizer.from_str(tokenizer.to_json())
    engine.enable_truncation(length)
    return by_ids(model, [encoding.ids for encoding in engine.encode_batch(texts)])


def by_ids(model, rows, **others):
    model = in_float32(model)
    inputs = [
        {"token_ids": np.array([row]), **{k: np.array([v[i]]) for k, v in others.items()}}
        for i, row in enumerate(rows)
    ]
    return [keras.ops.convert_to_numpy(model(x, training=False))[0] for x in inputs]


def test_embed_is_the_mean_over_real_tokens(berts, found):
    model, tokenizer, _ = berts["embed"]
    hidden = reference(model, tokenizer, ENCODED, LENGTH)
    assert [len(y) for y in hidden][1:3] == [2, LENGTH]  # [CLS] [SEP], and a text that was cut
    wanted = [y.mean(axis=0) for y in hidden]
    np.testing.assert_allclose(found["embed"]["embedding"], wanted, atol=1e-5)
    wanted = [y.mean(axis=0) for y in by_ids(model, IDS)]
    np.testing.assert_allclose(found["embed_ids"]["embedding"], wanted, atol=1e-5)


def test_pooled_without_special_tokens(berts, found):
    """An empty text is then one token: the one that starts texts."""
    model, tokenizer, _ = berts["pooled"]
    wanted = by_ids(model, [tokenizer.encode("to be"), [tokenizer.bos_id]])
    np.testing.assert_allclose(found["pooled"]["embedding"], wanted, atol=1e-5)
    np.testing.assert_allclose(found["nothing"]["embedding"], wanted[1:], atol=1e-5)


def test_classify_in_float32_though_trained_in_bfloat16(berts, found):
    model, tokenizer, _ = berts["classify"]
    logits = reference(model, tokenizer, ENCODED, 32)
    got = found["classify"]
    np.testing.assert_allclose(got["probabilities"], softmax(logits), atol=1e-5)
    assert got["label"] == [LABELS[np.argmax(y)] for y in logits]
    assert len(set(got["label"])) > 1
    types = [[0, 0, 1, 1], [0, 0, 0, 1, 1, 1, 1]]
    logits = by_ids(model, IDS, token_types=types)
    np.testing.assert_allclose(found["classify_ids"]["probabilities"], softmax(logits), atol=1e-5)
    assert "More tokens than the context of 32" in found["too many ids"]


def softmax(logits):
    p = np.exp(logits)
    return p / p.sum(axis=-1, keepdims=True)


def test_other_heads_give_logits_of_ids(berts, found):
    for row, wanted in zip(found["masked"]["logits"], by_ids(berts["masked"][0], IDS), strict=True):
        np.testing.assert_allclose(row[: len(wanted)], wanted, atol=1e-4)


# === README ===


def test_readme_lists_the_signatures_and_its_snippet_runs(folder, found):
    for name, signatures in found["signatures"].items():
        rows = [
            line.split("|")[1].strip(" `")
            for line in (folder / name / "README.md").read_text(encoding="utf-8").splitlines()
            if line.startswith("| `")
        ]
        assert sorted(rows) == signatures
        assert found[f"README of {name}"].strip()
    assert found["signatures"]["masked"] == ["logits", "serving_default"]
    assert found["README of gpt"].startswith("Once upon a time")
    assert "token_types" not in (folder / "pooled" / "README.md").read_text(encoding="utf-8")


# === Verification ===


@pytest.fixture(scope="module")
def load():
    import tensorflow as tf

    return functools.cache(tf.saved_model.load)


@pytest.fixture
def here(monkeypatch, load):
    """Loads SavedModels in this process, which takes less time than a fresh one."""
    import tensorflow as tf

    def plain(value):
        value = value.numpy()
        return [x.decode() for x in value] if value.dtype == object else value.tolist()

    def call(path, calls):
        signatures = load(str(path)).signatures
        outputs = [
            signatures[name](**{k: tf.constant(v, dtype) for k, (v, dtype) in inputs.items()})
            for name, inputs in calls
        ]
        return [{k: plain(v) for k, v in output.items()} for output in outputs]

    monkeypatch.setattr(verify_saved_model, "call_fresh", call)


@pytest.mark.parametrize("name", ["embed", "masked"])
def test_verify_a_bare_encoder(here, berts, folder, name):
    model, _, _ = berts[name]
    result = verify_saved_model.verify_saved_model(folder / name, model)
    assert result.passed and result.max_difference < 1e-4
    assert result.tokens == result.prompts == 4
    other = BERT.from_config(model.get_config())  # other weights
    assert not verify_saved_model.verify_saved_model(folder / name, other).passed


@pytest.mark.parametrize(
    "change", [{"max_length": LENGTH - 1}, {"pooling": "cls"}, {"normalize": True}]
)
def test_verify_notices_another_answer(here, berts, folder, change):
    model, tokenizer, _ = berts["embed"]
    settings = {"max_length": LENGTH, "normalize": False, "pooling": "mean"}
    encoder = SentenceEncoder(model, tokenizer, **settings)
    result = verify_saved_model.verify_saved_model(folder / "embed", encoder)
    assert result.passed and result.equal_tokens == result.tokens == 2 * len(TEXTS_OF_PROOF)
    encoder = SentenceEncoder(model, tokenizer, **{**settings, **change})
    result = verify_saved_model.verify_saved_model(folder / "embed", encoder)
    assert not result.passed and result.equal_tokens < result.tokens


@pytest.mark.slow
def test_verify_a_decoder(here, lm, folder):
    """In bfloat16 Keras gives other texts: it is the float32 model that is compared."""

    config = {**lm.model.get_config(), "dtype": "mixed_bfloat16"}
    half = GPT.from_config(config)
    for new, old in zip(half.weights, lm.model.weights, strict=True):
        new.assign(old)
    half = TextGenerator(half, lm.tokenizer, lm.generation_config)
    result = verify_saved_model.verify_saved_model(folder / "gpt", half)
    assert result.passed and result.max_difference < 1e-4
    assert result.equal_tokens == result.tokens == 5
    with pytest.raises(ValueError, match="give the keraslm.tasks.TextGenerator"):
        verify_saved_model.verify_saved_model(folder / "gpt", lm.model)


@pytest.mark.slow
def test_verified_exports(lm, berts, tmp_path):
    path = export.saved_model(lm, tmp_path / "sm")
    noted = export.Verification.from_manifest(path)
    assert noted.equal_tokens == noted.tokens == 5 and noted.max_difference < 1e-4
    assert export.verify(path, lm).passed
    model, tokenizer, options = berts["classify"]
    path = export.saved_model(model, tmp_path / "topics", tokenizer=tokenizer, **options)
    assert export.verify(path, model).passed
    (path / "saved_model.pb").write_bytes(b"nonsense")
    with pytest.raises(RuntimeError, match="does not run in a fresh process"):
        export.verify(path, model)


# === Errors ===


def test_a_bundle_gets_a_folder_inside(lm, berts, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    path = export.saved_model(berts["masked"][0], tmp_path, verify=False)
    assert path == tmp_path / "saved_model" and (path / "saved_model.pb").is_file()


def test_other_files_stay_and_a_foreign_saved_model_is_refused(berts, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    for _ in range(2):
        export.saved_model(berts["masked"][0], tmp_path, verify=False)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "saved_model.pb").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"saved_model.pb was not written by keraslm"):
        export.saved_model(berts["masked"][0], tmp_path / "theirs")
    assert (tmp_path / "theirs" / "saved_model.pb").read_bytes() == b"mine"


def test_a_full_disk_leaves_the_good_one(berts, tmp_path):
    path = tmp_path / "sm"
    model = berts["masked"][0]
    export.saved_model(model, path, verify=False)
    good = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))  # no file may grow further
    try:
        with pytest.raises(Exception, match="File too large"):
            export.saved_model(model, path, verify=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {p: p.read_bytes() for p in path.rglob("*") if p.is_file()} == good
    assert list(tmp_path.iterdir()) == [path]


def test_bad_arguments_are_named(lm, berts, tmp_path):
    def refused(match, model, **options):
        with pytest.raises(ValueError, match=match):
            export.saved_model(model, tmp_path / "sm", **options)

    classifier, tokenizer, _ = berts["classify"]
    masked, chars = berts["masked"][0], berts["pooled"][1]
    refused("tokenizer is missing", classifier)
    refused("tokenizer is missing", lm.model)
    refused("600 tokens, the model 300", classifier, tokenizer=lm.tokenizer)
    refused("has its own", lm, tokenizer=chars)
    given = {"tokenizer": tokenizer}
    refused("labels must be 3 strings.*received \\['a'\\]", classifier, **given, labels=["a"])
    refused("labels must be 3 strings", classifier, **given, labels="abc")
    refused("labels are for head='classifier'", masked, labels=LABELS)
    refused("labels and length are for an encoder", lm, length=9)
    refused("length is for text", masked, length=9)
    for length in (2, 33, 8.0):
        refused("length must be a whole number from 3 to", classifier, **given, length=length)
    refused("received Transformer.*keraslm.export.tflite", Transformer(20, 8, 1, 16, 8))
    refused("received Sequential", keras.Sequential())
    assert not list(tmp_path.iterdir())
