"""Vectors on disk, ours and others'."""

import bz2
import gzip
import lzma
import pickle
import struct
import zipfile

import numpy as np
import pytest
from gensim.models import KeyedVectors
from gensim.models.fasttext import load_facebook_vectors
from gensim.test.utils import datapath

from keraslm.embeddings import load_vectors, save_vectors, train_fasttext, write_vectors
from keraslm.embeddings.storage import keyed


@pytest.fixture(scope="module")
def fasttext():
    sentences = [["the", "king", "and", "the", "queen"]] * 30
    return train_fasttext(sentences, 6, bucket=100, epochs=1, workers=1)


def equal(one, other):
    assert one.index_to_key == other.index_to_key
    np.testing.assert_array_equal(one.vectors, other.vectors)
    return True


@pytest.mark.parametrize(
    "name", ["v", "v.vec", "v.txt", "v.bin", "v.vec.gz", "v.txt.gz", "v.bin.gz"]
)
def test_written_and_read(small, tmp_path, name):
    path = write_vectors(small, tmp_path / name)
    back = load_vectors(path)
    assert equal(back, small) and back.most_similar("king")[0] == small.most_similar("king")[0]
    some = load_vectors(path, limit=2)
    assert some.index_to_key == ["the", "king"] and some.vectors.shape == (2, 3)


@pytest.mark.parametrize(("name", "binary"), [("v.vec", False), ("v.bin", True)])
def test_gensim_reads_what_we_write_and_we_what_it_writes(small, tmp_path, name, binary):
    write_vectors(small, tmp_path / name)
    assert equal(KeyedVectors.load_word2vec_format(tmp_path / name, binary=binary), small)
    small.save_word2vec_format(tmp_path / f"g-{name}", binary=binary)
    assert equal(load_vectors(tmp_path / f"g-{name}"), small)


def test_glove_with_spaces_in_words(tmp_path):
    rows = np.arange(12, dtype="float32").reshape(4, 3)
    words = ["the", ". . .", "at name@domain.com", "x"]
    lines = [f"{w} {' '.join(map(str, r))}\n" for w, r in zip(words, rows, strict=True)]
    (tmp_path / "g.txt").write_text("".join(lines))
    assert equal(load_vectors(tmp_path / "g.txt"), keyed(words, rows))


def test_folder_keeps_frequencies_and_the_recipe(small, tmp_path):
    save_vectors(small, tmp_path / "v", {"method": "by hand"}, card="# Small")
    back = load_vectors(tmp_path / "v")
    assert back.get_vecattr("king", "count") == 40
    assert '"by hand"' in (tmp_path / "v" / "recipe.json").read_text()
    assert (tmp_path / "v" / "README.md").read_text() == "# Small"
    mapped = load_vectors(tmp_path / "v", mmap=True)
    assert isinstance(mapped.vectors, np.memmap) and mapped.most_similar("king")
    save_vectors(small, tmp_path / "v", dtype="float16")
    np.testing.assert_allclose(load_vectors(tmp_path / "v").vectors, small.vectors, rtol=1e-3)


@pytest.mark.parametrize("name", ["f", "f.bin"])
def test_fasttext_still_guesses(fasttext, tmp_path, name):
    back = load_vectors(write_vectors(fasttext, tmp_path / name))
    assert equal(back, fasttext)
    np.testing.assert_array_equal(back["kingly"], fasttext["kingly"])
    assert "kingly" not in back.key_to_index


def test_fasttext_files_are_whole(fasttext, tmp_path):
    with pytest.raises(ValueError, match="limit=2 is not for .*Leave limit out"):
        load_vectors(write_vectors(fasttext, tmp_path / "v.bin"), limit=2)
    with pytest.raises(ValueError, match="Write v.bin, then compress it"):
        write_vectors(fasttext, tmp_path / "v.bin.gz")
    assert not (tmp_path / "v.bin.gz").exists()


def test_cache(small, tmp_path, monkeypatch):
    monkeypatch.setenv("KERASLM_CACHE", str(tmp_path / "cache"))
    path = write_vectors(small, tmp_path / "v.txt")
    for _ in range(2):
        assert equal(load_vectors(path, cache=True), small)
    assert len(list((tmp_path / "cache" / "vectors").iterdir())) == 1
    other = keyed(["a"], np.ones((1, 3), "float32"))
    write_vectors(other, path)  # a changed file is read anew
    assert equal(load_vectors(path, cache=True), other)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("v.vec", b"3 2\na 1 2\nb 3 4\n", r"says that it has 3 vectors, but 2 are there"),
        ("v.vec", b"1 2\na 1 2\nb 3 4\n", r"says that it has 1 vectors, but 2 are there"),
        ("v.vec", b"2 2\na 1 2\na 3 4\n", r"'a' has two vectors"),
        (
            "v.bin",
            b"2 2\na " + struct.pack("<2f", 1, 2) + b"a " + struct.pack("<2f", 3, 4),
            "a word has two vectors",
        ),
        ("v.vec", b"2 2\na 1 2\nb 3\n", r"vector 2 is not a word and 2 numbers: 'b 3"),
        ("v.vec", b"2 2\na 1 2\nb nan 3\n", r"NaN or infinite values, first for the word 'b'"),
        ("v.txt", b"a 1 2\nb 3 x\n", r"vector 2 is not a word and 2 numbers"),
        ("v.txt", b"", r"no word vectors in a known format"),
        ("v.txt", b"\0\1\2\3\0\0", r"no word vectors in a known format"),
        (
            "v.txt.gz",
            gzip.compress(b"".join(b"w%d 1 2\n" % i for i in range(9999)))[:9000],
            r"damaged .gz archive",
        ),
        ("v.txt.gz", b"plain", r"damaged .gz archive"),
        ("v.bin", b"2 2\na \0\0\0\0\0\0\0\0\nb \0\0", r"damaged or not word2vec-binary"),
        ("v.bin", b"9" * 30 + b" 2\n\0\0", r"999 vectors of width 2; it is cut"),
        ("v.pkl", pickle.dumps([1]), r"is a pickle, which may run any program"),
    ],
)
def test_damaged_files_are_told(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_vectors(tmp_path / name)


def test_a_file_of_fasttext_itself():
    name = "crime-and-punishment.bin"
    vectors = load_vectors(datapath(name))
    assert equal(vectors, load_facebook_vectors(datapath(name)))


def header(model, words, labels, vocabulary, table=b""):
    """A fastText ``.bin`` of width 2 without n-grams, by what its ``saveModel`` writes."""
    settings = (793712314, 12, 2, 5, 5, 1, 5, 1, 1, model, 0, 0, 0, 100, 1e-4)
    counts = struct.pack("=3i2q", words + labels, words, labels, 99, -1)
    return struct.pack("=14id", *settings) + counts + vocabulary + table


WORD = b"w\0" + struct.pack("=qb", 3, 0)
TABLE = struct.pack("=?2q2f", False, 1, 2, 0.5, 0.5)


def test_damaged_fasttext_files_are_told(tmp_path):
    whole = header(1, 1, 0, WORD, TABLE + TABLE)
    (tmp_path / "v.bin").write_bytes(whole)
    assert load_vectors(tmp_path / "v.bin")["w"].tolist() == [0.5, 0.5]
    for content, message in (
        (header(1, 2, 0, WORD), "ends in the vocabulary, at word 1. Fetch it again"),
        (header(1, 10**9, 0, WORD), "of 1,000,000,000 words"),
        (header(3, 1, 1, WORD + WORD, TABLE), "classifier of fastText's supervised mode"),
        (header(1, 1, 0, WORD, b"\1" + TABLE[1:] + TABLE), "quantised"),
        (header(1, 1, 0, WORD, TABLE + TABLE).replace(b"\2\0\0\0\0\0\0\0", b"\3" + bytes(7)),
         "its width is 2, and a table in it is 1 x 3"),
        (whole[:-1], f"should have {len(whole):,} bytes and has {len(whole) - 1:,}"),
        (whole[:30], "its end is missing"),
    ):  # fmt: skip
        (tmp_path / "v.bin").write_bytes(content)
        with pytest.raises(ValueError, match=message):
            load_vectors(tmp_path / "v.bin")


@pytest.mark.parametrize("format", ["word2vec", "word2vec-binary", "glove"])
@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zip"])
def test_compressed_by_others(small, tmp_path, format, suffix):
    plain = write_vectors(small, tmp_path / "v", format)
    packed = tmp_path / f"v{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(packed, "w") as archive:
            archive.write(plain, "v.txt")
    else:
        module = {".gz": gzip, ".bz2": bz2, ".xz": lzma}[suffix]
        packed.write_bytes(module.compress(plain.read_bytes()))
    assert equal(load_vectors(packed), small)


def test_small_binary_files_come_back(tmp_path):
    """Three words give few bytes to tell binary numbers from decimal ones."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        small = keyed(["the", "cat", "dog"], rng.normal(size=(3, 4)).astype("float32"))
        assert equal(load_vectors(write_vectors(small, tmp_path / "v.bin")), small)


def test_empty_lines_are_no_vectors(tmp_path):
    for name, content in (("v.txt", "a 1 2\n\nb 3 4\n\n"), ("v.vec", "2 2\na 1 2\nb 3 4\n\n")):
        (tmp_path / name).write_text(content)
        assert load_vectors(tmp_path / name).index_to_key == ["a", "b"]


@pytest.mark.parametrize("limit", [1.5, "3", True, 0])
def test_a_limit_is_a_number(small, tmp_path, limit):
    with pytest.raises(ValueError, match="limit must be a positive whole number"):
        load_vectors(write_vectors(small, tmp_path / "v"), limit=limit)


def test_words_that_a_folder_cannot_keep(tmp_path):
    for word in ("a\nb", "a\r"):
        with pytest.raises(ValueError, match="has a line break"):
            save_vectors(keyed([word], np.ones((1, 2), "float32")), tmp_path / "v")


def test_a_zip_of_several_files(small, tmp_path):
    with zipfile.ZipFile(tmp_path / "glove.zip", "w") as archive:
        for limit in (2, 5):
            some = keyed(small.index_to_key[:limit], small.vectors[:limit])
            archive.write(write_vectors(some, tmp_path / "v.txt"), f"glove.{limit}.txt")
    with pytest.raises(ValueError, match=r"holds 2 files. Name one of them, such as .*glove.2.txt"):
        load_vectors(tmp_path / "glove.zip")
    for cache in (False, tmp_path / "cache"):
        assert equal(load_vectors(tmp_path / "glove.zip" / "glove.5.txt", cache=cache), small)
    with pytest.raises(FileNotFoundError):
        load_vectors(tmp_path / "glove.zip" / "glove.3.txt")


def test_pickles_only_by_name(small, tmp_path):
    small.save(str(tmp_path / "v.kv"))
    with pytest.raises(ValueError, match="format='pickle'"):
        load_vectors(tmp_path / "v.kv")
    assert equal(load_vectors(tmp_path / "v.kv", "pickle"), small)


def test_a_damaged_folder_is_told(small, tmp_path):
    folder = save_vectors(small, tmp_path / "v")
    (folder / "vocabulary.txt").write_text("one\n")
    with pytest.raises(ValueError, match="is damaged: 1 words"):
        load_vectors(folder)
    (folder / "vectors.npy").write_bytes(b"garbage")
    with pytest.raises(ValueError, match="not a readable array"):
        load_vectors(folder)
    with pytest.raises(FileNotFoundError, match=r"vectors.npy is missing"):
        load_vectors(tmp_path)
    with pytest.raises(FileNotFoundError, match="No file or folder"):
        load_vectors(tmp_path / "none")


def test_nothing_half_written(small, tmp_path):
    path = write_vectors(small, tmp_path / "v.txt")
    before = path.read_bytes()
    small.vectors[1, 1] = np.nan
    for write in (write_vectors, lambda v, p: save_vectors(v, tmp_path / "folder")):
        with pytest.raises(ValueError, match="first for the word 'king'"):
            write(small, path)
    assert path.read_bytes() == before and sorted(p.name for p in tmp_path.iterdir()) == ["v.txt"]


def test_misuse_is_told(small, tmp_path):
    with pytest.raises(ValueError, match="no n-grams"):
        write_vectors(small, tmp_path / "v.bin", "fasttext")
    with pytest.raises(ValueError, match="format must be one of"):
        write_vectors(small, tmp_path / "v.xyz")
    with pytest.raises(ValueError, match="has white space"):
        write_vectors(keyed(["a b"], np.ones((1, 2), "float32")), tmp_path / "v.txt")
    with pytest.raises(ValueError, match="limit must be"):
        load_vectors(tmp_path, limit=0)


NUMBERS = np.random.default_rng(0).normal(size=(30, 4)).astype("f4")
LINES = [f"w{i} " + " ".join(f"{x:.5f}" for x in row) for i, row in enumerate(NUMBERS)]


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        (["<<<<<<< HEAD", *LINES], "vector 1 is not a word and 4 numbers"),
        (["# 4 dims", *LINES], "vector 1 is not a word and 4 numbers"),
        (["30,4", *LINES], "vector 1 is not a word and 4 numbers"),
        ([*LINES[:9], "w9 0.1 0.2", *LINES[10:]], "vector 10 is not a word and 4 numbers"),
        ([*LINES[:9], "0.1 0.2", *LINES[10:]], "vector 10 is not a word and 4 numbers"),
        ([*LINES[:-1], "w29 0.1"], "vector 30 is not a word and 4 numbers"),
        (["one", "two", "three"], "most lines are not a word and numbers"),
        (["0 4", *LINES], "the first line must say how many vectors"),
    ],
)
def test_the_width_is_that_of_most_lines(tmp_path, lines, named):
    file = tmp_path / "v.txt"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=named):
        load_vectors(file)


@pytest.mark.parametrize("first", [["30 4"], []])
def test_a_byte_order_mark_is_no_word(tmp_path, first):
    file = tmp_path / "v.txt"
    file.write_text("\n".join([*first, *LINES]) + "\n", encoding="utf-8-sig")
    vectors = load_vectors(file)
    assert vectors.index_to_key[:2] == ["w0", "w1"]
    np.testing.assert_allclose(vectors.vectors, NUMBERS, atol=1e-4)


def test_words_that_are_not_utf_8_stay_apart(tmp_path):
    file = tmp_path / "v.txt"
    file.write_bytes(b"\xff 1 2\n\xfe 3 4\nplain 5 6\n")
    assert load_vectors(file).index_to_key == [r"\xff", r"\xfe", "plain"]
