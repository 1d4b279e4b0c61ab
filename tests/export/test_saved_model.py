"""The string SavedModel, loaded in fresh processes."""

import json
import subprocess
import sys

import pytest

from keraslm import export

# One process for all that needs a fresh one: TensorFlow takes seconds to import.
SCRIPT = """
import json, sys
import tensorflow as tf
import tensorflow_text
model = tf.saved_model.load(sys.argv[1])
default, generate = (model.signatures[n] for n in ("serving_default", "generate"))
out = {"modules": [m for m in ("keraslm", "tokenizers", "keras_nlp") if m in sys.modules]}
def text(t):
    return [x.decode() for x in t["text"].numpy()]
def call(texts, n, temperature, k, p, seed):
    return text(generate(
        text=tf.constant(texts), max_new_tokens=tf.constant(n),
        temperature=tf.constant(float(temperature)), top_k=tf.constant(k),
        top_p=tf.constant(float(p)), seed=tf.constant(seed)))
for name, args in json.load(sys.stdin).items():
    try:
        out[name] = call(*args) if isinstance(args[0], list) else text(
            default(text=tf.constant(args)))
    except tf.errors.InvalidArgumentError as error:
        out[name] = str(error)
print("RESULT" + json.dumps(out))
"""

TEXTS = ["The government", "", "In Afghanistan \u4f60\u597d caf\u00e9 don't  stop", "a"]
CALLS = {
    "default": TEXTS,
    "greedy": [TEXTS, 12, 0.0, 5, 1.0, 0],
    "sampled": [TEXTS[:1], 12, 0.9, 30, 0.95, 3],
    "too long": [["word " * 400], 3, 0.0, 1, 1.0, 0],
}


@pytest.fixture(scope="module")
def found(lm, tmp_path_factory):
    folder = lm.save(tmp_path_factory.mktemp("bundle"))
    path = export.saved_model(lm, folder, verify=False)
    assert path == folder / "saved_model"
    assert "import tensorflow_text" in (path / "README.md").read_text()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path)], input=json.dumps(CALLS), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.rpartition("RESULT")[2])


def test_needs_tensorflow_only(found):
    assert found["modules"] == []


def test_default_is_the_text_of_keras(lm, found):
    assert found["default"] == lm.generate(TEXTS)


def test_greedy_and_sampled(lm, found):
    assert found["greedy"] == lm.generate(TEXTS, max_new_tokens=12, temperature=0)
    settings = {"temperature": 0.9, "top_k": 30, "top_p": 0.95, "seed": 3}
    assert found["sampled"] == lm.generate(TEXTS[:1], max_new_tokens=12, **settings)


def test_too_long_a_prompt_is_told(found):
    assert "fills the context of 160 tokens" in found["too long"]


def test_a_folder_with_other_files_is_refused(lm, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="holds other files"):
        export.saved_model(lm, tmp_path)
    assert (tmp_path / "thesis.txt").exists()


@pytest.mark.slow
def test_verified_export(lm, tmp_path):
    path = export.saved_model(lm, tmp_path / "sm")
    entry = json.loads((tmp_path / "manifest.json").read_text())["sm"]
    assert entry["verification"]["equal_tokens"] == entry["verification"]["tokens"] == 3
    assert export.verify(path, lm).passed
