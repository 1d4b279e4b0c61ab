"""The zoo: what is committed is what the index says; copies are checked; recipes work."""

import functools
import http.server
import json
import threading

import pytest

import keraslm
from keraslm import cli
from keraslm.pipeline import Corpus
from keraslm.zoo import RECIPES, SOURCES, Recipe, Source, catalogue, entries, recipes
from keraslm.zoo.entries import CLONE, MARK, index, table

IS_CLONE = (CLONE / "saved_models").is_dir()
clone = pytest.mark.skipif(not IS_CLONE, reason="not a clone of the repository")


@clone
def test_the_index_is_of_what_is_committed():
    found = catalogue()
    assert index() == {name: {k: v for k, v in e._asdict().items() if k != "name"}
                       for name, e in found.items()}  # fmt: skip
    page = (CLONE / "saved_models" / "README.md").read_text(encoding="utf-8")
    assert page.partition(MARK)[2].strip() == table(found.values()).strip()
    assert set(RECIPES) <= set(found)
    assert all(entry.num_bytes <= 3_000_000 for entry in found.values())
    assert sum(entry.num_bytes for entry in found.values()) <= 25_000_000
    assert found["demo"].num_bytes <= 2_000_000


@clone
@pytest.mark.parametrize("name", RECIPES)
def test_models_answer_and_their_exports_are_whole(name):
    task = keraslm.from_pretrained(name)
    if hasattr(task, "generate"):
        text = task.generate(RECIPES[name].example, max_new_tokens=8)
        assert len(text) > len(RECIPES[name].example)
    else:
        assert task.predict(RECIPES[name].example, top_k=3)[0].probability > 0.02
    folder = CLONE / "saved_models" / name
    ran = keraslm.export.Verification.from_manifest(folder / "model.tflite")  # checks the hash
    assert ran.passed
    if hasattr(task, "generate"):
        assert ran.judged_on == "the bundle's sample of its training text"
        assert ran.agreeing_tokens > 0.95 * ran.judged_tokens
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert SOURCES[RECIPES[name].source].licence in card and f"zoo make {name}" in card


# === Copies ===


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A small clone with one model, which the index knows."""
    folder = tmp_path / "clone" / "saved_models" / "tiny"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(100))
    entry = {"kind": "saved_models", "summary": "s", "parameters": 1, "quality": "q",
             "licence": "MIT", "files": entries.files_of(folder)}  # fmt: skip
    file = tmp_path / "index.json"
    file.write_text(json.dumps({"tiny": entry}))
    monkeypatch.setattr(entries, "INDEX", file)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "clone"


def test_get_from_a_folder_and_a_server(source, tmp_path):
    out = keraslm.zoo.get("tiny", source=source)
    assert str(out) == "saved_models/tiny"
    assert (tmp_path / out / "model.safetensors").read_bytes() == bytes(100)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=source)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        out = keraslm.zoo.get("tiny", tmp_path / "far", source=address)
        assert (out / "config.json").read_text() == "{}"
        (source / "saved_models" / "tiny" / "config.json").unlink()
        with pytest.raises(FileNotFoundError, match="does not come"):
            keraslm.zoo.get("tiny", tmp_path / "far", source=address)
        server.shutdown()
    assert (out / "config.json").read_text() == "{}", "a good copy was lost"


def test_get_refuses_other_files(source, tmp_path):
    (source / "saved_models" / "tiny" / "model.safetensors").write_bytes(bytes(99) + b"x")
    with pytest.raises(ValueError, match="is not the file of this keraslm's zoo"):
        keraslm.zoo.get("tiny", source=source)
    assert not (tmp_path / "saved_models" / "tiny").exists()
    with pytest.raises(ValueError, match="name must be one of tiny; received 'x'"):
        keraslm.zoo.get("x")
    with pytest.raises(FileNotFoundError, match="--source; or make it: keraslm zoo make tiny"):
        keraslm.zoo.get("tiny")


def test_commands(source, capfd):
    assert cli.main(["zoo", "list"]) == 0
    assert "tiny" in capfd.readouterr().out
    assert cli.main(["zoo", "get", "tiny", "--source", str(source), "--out", "copy"]) == 0
    assert capfd.readouterr().out == "copy\n"
    assert cli.main(["zoo", "show", "tiny"]) == 0
    assert "model.safetensors" in capfd.readouterr().out
    assert cli.main(["zoo", "show", "lion"]) == 2
    assert "received 'lion'" in capfd.readouterr().err


# === Recipes ===

TINY = {"num_layers": 1, "d_model": 16, "num_heads": 2, "max_length": 32}
TRAINING = {"epochs": 1, "batch_size": 4, "length": 32, "learning_rate": 1e-2}


@pytest.mark.slow
@pytest.mark.parametrize("family", ["GPT", "BERT"])
def test_a_recipe_can_be_followed(family, articles, monkeypatch, tmp_path):
    kind, example = ("bpe", "The") if family == "GPT" else ("wordpiece", "the [MASK] said")
    recipe = Recipe("A model", "news", {"kind": kind, "vocab_size": 400},
                    {"family": family, **TINY}, {**TRAINING, "vectors": True}, example)  # fmt: skip
    monkeypatch.setitem(RECIPES, "tiny", recipe)
    monkeypatch.setitem(SOURCES, "news", Source("news", "MIT"))
    monkeypatch.setattr(recipes, "read_source", lambda *a: Corpus(articles[:40], articles[40:44]))
    out = keraslm.zoo.make("tiny", tmp_path / "tiny")
    assert keraslm.from_pretrained(out).model.count_params() == json.loads(
        (out / "report.json").read_text()
    )["parameters"]  # fmt: skip
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "| licence | MIT, as the text |" in card and "passed" in card
    assert (out / "model.tflite").is_file()


def test_bad_input(tmp_path):
    with pytest.raises(ValueError, match="name must be one of wiki-gpt"):
        keraslm.zoo.make("lion")
    with pytest.raises(FileNotFoundError, match="has no text.*'make zoo-data'.*--data"):
        keraslm.zoo.make("songci-gpt", tmp_path / "out", data=tmp_path)
    assert not (tmp_path / "out").exists()
