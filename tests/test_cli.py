"""The command line, step by step in one process, and its errors."""

import io
import json
import os
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest

import keraslm
from keraslm import cli


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, articles):
    folder = tmp_path_factory.mktemp("work")
    (folder / "corpus.txt").write_text("\n\n".join(articles[:25]), encoding="utf-8")
    return folder


def run(*arguments):
    return cli.main([str(a) for a in arguments])


def test_tokenizer_then_generate(workspace, capfd, lm):
    corpus, out = workspace / "corpus.txt", workspace / "chars"
    arguments = ("--kind", "char", "--vocab-size", 40, "--separator", r"\n\n", "--out", out)
    assert run("tokenizer", corpus, *arguments) == 0
    assert "char, 40 tokens" in capfd.readouterr().out and (out / "tokenizer.json").is_file()
    lm.save(workspace / "lm")
    settings = ("--model", workspace / "lm", "--max-new-tokens", 5, "--top-k", 9, "--seed", 1)
    assert run("generate", "The police", *settings) == 0
    wanted = lm.generate("The police", max_new_tokens=5, top_k=9, seed=1)
    assert capfd.readouterr().out == wanted + "\n"


def test_info_and_prune(workspace, capfd, lm):
    folder = lm.save(workspace / "whole")
    assert run("info", folder) == 0
    assert "TextGenerator" in capfd.readouterr().out
    out = workspace / "small"
    (workspace / "few.txt").write_text("The police said so.", encoding="utf-8")
    assert run("prune", folder, workspace / "few.txt", "--out", out) == 0
    assert "600 → " in capfd.readouterr().out
    small = keraslm.from_pretrained(out)
    assert small.tokenizer.vocab_size < 300 and small.generate("The police", max_new_tokens=3)
    assert run("prune", folder, workspace / "few.txt", "--out", out) == 2
    assert "holds a model. Give another --out, or --overwrite" in capfd.readouterr().err
    assert run("prune", folder, workspace / "nothing.txt", "--out", workspace / "new") == 2
    assert run("info", workspace / "nothing") == 2
    assert "No model at" in capfd.readouterr().err


@pytest.fixture(scope="module")
def exported(workspace, lm):
    folder = lm.save(workspace / "exported")
    assert run("export", folder, "--to", "tflite", "--quantization", "int8") == 0
    return folder


def test_run_an_export(exported, capfd):
    file = exported / "model.tflite"
    assert run("run", file, "The police", "--max-new-tokens", 9, "--temperature", 0) == 0
    whole = capfd.readouterr().out
    assert whole.startswith("The police") and len(whole) > 15
    stop = whole[len("The police") + 3 : -1][:2]
    assert run("run", file, "The police", "--max-new-tokens", 9, "--stop", stop) == 0
    assert capfd.readouterr().out == whole[: whole.index(stop, len("The police"))] + "\n"


@pytest.mark.slow
def test_verify_in_full(exported, capfd):
    assert run("verify", exported, "--full", "--tensors") == 0
    table = capfd.readouterr().out
    for part in ("perplexity", "peak memory", "tokens/s", "EMBEDDING_LOOKUP", "600 x 32", "int8"):
        assert part in table


def test_a_changed_file_is_told(exported, capfd, tmp_path):
    for name in ("manifest.json", "model.tflite", "tokenizer.json"):
        (tmp_path / name).write_bytes((exported / name).read_bytes())
    with (tmp_path / "model.tflite").open("ab") as file:
        file.write(b"x")
    for command in (("run", tmp_path / "model.tflite", "The police"),
                    ("verify", exported, tmp_path / "model.tflite")):  # fmt: skip
        assert run(*command) == 2
        assert "is not the file that was exported" in capfd.readouterr().err


@pytest.mark.slow
def test_step_by_step(workspace, capfd):
    corpus, mine = workspace / "corpus.txt", workspace / "mine"
    split = ("--separator", r"\n\n")
    steps = [
        ("tokenizer", corpus, *split, "--vocab-size", 400, "--out", workspace / "tok"),
        ("embed", "train", corpus, *split, "--tokenizer", workspace / "tok", "--width", 128,
         "--epochs", 1, "--min-count", 2, "--out", workspace / "vec"),
        ("train", corpus, *split, "--tokenizer", workspace / "tok", "--vectors", workspace / "vec",
         "--epochs", 1, "--out", mine, "--log-dir", workspace / "logs", "--length", 128,
         "--dropout", 0.1, "--seed", 3, "--prompt", "Once upon", "--minutes", 0.001),
        ("generate", "The police", "--model", mine, "--max-new-tokens", 5),
        ("export", mine, "--to", "tflite"),
        ("verify", mine),
        ("run", mine / "model.tflite", "The police", "--max-new-tokens", 5),
    ]  # fmt: skip
    out = []
    for step in steps:
        assert run(*step) == 0, capfd.readouterr().err
        out.append(capfd.readouterr().out)
    assert "bpe, 400 tokens" in out[0] and "vectors of width 128" in out[1]
    assert "bits per byte" in out[2] and "GPT nano" in out[2] and "8 x 128 tokens" in out[2]
    assert "Once upon" in out[2] and "The time limit of 0.001 minutes ended" in out[2]
    assert "passed" in out[4] and "passed" in out[5]
    assert out[3].startswith("The police") and out[3] == out[6]
    assert list((workspace / "logs" / "train").iterdir())
    assert keraslm.from_pretrained(mine).model.transformer_config.d_model == 128


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tokenizer", "none.txt", "--out", "x"), "none.txt"),
        (("tokenizer", "EMPTY", "--out", "x"), "EMPTY"),
        (("tokenizer", "BINARY", "--out", "x"), "binary"),
        (("embed", "train", "--tokenizer", "none", "--out", "x"), "No tokenizer at none"),
        (("train", "--tokenizer", "none", "--out", "CORPUS/x"), "cannot be written"),
        (("train", "CORPUS", "--tokenizer", "TOK", "--out", "x", "--size", "huge"), "size must be"),
        (("generate", "Hi", "--model", "none"), "No model at none"),
        (("run", "none.tflite", "Hi"), "No file or folder none.tflite"),
        (("run", "PAGE", "Hi"), "PAGE is a web page: serve it"),
        (("export", "none"), "No model at none"),
        (("verify", "none"), "No model at none"),
        (("tokenizer", "", "--out", "x"), "The path of the text is empty"),
        (("train", "CORPUS", "--tokenizer", "TOK", "--out", "x", "--minutes", "0"), "minutes must"),
        (("train", "CORPUS", "--tokenizer", "TOK", "--out", "x", "--length", "999"), "at most 256"),
        (("embed", "train", "CORPUS", "--window", "0", "--out", "x"), "window must be a positive"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(
    workspace, arguments, message, capfd, tmp_path, monkeypatch, lm
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "EMPTY").write_text("")
    (tmp_path / "BINARY").write_bytes(b"text\0text")
    lm.tokenizer.save(tmp_path / "TOK")
    (tmp_path / "CORPUS").write_text("Some text. " * 20)
    (tmp_path / "PAGE").mkdir()
    (tmp_path / "PAGE" / "index.html").write_text("<!doctype html>")
    before = sorted(p.name for p in tmp_path.iterdir())
    assert run(*arguments) == 2
    captured = capfd.readouterr()
    assert message in captured.err and captured.err.startswith(f"keraslm {arguments[0]}: ")
    assert len(captured.err.splitlines()) == 1 and "Traceback" not in captured.err
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_debug_shows_the_traceback():
    with pytest.raises(FileNotFoundError):
        run("generate", "--debug", "Hi", "--model", "none")


@pytest.fixture(scope="module")
def fresh():
    """Output of fresh processes: what a user of the command sees."""
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}

    def call(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "keraslm.cli", *arguments], capture_output=True, text=True,
            env=environment, check=False,
        )  # fmt: skip

    return call


def test_the_installed_model_answers_without_noise(fresh):
    done = fresh("generate", "The city of", "--max-new-tokens", "8", "--seed", "1")
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith("The city of") and len(done.stdout) > 15


def test_help_and_version(fresh):
    done = fresh("--help")
    assert done.returncode == 0 and done.stderr == ""
    for name in ("tokenizer", "embed", "train", "generate", "export", "verify", "run", "demo"):
        assert f"\n    {name}" in done.stdout
    assert fresh("--version").stdout.strip() == keraslm.__version__


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("。", "。"), ("é", "é"), (r"\n\n", "\n\n"), (r"\t", "\t"), (r"\u3002", "。"), ("\\", "\\")],
)
def test_a_separator_in_any_script(typed, meant):
    assert cli.sources.unescaped(typed) == meant


def test_documents_of_chinese_split_at_their_full_stop(tmp_path, capfd):
    (tmp_path / "c.txt").write_text("春眠不觉晓。处处闻啼鸟。夜来风雨声。", encoding="utf-8")
    out = tmp_path / "out"
    assert (
        run("tokenizer", tmp_path / "c.txt", "--kind", "char", "--separator", "。", "--out", out)
        == 0
    )
    vocabulary = keraslm.tokenizers.Tokenizer.load(out).vocabulary
    assert "春" in vocabulary and "。" not in vocabulary


def test_encodings_tables_and_standard_input(tmp_path, capfd, monkeypatch):
    text = "人生若只如初见，何事秋风悲画扇。等闲变却故人心，却道故人心易变。"
    table = tmp_path / "texts.csv"
    table.write_bytes(("标题,正文\n" + f"一,{text}\n" * 3).encode("gb18030"))
    out = tmp_path / "tok"
    arguments = ("--kind", "char", "--out", out)
    assert run("tokenizer", table, *arguments) == 2
    assert "encoding='gb18030'" in capfd.readouterr().err
    assert run("tokenizer", table, "--encoding", "gb18030", "--field", "正文", *arguments) == 0
    assert keraslm.tokenizers.Tokenizer.load(out).encode("故人") and capfd.readouterr()
    command = [sys.executable, "-m", "keraslm", "embed", "train", "-", "--unit", "characters",
               "--encoding", "big5", "--width", "8", "--min-count", "1", "--epochs", "1",
               "--stop-words", "chinese", "--out", tmp_path / "v"]  # fmt: skip
    words = "故人心變" * 9
    subprocess.run(command, input=words.encode("big5"), check=True, capture_output=True)
    found = keraslm.embeddings.load_vectors(tmp_path / "v")
    assert "變" in found and "人" in found and not list(tmp_path.glob("keraslm-*"))


def test_a_long_command_says_that_it_is_at_it(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("keraslm.cli.waiting.AFTER", 0.05)
    monkeypatch.setattr("keraslm.cli.zoo._list", lambda args: time.sleep(0.5))
    assert run("zoo", "list") == 0
    assert capfd.readouterr().err == ""  # nobody watches
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert run("zoo", "list") == 0
    assert "\rkeraslm zoo: 0 s …" in capfd.readouterr().err


def test_the_bare_command_prints_help(capfd):
    assert run() == 0
    assert "usage: keraslm" in capfd.readouterr().out
    done = subprocess.run([sys.executable, "-m", "keraslm", "--version"], capture_output=True)
    assert done.returncode == 0 and keraslm.__version__ in done.stdout.decode()


@pytest.fixture(scope="module")
def encoders(tmp_path_factory, articles):
    """A folder for each encoder task, untrained."""
    folder = tmp_path_factory.mktemp("encoders")
    kind = {"kind": "wordpiece", "vocab_size": 300, "lowercase": True}
    tokenizer = keraslm.tokenizers.Tokenizer.train(articles[:3], **kind)
    size = {"num_layers": 1, "d_model": 8, "num_heads": 1, "max_length": 32}
    tasks = {
        "fill": keraslm.tasks.FillMask(
            keraslm.models.BERT(tokenizer.vocab_size, head="masked_lm", **size), tokenizer
        ),
        "classify": keraslm.tasks.TextClassifier(
            keraslm.models.BERT(tokenizer.vocab_size, head="classifier", num_classes=2, **size),
            tokenizer, ["bad", "good"],
        ),
        "encode": keraslm.tasks.SentenceEncoder(
            keraslm.models.BERT(tokenizer.vocab_size, head=None, **size), tokenizer
        ),
    }  # fmt: skip
    for name, task in tasks.items():
        task.save(folder / name)
    return folder, tasks


def test_encoders_answer_from_the_shell(encoders, capfd, monkeypatch):
    folder, tasks = encoders
    text = "the [MASK] of the city"
    assert run("fill", text, "--model", folder / "fill", "--top-k", 2) == 0
    lines = [line.split("\t") for line in capfd.readouterr().out.splitlines()]
    expected = [(fill.token, fill.text) for fill in tasks["fill"].predict(text, 2)]
    assert [(token, text) for _, token, text in lines] == expected
    assert run("classify", "one text", "another", "--model", folder / "classify") == 0
    lines = [line.split("\t") for line in capfd.readouterr().out.splitlines()]
    expected = tasks["classify"].predict(["one text", "another"])
    assert [(label, text) for label, _, text in lines] == [
        (answer.label, text) for answer, text in zip(expected, ["one text", "another"], strict=True)
    ]
    monkeypatch.setattr("sys.stdin", io.StringIO("one text\n\nanother\n"))
    assert run("encode", "-", "--model", folder / "encode") == 0
    vectors = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    np.testing.assert_allclose(vectors, tasks["encode"].encode(["one text", "another"]), atol=1e-6)


@pytest.mark.parametrize("name", ["fill", "classify", "encode"])
def test_what_generates_nothing_names_its_command(encoders, capfd, name):
    assert run("generate", "Hi", "--model", encoders[0] / name) == 2
    captured = capfd.readouterr()
    assert f"Write: keraslm {name} TEXT" in captured.err and not captured.out
    other = "classify" if name == "fill" else "fill"
    assert run(other, "Hi", "--model", encoders[0] / name) == 2
    assert "not a" in capfd.readouterr().err


def test_a_finished_model_is_not_trained_over(encoders, workspace, capfd):
    arguments = ("train", workspace / "corpus.txt", "--tokenizer", encoders[0] / "fill")
    assert run(*arguments, "--out", encoders[0] / "fill") == 2
    assert "holds a model. Give another --out, or --overwrite" in capfd.readouterr().err


def test_an_error_comes_before_any_output(capfd):
    assert run("generate", "hello", "--model", "nowhere") == 2
    assert not capfd.readouterr().out


def test_what_nobody_foresaw_is_one_sentence_too(capfd, monkeypatch):
    def broken(*_, **__):
        raise KeyError("surprise")

    monkeypatch.setattr("keraslm.tasks.info", broken)
    assert run("info", "demo") == 1
    assert (
        capfd.readouterr().err == "keraslm info: KeyError: 'surprise'. Add --debug to see where.\n"
    )
    with pytest.raises(KeyError):
        run("info", "demo", "--debug")


def test_warnings_are_sentences(tmp_path, capfd):
    (tmp_path / "g.txt").write_text("the 1 2\nof 3 4\n")
    out = tmp_path / "out"
    assert run("embed", "convert", tmp_path / "g.txt", out) == 0
    (out / "vectors.npy").write_text("changed by hand")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert run("embed", "convert", tmp_path / "g.txt", out) == 0
    said = capfd.readouterr().err
    assert said.startswith("keraslm embed: In ") and ".py" not in said
    (aside,) = out.glob("vectors.npy.edited-*")
    assert aside.read_text() == "changed by hand"
