"""Damaged files: each reader answers, or says what is wrong; none hangs or dies."""

import shutil
import sys
import time
import warnings

import pytest
from hostile import at_most, damage, read, seeds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NAMES = [
    *(f"read_texts texts.{kind}" for kind in
      ("txt", "jsonl", "json", "csv", "xml", "txt.gz", "txt.bz2", "txt.xz", "zip")),
    "clean_wikitext",
    *(f"load_vectors {kind}" for kind in
      ("fasttext.bin", "folder", "folder_fasttext", "folder_float16", "glove.txt",
       "word2vec.bin", "word2vec.vec")),
    *(f"Tokenizer.load generator_{kind}" for kind in ("bpe", "char", "word")),
    *(f"from_pretrained {kind}" for kind in
      ("classifier", "encoder_cls", "encoder_max", "encoder_mean", "encoder_pooled", "fill_mask",
       "generator_bpe", "generator_char", "generator_word")),
    *(f"runtime {kind}.tflite" for kind in ("classifier", "decoder_float32", "decoder_int8")),
]  # fmt: skip
SECONDS = 60  # of a reader in `make test-all`


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return seeds(tmp_path_factory.mktemp("good"))


def test_every_reader_has_its_good_file(good):
    assert set(good) == set(NAMES)
    for name in NAMES:
        if name.startswith("runtime classifier"):  # it generates nothing, which is said
            continue
        read(name, good[name])


def try_damaged(name, source, work, change, which):
    """Damage one file of a copy, and read it."""
    copy = work / source.name
    if copy.is_dir():
        shutil.rmtree(copy)
    if source.is_dir():
        shutil.copytree(source, copy)
        files = sorted(path for path in copy.rglob("*") if path.is_file())
        file = files[int(which * len(files))]
    else:
        file = copy
    content = (source / file.relative_to(copy)).read_bytes()
    changed = change(content)
    file.write_bytes(changed)
    try:
        with at_most(10), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            read(name, copy)
    except (ValueError, OSError, ImportError) as error:
        if isinstance(error, TimeoutError):
            raise
        assert len(str(error)) > 10, repr(error)


def fuzz(name, good, work, examples, seconds):
    end = time.monotonic() + seconds

    @settings(max_examples=examples, deadline=None, derandomize=True, database=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(damage(), st.floats(0, 1, exclude_max=True))
    def run(change, which):
        if time.monotonic() < end:
            try_damaged(name, good[name], work, change, which)

    run()


@pytest.mark.skipif(sys.platform == "win32", reason="SIGALRM is a signal of POSIX systems")
@pytest.mark.parametrize("name", NAMES)
def test_damaged_files_are_told(name, good, tmp_path):
    fuzz(name, good, tmp_path, 8 if name.startswith(("from", "runtime")) else 40, SECONDS)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_damaged_files_are_told_for_a_minute(name, good, tmp_path):
    fuzz(name, good, tmp_path, 20_000, SECONDS)
