"""Training, saving, importing; offsets; and what is said when it cannot be."""

import pytest

from keraslm.tokenizers import Tokenizer

TEXTS = ["The quick brown fox jumps over the lazy dog.", "Don't panic!  你好, caf\u00e9 \U0001f600"]


@pytest.fixture(scope="module")
def tokenizers(articles):
    return {
        "bpe": Tokenizer.train(articles, "bpe", 500),
        "wordpiece": Tokenizer.train(articles, "wordpiece", 500, lowercase=True),
        "word": Tokenizer.train(articles, "word", 800),
        "char": Tokenizer.train(articles, "char", None),
    }


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "word", "char"])
def test_saved_and_loaded(tokenizers, kind, tmp_path):
    tokenizer = tokenizers[kind]
    file = tokenizer.save(tmp_path)
    assert file == tmp_path / "tokenizer.json" and tokenizer.kind == kind
    back = Tokenizer.load(tmp_path)
    assert back.to_json() == tokenizer.to_json() and back.kind == kind
    assert back.encode_batch(TEXTS) == [tokenizer.encode(text) for text in TEXTS]
    assert back.roles == tokenizer.roles and back.roles.source == "trained"
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["tokenizer.json", "tokenizer_config.json"]


def test_saved_over_something_else(tokenizers, tmp_path):
    (tmp_path / "config.json").write_text('{"keraslm_version": "0.1.0"}')
    with pytest.raises(FileExistsError, match="config.json is no tokenizer, and stays"):
        tokenizers["bpe"].save(tmp_path / "config.json")
    assert Tokenizer.load(tokenizers["bpe"].save(tmp_path / "mine.json")).vocab_size == 500
    tokenizers["char"].save(tmp_path / "mine.json")


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "word", "char"])
def test_size_ids_and_special_tokens(tokenizers, kind):
    tokenizer = tokenizers[kind]
    if kind != "char":
        assert len(tokenizer) == {"bpe": 500, "wordpiece": 500, "word": 800}[kind]
    assert len(set(tokenizer.vocabulary)) == tokenizer.vocab_size
    for i, token in enumerate(tokenizer.vocabulary):
        assert tokenizer.token_to_id(token) == i and tokenizer.id_to_token(i) == token
    assert tokenizer.eos_id is not None
    assert set(tokenizer.special_tokens.values()) <= set(range(tokenizer.vocab_size))


def test_bytes_lose_nothing(tokenizers):
    for text in [*TEXTS, "", "\x00\t\n", "\u200d\ufffd", "a" * 1000]:
        assert tokenizers["bpe"].decode(tokenizers["bpe"].encode(text)) == text


def test_words_and_pieces_decode_with_spaces(tokenizers):
    for kind in ("word", "wordpiece"):
        text = "the people of the world"
        assert tokenizers[kind].decode(tokenizers[kind].encode(text)) == text


@pytest.mark.parametrize("kind", ["wordpiece", "word", "char"])
def test_offsets_point_into_the_text(tokenizers, kind):
    text = "The people of Australia, said  the police"
    encoding = tokenizers[kind].encode_with_offsets(text)
    assert encoding.ids == tokenizers[kind].encode(text)
    for i, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
        token = tokenizers[kind].id_to_token(i)
        if token not in tokenizers[kind].special_tokens:
            piece = text[start:end]
            assert (piece.lower() if kind == "wordpiece" else piece) == token.removeprefix("##")


def test_bert_adds_its_special_tokens(tokenizers):
    tokenizer = tokenizers["wordpiece"]
    ids = tokenizer.encode("people", add_special_tokens=True)
    assert (ids[0], ids[-1]) == (tokenizer.special_id("cls"), tokenizer.special_id("sep"))
    assert tokenizer.decode(ids) == "people"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], "bpe", 300), "texts are empty"),
        ((["  ", "\n"], "bpe", 300), "texts are empty"),
        ((["abc"], "bpe", 200), "at least 257"),
        ((["abc"], "bpe", None), "must be a number"),
        ((["abc"], "bytes", 300), "kind must be one of"),
        (("abc", "bpe", 300), r"received one string: \[text\]"),
    ],
)
def test_training_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        Tokenizer.train(*arguments)


@pytest.mark.filterwarnings("ignore:kind='word' makes one word of whole clauses")
@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "word", "char"])
@pytest.mark.parametrize("size", [300, 1000, 8192])
def test_vocab_size_is_the_most_in_every_script(kind, size):
    chinese = ["".join(chr(0x4E00 + (7 * i + j) % 3000) for j in range(200)) for i in range(40)]
    english = ["The quick brown fox jumps over the lazy dog, again and again."] * 9
    for texts in (chinese, english, chinese + english):
        tokenizer = Tokenizer.train(texts, kind, size)
        assert tokenizer.vocab_size <= size
    if kind in ("wordpiece", "char") and size == 8192:
        ids = tokenizer.encode(chinese[0])
        assert tokenizer.special_id("unk") not in ids
    assert Tokenizer.train(["abc"], kind, size).vocab_size < size


def test_min_frequency_is_of_characters_too():
    texts = ["aaab", "aac"]
    assert {"b", "c"} <= set(Tokenizer.train(texts, "char").vocabulary)
    assert "b" not in Tokenizer.train(texts, "char", min_frequency=2).vocabulary


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="No tokenizer at"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="not a readable tokenizer.json"):
        Tokenizer.load(tmp_path)
    (tmp_path / "vocab.txt").write_text("a\nb\n")
    with pytest.raises(ValueError, match=r"has no \[UNK\]"):
        Tokenizer.from_bert_vocab(tmp_path / "vocab.txt")
    with pytest.raises(FileNotFoundError, match="Give GPT-2's"):
        Tokenizer.from_gpt2_files(tmp_path / "vocab.json", tmp_path / "merges.txt")


@pytest.mark.parametrize(
    ("text", "comes_back"),
    [
        ("Un Café à Genève", "un cafe a geneve"),  # as BERT
        ("Ένας Άνθρωπος", "ενας ανθρωπος"),
        ("हिन्दी विकिपीडिया में", "हिन्दी विकिपीडिया में"),
        ("Мой Край", "мой край"),
        ("วัตถุ ท้องฟ้า", "วัตถุ ท้องฟ้า"),
        ("한국어 문장", "한국어 문장"),
        ("がっこう ガラス", "がっこう ガラス"),
    ],
)
def test_lower_case_takes_no_letters_from_other_scripts(text, comes_back):
    tokenizer = Tokenizer.train([text] * 3, "wordpiece", 200, lowercase=True)
    assert tokenizer.decode(tokenizer.encode(text)) == comes_back
    if "é" not in text and comes_back == text.lower():  # few foreign words change nothing
        mixed = ["some english words with a café"] * 50 + [text]
        stripped = Tokenizer.train(mixed, "wordpiece", 300, lowercase=True)
        assert stripped.decode(stripped.encode("café")) == "cafe"


@pytest.mark.parametrize("value", ["no", 1, None])
def test_whether_control_tokens_count_is_yes_or_no(tokenizers, value):
    for encode in (tokenizers["bpe"].encode, tokenizers["bpe"].prompt_ids):
        with pytest.raises(ValueError, match="allow_control_tokens must be True or False"):
            encode("a", allow_control_tokens=value)
    with pytest.raises(ValueError, match="allow_control_tokens must be True or False"):
        tokenizers["bpe"].encode_batch(["a"], allow_control_tokens=value)


def test_bytes_are_no_text(tokenizers):
    with pytest.raises(ValueError, match="Decode it"):
        tokenizers["bpe"].encode(b"abc")
    with pytest.raises(ValueError, match="role must be one of"):
        tokenizers["bpe"].special_id("end")


@pytest.mark.data
def test_gpt2_and_bert(data_folder):
    gpt2 = data_folder / "vocab" / "gpt2"
    tokenizer = Tokenizer.from_gpt2_files(gpt2 / "vocab.json", gpt2 / "merges.txt")
    # The ids that GPT-2's own encoder gives.
    assert tokenizer.encode("Hello world, don't") == [15496, 995, 11, 836, 470]
    assert tokenizer.eos_id == tokenizer.vocab_size - 1 == 50256
    bert = Tokenizer.from_bert_vocab(data_folder / "vocab" / "bert-base-chinese" / "vocab.txt")
    assert bert.vocab_size == 21128
    assert bert.encode("你好", add_special_tokens=True) == [101, 872, 1962, 102]
