"""The benchmarks run and say how many times as fast we are; the example learns."""

import os
import random
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import keraslm

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("KERASLM_DATA", ROOT / "../shared/data"))


@cache
def run(script, *arguments):
    """What a script of the repository prints."""
    done = subprocess.run(
        [sys.executable, ROOT / script, *map(str, arguments)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def ratios(text):
    """Speed ratios by what they compare."""
    return {
        label: float(speed)
        for label, speed in re.findall(r"ratio keraslm / KerasHub, (.+): speed ([\d.]+)x", text)
    }


@pytest.mark.slow
@pytest.mark.parametrize("script", ["train_vs_peers.py", "generate_vs_peers.py"])
def test_benchmark_prints_ratios(script):
    text = run(f"benchmarks/{script}", "--small", "--rounds", 2)
    found = ratios(text)
    assert list(found) == ["jit_compile=False", "jit_compile=True", "best against best"]
    assert all(speed > 0 for speed in found.values())
    counts = re.search(r"parameters: keraslm ([\d,]+), KerasHub ([\d,]+)", text)
    assert counts[1] == counts[2]


@pytest.mark.slow
def test_small_models_agree_with_kerashub():
    text = run("benchmarks/train_vs_peers.py", "--small", "--rounds", 2)
    apart = re.search(r"losses apart: (\S+) at the first step, at most (\S+)", text)
    assert float(apart[1]) < 1e-5 and float(apart[2]) < 1e-3
    text = run("benchmarks/generate_vs_peers.py", "--small", "--rounds", 2)
    same = re.search(r"tokens equal to the first's: ([\d, ]+) of (\d+)", text)
    assert {int(n) for n in same[1].split(",")} == {int(same[2])}


@pytest.mark.slow
@pytest.mark.data
def test_shakespeare_learns():
    source = DATA / "tinyshakespeare" / "input.txt"
    text = run("examples/char_shakespeare.py", source, "--steps", 300)
    loss = float(re.search(r"validation loss ([\d.]+)", text)[1])
    assert loss < 2.6  # 4.2 untrained; 2.5 is what pairs of characters give
    assert len(text.split("validation loss")[1]) > 200


@pytest.mark.slow
@pytest.mark.data
def test_vectors_on_sst2(data_folder):
    text = run(
        "benchmarks/sst2_vectors.py", data_folder / "sst2", ROOT / "embeddings/wiki-word2vec",
        "--small",
    )  # fmt: skip
    assert len(re.findall(r"\d\d\.\d%  range", text)) == 32


@pytest.mark.slow
def test_vectors_beside_gensim(pattern, small_vectors, tmp_path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(" ".join(sentence) for sentence in pattern), encoding="utf-8")
    text = run("benchmarks/vectors_vs_gensim.py", corpus, small_vectors, "--rounds", 1)
    assert len(re.findall(r"ratio keraslm / gensim", text)) == 3
    assert "(the same vectors)" in text


@pytest.fixture
def small_vectors(tmp_path):
    """A GloVe file of the committed vectors."""
    from keraslm.embeddings import load_vectors, write_vectors

    vectors = load_vectors(ROOT / "embeddings" / "wiki-word2vec")
    return write_vectors(vectors, tmp_path / "vectors.txt")


@pytest.mark.slow
def test_example_of_a_checkpoint(lm, articles, tmp_path):
    (tmp_path / "my.txt").write_text("\n\n".join(articles[:40]), encoding="utf-8")
    folder = lm.save_huggingface(tmp_path / "hf")
    text = run("examples/fine_tune_checkpoint.py", folder, tmp_path / "my.txt", "--out",
               tmp_path / "mine", "--length", 64, "--prune")  # fmt: skip
    for part in ("Hugging Face (gpt2)", "600 → ", "before:", "after:", "passed", "_huggingface"):
        assert part in text


@pytest.mark.slow
def test_the_chinese_example(tmp_path):
    lines = [
        "春眠不觉晓，处处闻啼鸟。", "夜来风雨声，花落知多少。", "白日依山尽，黄河入海流。",
        "欲穷千里目，更上一层楼。", "床前明月光，疑是地上霜。", "举头望明月，低头思故乡。",
    ]  # fmt: skip
    poems = ["\n".join(random.Random(i).sample(lines, 4)) for i in range(300)]
    (tmp_path / "poems.txt").write_bytes("\n\n".join(poems).encode("gb18030"))
    text = run("examples/chinese_text_to_phone.py", tmp_path / "poems.txt", "--encoding", "gb18030",
               "--separator", r"\n\n", "--out", tmp_path / "mine", "--minutes", 0.2)  # fmt: skip
    assert "start from a vector" in text and "passed" in text and "[epoch 1]" in text
    assert (tmp_path / "mine" / "model.tflite").is_file()
    lm = keraslm.from_pretrained(tmp_path / "mine")
    assert lm.tokenizer.decode(lm.tokenizer.encode(poems[0])) == poems[0]


@pytest.mark.slow
@pytest.mark.peer
def test_loading_is_measured():
    pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("torch", reason="torch is not installed")
    text = run("benchmarks/load_vs_transformers.py", "--rounds", 1)
    assert len(re.findall(r"ratio [\d.]+$", text, re.M)) == 4


@pytest.mark.slow
def test_example_of_vectors():
    text = run("examples/vectors_to_classifier.py")
    scores = [float(score) for score in re.findall(r"([\d.]+)% right", text)]
    assert len(scores) == 3 and scores[2] > scores[0]


@pytest.mark.slow
@pytest.mark.peer
def test_on_device_runtimes_write_the_same_text():
    pytest.importorskip("litert_lm", reason="litert-lm-api is not installed")
    names = ("litert-lm-float32", "litert-float32", "keras-hub-xla-float32")
    text = run("benchmarks/on_device.py", "--small", "--rounds", 1, "--only", *names)
    assert re.findall(r"(\d+) / 16$", text, re.M) == ["16"] * 3
    assert len(re.findall(r"ratio keraslm \S+ / \S+: speed [\d.]+x", text)) == 2


@pytest.mark.slow
def test_a_damaged_export_fails_its_proof():
    text = run("benchmarks/export_quality.py", "--tasks", "wiki-gpt", "--quantization", "int8")
    assert re.search(
        r"int8 +as it is +passed, likeliest token as in Keras for 2\d\d of 2\d\d", text
    )
    assert re.search(r"int8 +control, damaged +FAILED", text)
