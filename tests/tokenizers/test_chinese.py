"""Chinese: words by jieba in a file that needs no jieba, clauses that became words, blanks."""

import sys

import pytest

from keraslm.tokenizers import TextStream, Tokenizer

TEXTS = [
    "我们爱北京天安门，天安门上太阳升。",
    "北京的太阳和天安门的人们。\nGPT is a 语言模型, and 我们 爱 语言模型。",
    "人们在北京天安门爱我们的语言模型。",
] * 3
HARD = [*TEXTS[:3], " GPT  is 语言\n", "太阳太阳", "", "模型 GPT", "升升升爱"]


@pytest.fixture(scope="module")
def tokenizer():
    pytest.importorskip("jieba")
    return Tokenizer.train(TEXTS, "jieba", None)


def tokens_of(tokenizer, text):
    return [tokenizer.id_to_token(i) for i in tokenizer.encode(text)]


def test_tokens_are_the_words_of_jieba(tokenizer):
    import jieba

    for text in TEXTS[:3]:
        words = [word for word in jieba.cut(text) if not word.isascii()]
        assert [t for t in tokens_of(tokenizer, text) if not t.strip("▁").isascii()] == words
    assert "语言" in tokens_of(tokenizer, "语言模型") and "▁is" in tokens_of(tokenizer, "GPT is a")


def test_texts_come_back_with_their_blanks_and_no_others(tokenizer):
    for text in HARD:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        stream = TextStream(tokenizer)
        assert "".join(map(stream.add, ids)) + stream.close() == text


def test_the_file_needs_no_jieba(tokenizer, tmp_path, monkeypatch):
    import tokenizers

    file = tokenizer.save(tmp_path)
    monkeypatch.setitem(sys.modules, "jieba", None)
    engine = tokenizers.Tokenizer.from_file(str(file))
    for text in HARD:
        assert engine.encode(text).ids == tokenizer.encode(text)
        assert Tokenizer.load(tmp_path).encode(text) == tokenizer.encode(text)
    assert tokenizer.special_id("unk") == 1 and tokenizer.eos_id == 2
    with pytest.raises(ImportError, match="kind='jieba' needs jieba: pip install jieba"):
        Tokenizer.train(TEXTS, "jieba")


def test_other_runtimes_read_it(tokenizer):
    import tensorflow as tf

    from keraslm.export.to_saved_model.graph import GraphTokenizer
    from keraslm.export.to_web.readable import check_tokenizer

    check_tokenizer(tokenizer)
    twin = GraphTokenizer(tokenizer)
    assert twin.encode(tf.constant(HARD)).to_list() == tokenizer.encode_batch(HARD)


def test_size_frequency_and_lower_case():
    pytest.importorskip("jieba")
    for size in (10, 30):
        assert Tokenizer.train(TEXTS, "jieba", size).vocab_size <= size
    rare = Tokenizer.train([*TEXTS, "清华大学"], "jieba", None)
    assert "清华大学" not in rare.vocabulary and "清" in rare.vocabulary
    often = Tokenizer.train([*TEXTS, "清华大学"], "jieba", None, min_frequency=1)
    assert "清华大学" in often.vocabulary
    lower = Tokenizer.train(TEXTS, "jieba", None, lowercase=True)
    assert lower.decode(lower.encode("我们GPT")) == "我们gpt" and "gpt" in lower.vocabulary


@pytest.mark.parametrize(
    "text", ["我们爱北京天安门，天安门上太阳升。", "吾輩は猫である。名前はまだ無い。"]
)
def test_words_that_are_clauses_are_said(text):
    with pytest.warns(UserWarning, match="kind='word' makes one word of whole clauses.*'jieba'"):
        Tokenizer.train([text] * 3, "word", None)
    for kind in ("char", "bpe", "wordpiece"):
        Tokenizer.train([text] * 3, kind, 400)
    Tokenizer.train(["我们 爱 北京 天安门"] * 3, "word", None)


@pytest.mark.parametrize("kind", ["word", "wordpiece"])
def test_words_split_before_are_joined_without_blanks(kind):
    jieba = pytest.importorskip("jieba")
    texts = [" ".join(jieba.cut(text)) for text in TEXTS if text.isprintable()]
    tokenizer = Tokenizer.train(texts, kind, 200)
    for split, text in zip(texts, [text for text in TEXTS if text.isprintable()], strict=True):
        assert tokenizer.decode(tokenizer.encode(split)) == text
