"""The command `keraslm embed`."""

import json

import pytest

from keraslm.cli import main
from keraslm.embeddings import load_vectors


@pytest.fixture(scope="module")
def folder(tmp_path_factory, pattern_text):
    """Vectors that the command trained."""
    folder = tmp_path_factory.mktemp("embed")
    (folder / "corpus.txt").write_text(pattern_text, encoding="utf-8")
    arguments = ["--width", "16", "--window", "1", "--epochs", "30", "--workers", "1"]
    assert main(["embed", "train", str(folder / "corpus.txt"), "--out", str(folder / "v"),
                 "--skip-gram", *arguments]) == 0  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def pattern_text(pattern):
    return "\n".join(" ".join(sentence) for sentence in pattern)


def run(*arguments):
    return main(["embed", *map(str, arguments)])


def test_trained(folder):
    vectors = load_vectors(folder / "v")
    assert vectors.vector_size == 16 and vectors.index_to_key[0] in ("a", "eats", "some", "paint")
    recipe = json.loads((folder / "v" / "recipe.json").read_text())
    assert recipe["method"] == "word2vec" and recipe["epochs"] == 30 and recipe["unit"] == "words"
    assert "keraslm embed evaluate" in (folder / "v" / "README.md").read_text()


@pytest.mark.parametrize(
    ("method", "options"),
    [("fasttext", ["--bucket", 500]), ("glove", ["--x-max", 10, "--float16"])],
)
def test_other_methods(folder, capsys, method, options):
    out = folder / method
    arguments = ["--method", method, *options, "--width", 8, "--epochs", 2, "--out", out]
    assert run("train", folder / "corpus.txt", *arguments) == 0
    told = capsys.readouterr().out
    assert "epoch 2/2: " in told and "vectors of width 8" in told
    assert hasattr(load_vectors(out), "vectors_ngrams") == (method == "fasttext")


def test_neighbors(folder, capsys):
    assert run("neighbors", folder / "v", "cat", "red", "--number", 2) == 0
    cat, red = capsys.readouterr().out.splitlines()
    assert cat.startswith("cat: ") and {"dog", "cow"} <= set(cat.split())
    assert {"blue", "green"} <= set(red.split())


def test_evaluate(folder, capsys):
    questions = folder / "q.txt"
    questions.write_text(": animals\ncat dog dog cat\n", encoding="utf-8")
    result = folder / "result.json"
    assert run("evaluate", folder / "v", "--questions", questions, "--bias", "--json", result) == 0
    told = capsys.readouterr().out
    assert "animals" in told and "flowers / insects" in told and "simlex999" in told
    written = json.loads(result.read_text())
    assert written["analogies"]["asked"] == 1 and len(written["bias"]) == 10


def test_convert_and_project(folder, capsys, monkeypatch):
    monkeypatch.setenv("KERASLM_CACHE", str(folder / "cache"))
    assert run("convert", folder / "v", folder / "v.vec.gz") == 0
    assert run("convert", folder / "v.vec.gz", folder / "back", "--limit", 3) == 0
    assert load_vectors(folder / "back").index_to_key == load_vectors(folder / "v").index_to_key[:3]
    assert run("project", folder / "v", folder / "logs", "--number", 5) == 0
    assert "tensorboard --logdir" in capsys.readouterr().out
    assert len((folder / "logs" / "vectors.tsv").read_text().splitlines()) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("neighbors", "V", "zebra"), "'zebra' has no vector"),
        (("neighbors", "none", "a"), "No file or folder none"),
        (("evaluate", "V", "--questions", "none.txt"), "No file none.txt"),
        (("convert", "V", "v.xyz"), "format must be one of"),
        (("convert", "V", "v.bin", "--to", "fasttext"), "no n-grams"),
        (("train", "none.txt", "--out", "x"), "No file or folder"),
        (("train", "V/vectors.npy", "--out", "x"), "binary file"),
    ],
)
def test_bad_input_is_one_sentence(folder, arguments, message, capfd, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    arguments = [str(a).replace("V", str(folder / "v")) for a in arguments]
    assert run(*arguments) == 2
    told = capfd.readouterr().err
    assert message in told and told.startswith("keraslm embed: ") and told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
