"""Texts as token lists, and as numbers."""

import gzip
import unicodedata

import numpy as np
import pytest

from keraslm.embeddings import Sentences
from keraslm.embeddings.sentences import encode
from keraslm.tokenizers import Tokenizer

TEXT = "To be,  or not to be.\n\nThat's the 2nd Question!"


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("words", [["to", "be", "or", "not", "to", "be"], ["that's", "the", "2nd", "question"]]),
        ("whitespace", [line.split() for line in TEXT.split("\n") if line]),
        ("characters", [list("Tobe,ornottobe."), list("That'sthe2ndQuestion!")]),
        (lambda line: line.split(","), [["To be", "  or not to be."], [""], [TEXT.split("\n")[2]]]),
    ],
)
def test_units(unit, expected, tmp_path):
    assert list(Sentences([TEXT], unit)) == expected
    (tmp_path / "t.txt").write_text(TEXT, encoding="utf-8")
    assert list(Sentences(tmp_path / "t.txt", unit)) == expected
    with gzip.open(tmp_path / "t.txt.gz", "wt", encoding="utf-8") as file:
        file.write(TEXT)
    sentences = Sentences(str(tmp_path / "t.txt.gz"), unit)
    assert list(sentences) == expected == list(sentences)  # read again for each pass


def test_chinese():
    text = "我们 爱北京天安门。"
    assert next(iter(Sentences([text], "characters"))) == list("我们爱北京天安门。")
    jieba = pytest.importorskip("jieba")
    assert jieba and next(iter(Sentences([text], "jieba")))[:2] == ["我们", "爱"]


def test_tokens_of_a_tokenizer(articles):
    tokenizer = Tokenizer.train(articles[:20], vocab_size=300)
    names = tokenizer.vocabulary
    expected = [names[i] for i in tokenizer.encode("Some words")]
    assert list(Sentences(["Some words"], tokenizer)) == [expected]
    with pytest.raises(ValueError, match="a tokenizer lower-cases by itself"):
        Sentences(["x"], tokenizer, lower=True)


def test_token_lists_and_one_pass_iterators():
    lists = [["a b", "c"], ["\n"]]
    assert list(Sentences(lists)) == lists
    once = Sentences(iter(["one two"]))
    assert list(once) == list(once) == [["one", "two"]]
    assert list(Sentences(["Ab cd"], "words", lower=False)) == [["Ab", "cd"]]
    assert list(Sentences([])) == []


def test_a_long_file_comes_in_blocks(tmp_path):
    line = "some words of a line\n"
    (tmp_path / "long.txt").write_text(line * 120_000)
    blocks = list(Sentences(tmp_path / "long.txt").blocks())
    assert len(blocks) > 2 and max(map(len, blocks)) < 400_000
    assert sum(block.count("words") for block in blocks) == 120_000


@pytest.mark.parametrize("corpus", [b"bytes", 5, {"a": 1}])
def test_no_corpus(corpus):
    with pytest.raises(ValueError, match="corpus must be a path or an iterable"):
        Sentences(corpus)


def test_misuse_is_told(tmp_path):
    with pytest.raises(ValueError, match="unit must be 'words'"):
        Sentences(["x"], "sentences")
    with pytest.raises(FileNotFoundError, match="No file or folder"):
        list(Sentences(tmp_path / "none.txt"))
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    with pytest.raises(ValueError, match="is not utf-8 text"):
        list(Sentences(tmp_path / "latin.txt"))
    with pytest.raises(ValueError, match="mixes token lists with texts"):
        list(Sentences([["a"], "b"]))


@pytest.mark.parametrize("in_file", [False, True])
def test_encode_counts_prunes_and_closes_gaps(tmp_path, in_file):
    sentences = Sentences(["b a a stop\nonce b a", "a c c\n"], "whitespace")
    text = encode(sentences, 2, stop_words=["stop"], path=tmp_path / "ids" if in_file else None)
    assert text.words == ["a", "b", "c"] and text.counts.tolist() == [4, 2, 2]
    kept = [i for i in text.ids.tolist() if i >= 0]
    assert kept == [1, 0, 0, 1, 0, 0, 2, 2]
    lines = "".join("|" if i < 0 else text.words[i] for i in text.ids).strip("|").split("|")
    assert [line for line in lines if line] == ["baa", "ba", "acc"]
    assert text.ids.dtype == np.int32
    assert encode(sentences, 1, max_size=1).words == ["a"]


def test_encode_nothing():
    for corpus in ([], ["once upon"]):
        with pytest.raises(ValueError, match="No word occurs min_count=5 times"):
            encode(Sentences(corpus))


def test_words_split_without_python_are_the_same(monkeypatch, tmp_path):
    pytest.importorskip("numba")
    from keraslm.embeddings import sentences as module

    rng = np.random.default_rng(0)
    pieces = [*"abcdé中😀", "word", " ", " ", "\n", "\t", "\x1c", "\v", "  \n\n"]
    for seed, more in enumerate(["", "\u3000", "\x85", "".join(f" w{i}" for i in range(9999))]):
        text = "".join(rng.choice([*pieces, more], 3000)) + "end"
        (tmp_path / f"{seed}.txt").write_text(text, encoding="utf-8", newline="")
    found = []
    for kernel in (module._kernel, lambda: None):
        monkeypatch.setattr(module, "_kernel", kernel)
        found.append(encode(Sentences(tmp_path, "whitespace"), 1))
        found.append(encode(Sentences(["a b\na", "", "c a"], "whitespace"), 1))
    for fast, slow in zip(found[:2], found[2:], strict=True):
        assert fast.words == slow.words and fast.counts.tolist() == slow.counts.tolist()
        np.testing.assert_array_equal(fast.ids, slow.ids)


SCRIPTS = {
    "Hindi": "हिन्दी विकिपीडिया में",
    "Thai": "วัตถุ ท้องฟ้า",
    "Tamil": "தமிழ் மொழி",
    "Malayalam, with a joiner at the end": "അവന്\u200d മലയാളം",
    "Sinhala": "ශ්\u200dරී ලංකාව",
    "Arabic": "مُحَمَّد كَتَبَ",
    "Persian": "می\u200cخواهم کتاب",
    "Hebrew": 'שָׁלוֹם צה״ל צה"ל ג׳ירפה',
    "accents apart": unicodedata.normalize("NFD", "café déjà tiếng việt край"),
    "Korean letters apart": unicodedata.normalize("NFD", "한국어 문장"),
    "Japanese marks apart": unicodedata.normalize("NFD", "がっこう ガラス"),
    "apostrophes": "don't l’été ʻokina col·lecció",
    "emoji": "❤️ 👩\u200d👩\u200d👧 👍🏽 🇩🇪 1️⃣ 👩🏽\u200d❤️\u200d👨🏻",
    "Mongolian": "ᠮᠣᠩᠭᠣᠯ ᠪᠢᠴᠢᠭ",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_words_are_whole_in_every_script(name):
    text = SCRIPTS[name]
    assert list(Sentences([text])) == [text.split()]


def test_punctuation_and_symbols_are_no_words():
    text = "¿Qué? «हिन्दी»। (שָׁלוֹם), “x” – 3 + 4 = 7 © ท้อง\u200bฟ้า 😀😀!"
    expected = "qué हिन्दी שָׁלוֹם x 3 4 7 ท้อง ฟ้า 😀 😀"
    assert list(Sentences([text])) == [expected.split()]


@pytest.mark.peer
@pytest.mark.parametrize("name", sorted(SCRIPTS.keys() - {"Thai", "Japanese marks apart"}))
def test_words_are_those_of_unicode(name):
    """Where UAX 29 has a rule: it leaves Thai and Japanese to dictionaries."""
    regex = pytest.importorskip("regex")
    text = SCRIPTS[name]
    pieces = regex.split(r"\b", text, flags=regex.VERSION1 | regex.WORD)
    assert list(Sentences([text])) == [[piece for piece in pieces if piece.strip()]]


CLAUSES = {
    "Chinese": "我们爱北京天安门，天安门上太阳升。",
    "Japanese": "吾輩は猫である。名前はまだ無い。",
    "Thai": "ภาษาไทยเป็นภาษาที่มีระดับเสียงของคำแน่นอน",
}


@pytest.mark.parametrize("name", CLAUSES)
def test_clauses_that_become_words_are_said_once(name):
    sentences = Sentences([CLAUSES[name]])
    with pytest.warns(UserWarning, match="unit='words' makes one word of whole clauses") as seen:
        assert list(sentences) == list(sentences)
    assert len(seen) == 1
    list(Sentences([CLAUSES[name]], "characters"))
    list(Sentences(["我们 爱 北京 天安门", "an English text on 北京天安门 and more in English"]))


def test_stop_words(tmp_path):
    texts = ["The king and the queen of Spain\nare", "我们 爱 北京 的 天安门"]
    assert list(Sentences(texts, stop_words="english"))[0] == ["king", "queen", "spain"]
    assert list(Sentences(texts, lower=False, stop_words="english"))[0] == [
        "king", "queen", "Spain",
    ]  # fmt: skip
    assert list(Sentences(texts, stop_words="chinese"))[-1] == ["爱", "北京", "天安门"]
    for unit in ("words", "whitespace"):
        sentences = Sentences(texts, unit, stop_words=["king", "爱"])
        words = {word for sentence in sentences for word in sentence}
        assert not words & {"king", "爱"} and {"queen", "的"} <= words
        assert set(encode(sentences, 1).words) == words
    assert "king" not in encode(Sentences(texts), 1, stop_words=iter(["king"])).words
    for wrong in ("the", "french", 5, [1]):
        with pytest.raises(ValueError, match="stop_words"):
            Sentences(texts, stop_words=wrong)
