"""Saving and loading: the same model, or a sentence that says what is wrong."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest

import keraslm
from keraslm._files import Writer
from keraslm.models import BERT
from keraslm.tasks import TextGenerator
from keraslm.tasks.bundle import EXPORTS, write
from keraslm.tokenizers import Tokenizer


@pytest.fixture
def bundle(lm, tmp_path):
    return lm.save(tmp_path / "mine")


def test_what_comes_back_is_the_same(lm, bundle):
    back = keraslm.from_pretrained(bundle)
    for a, b in zip(back.model.weights, lm.model.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert back.generate("The", max_new_tokens=9) == lm.generate("The", max_new_tokens=9)
    assert back.generation_config == lm.generation_config
    assert back.tokenizer.to_json() == lm.tokenizer.to_json()
    assert sorted(os.listdir(bundle)) == sorted(
        ["README.md", "config.json", "generation_config.json", "manifest.json",
         "model.safetensors", "sample.json", "tokenizer.json", "tokenizer_config.json"]
    )  # fmt: skip


def test_half_precision_storage_and_another_dtype(lm, tmp_path):
    small = write(lm, tmp_path / "small", dtype="float16")
    full = lm.save(tmp_path / "full")
    size = (small / "model.safetensors").stat().st_size
    assert size < 0.6 * (full / "model.safetensors").stat().st_size
    ids = np.array([[1, 2, 3]])
    back = keraslm.from_pretrained(small)
    np.testing.assert_allclose(back.model(ids), lm.model(ids), atol=2e-2)
    mixed = keraslm.from_pretrained(small, dtype="mixed_bfloat16")
    assert mixed.model.compute_dtype == "bfloat16"


def test_saving_again_replaces_the_bundle_and_keeps_other_files(lm, bundle):
    (bundle / "notes.txt").write_text("mine")
    (bundle / "logs").mkdir()
    (bundle / "model.litertlm").write_bytes(b"of another tool")
    lm.save(bundle, card="A card.")
    assert (bundle / "notes.txt").read_text() == "mine" and (bundle / "logs").is_dir()
    assert (bundle / "model.litertlm").read_bytes() == b"of another tool"
    assert (bundle / "README.md").read_text() == "A card."
    assert [p.name for p in bundle.parent.iterdir()] == ["mine"]


def test_exports_go_with_the_weights_that_they_are_of(lm, bundle):
    with Writer(bundle, [*EXPORTS, "web/"]) as writer:
        (writer.new / "web").mkdir()
        (writer.new / "web" / "index.html").write_text("a page")
        for name in EXPORTS:
            if "." in name:
                (writer.new / name).write_bytes(b"of the old weights")
        writer.commit(exports={"model.tflite": {"target": "tflite", "bytes": 18}})
    (bundle / "README.md").write_text("My own card.")
    before = {p.name: p.stat().st_mtime_ns for p in bundle.iterdir()}
    lm.save(bundle)
    assert {p.name: p.stat().st_mtime_ns for p in bundle.iterdir()} == before, "nothing changed"
    weight = lm.model.weights[0]
    value = weight.numpy()
    weight.assign(value + 1)
    try:
        with pytest.warns(UserWarning, match=r"model\.tflite, web was removed: exported from what"):
            lm.save(bundle)
    finally:
        weight.assign(value)
    assert not [name for name in (*EXPORTS, "classifier.tflite") if (bundle / name).exists()]
    assert "exports" not in json.loads((bundle / "manifest.json").read_text())
    assert (bundle / "README.md").read_text() == "My own card."


def test_weights_that_are_not_finite_do_not_replace_good_ones(lm, bundle, tmp_path):
    weight = lm.model.weights[0]
    value = weight.numpy()
    weight.assign(np.full_like(value, np.nan))
    try:
        with pytest.raises(ValueError, match="not finite, such as .*, and .* holds a model"):
            lm.save(bundle)
        lm.save(tmp_path / "to_look")
    finally:
        weight.assign(value)
    back = keraslm.from_pretrained(bundle)
    np.testing.assert_array_equal(back.model.weights[0], value)


def test_a_checkpoint_of_transformers_is_not_replaced(lm, tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "config.json").write_text('{"architectures": ["GPT2LMHeadModel"]}')
    with pytest.raises(ValueError, match="in the form of transformers"):
        lm.save(tmp_path / "theirs")


def test_a_tokenizer_that_is_there_before_the_model(lm, tmp_path):
    """As 'keraslm tokenizer --out mine' leaves it."""
    lm.tokenizer.save(tmp_path)
    lm.save(tmp_path)
    assert keraslm.from_pretrained(tmp_path).tokenizer.to_json() == lm.tokenizer.to_json()


def test_a_bundle_takes_no_parts_of_other_models(lm, bundle, tmp_path):
    gpt = keraslm.models.GPT(lm.model.vocab_size, num_layers=1, d_model=16, num_heads=2)
    other = keraslm.tasks.TextGenerator(gpt, lm.tokenizer)
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    for export in (keraslm.export.tflite, keraslm.export.saved_model):
        with pytest.raises(ValueError, match=r"other weights, .* Save this one there first"):
            export(other, bundle)
    words = Tokenizer.train(["a few other words"], "word")
    with pytest.raises(ValueError, match="a model with other tokens, which could not read these"):
        words.save(bundle)
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before
    roles = dataclasses.replace(lm.tokenizer.roles, prompt="bare")
    Tokenizer(lm.tokenizer.engine, roles).save(bundle)  # the same tokens, used otherwise
    assert keraslm.from_pretrained(bundle).tokenizer.roles.prompt == "bare"
    half = keraslm.tasks.bundle.write(lm, tmp_path / "half", dtype="float16")
    assert keraslm.export.tflite(lm, half, verify=False).is_file()  # its weights, but for rounding


def test_a_failing_save_leaves_the_old_bundle(lm, bundle, monkeypatch):
    before = {p.name: p.read_bytes() for p in bundle.iterdir()}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.numpy.save_file", full)
    with pytest.raises(OSError, match="No space"):
        lm.save(bundle)
    assert {p.name: p.read_bytes() for p in bundle.iterdir()} == before
    assert [p.name for p in bundle.parent.iterdir()] == ["mine"]


def _edit(bundle, **changes):
    file = bundle / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: (b / "tokenizer.json").unlink(), "tokenizer.json is missing"),
        (lambda b: (b / "tokenizer.json").write_text("{}"), "not a readable tokenizer.json"),
        (lambda b: (b / "config.json").write_text("{"), "config.json is damaged"),
        (lambda b: (b / "config.json").write_text("[1]"), "holds no object"),
        (lambda b: (b / "config.json").write_text('{"some": "thing"}'), "not written by"),
        (lambda b: _edit(b, format_version=99), "format 99; this keraslm reads up to 1"),
        (lambda b: _edit(b, task="Oracle"), "holds a Oracle"),
        (lambda b: _edit(b, model={"class": "GPT", "config": {"evil": 1}}), "is damaged"),
        (lambda b: (b / "model.safetensors").write_bytes(b"\0" * 50), "is damaged"),
        (lambda b: (b / "model.safetensors").write_bytes(b""), "is damaged"),
        (lambda b: os.truncate(b / "model.safetensors", 5000), "is damaged"),
        (lambda b: (b / "generation_config.json").write_text('{"top_k": -1}'), "top_k must be"),
    ],
)
def test_a_damaged_bundle_is_told(bundle, damage, message):
    damage(bundle)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        keraslm.from_pretrained(bundle)


def test_weights_of_another_model_are_refused(lm, bundle, tmp_path):
    config = json.loads((bundle / "config.json").read_text())
    config["model"]["config"]["num_layers"] = 3
    (bundle / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="does not fit config.json"):
        keraslm.from_pretrained(bundle)


def test_a_name_that_is_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match="No model at"):
        keraslm.from_pretrained(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="No model at"):
        keraslm.from_pretrained("../../secret")


def test_a_model_without_steps_is_refused(lm):
    bert = BERT(lm.tokenizer.vocab_size, 1, 8, 1)
    with pytest.raises(ValueError, match="cache_spec"):
        TextGenerator(bert, lm.tokenizer)


def test_bundle_moves(lm, bundle, tmp_path):
    shutil.move(bundle, tmp_path / "elsewhere")
    assert keraslm.from_pretrained(tmp_path / "elsewhere").generate("A", max_new_tokens=2)


def test_a_card_of_ones_own_stays_and_the_short_one_is_renewed(lm, bundle):
    assert "made with keraslm" in (bundle / "README.md").read_text()
    lm.save(bundle)
    assert (bundle / "README.md").read_text().startswith("# mine\n")
    for own in ("My long text.", "# mine\n\nA try, made with keraslm.\n"):
        lm.save(bundle, card=own)
        lm.save(bundle)
        assert (bundle / "README.md").read_text() == own
    with pytest.raises(ValueError, match="card must be str"):
        lm.save(bundle, card=5)


@pytest.mark.parametrize("folder", [None, 5, b"x", ""])
def test_a_folder_without_a_name(lm, folder):
    with pytest.raises(ValueError, match="must be the name of a file or folder"):
        lm.save(folder)
    with pytest.raises(ValueError, match="must be the name of a file or folder"):
        keraslm.from_pretrained(folder)
