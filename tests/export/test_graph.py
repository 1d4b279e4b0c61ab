"""The in-graph tokenizer gives the engine's ids and texts, on any string and in a SavedModel."""

import json
import os
import random
import subprocess
import sys
import unicodedata
from functools import cache
from pathlib import Path

import pytest
import tensorflow as tf
import tokenizers
from gensim.test.utils import datapath

from keraslm.export.to_saved_model.graph import GraphTokenizer
from keraslm.tokenizers import Tokenizer

DATA = Path(os.environ.get("KERASLM_DATA", Path(__file__).parents[2] / "../shared/data"))
VOCAB_SIZE = {"bpe": 1200, "wordpiece": 1200, "word": 1200, "char": None}
FOREIGN = "Straße ﬁn İstanbul ΣΑΣ каждый день 中文字符 日本語 हिन्दी 한국어 éè"

# Where Unicode is odd: final sigma, dotted i, ligatures, jamo, marks that block or are reordered,
# NUL, byte order mark, non-characters, emoji that are joined.
ODD = "ςΣİıſKÅßẞﬁ가힣ᄀ\uf967\u034f\u302e\u302f\U0001d165\U0001d16d\U0001d15e\U00016ff0\u0344\u0f73"
ODD += "\x00\x1c\x7f\ufffd\ufeff\ufffe\U0010ffff\u00ad\u200b\u200d\u180e\ufe0f👩💻🏽"
CONTRACTIONS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'", "''", "'S", "'l", "'r", " '"]
CHARACTERS = [chr(c) for c in range(0x20000) if not 0xD800 <= c < 0xE000]
SPACES = [c for c in CHARACTERS if c.isspace()]
DIGITS = [c for c in CHARACTERS if unicodedata.category(c)[0] == "N"]
MARKS = [c for c in CHARACTERS if unicodedata.category(c)[0] == "M"]


@pytest.fixture(scope="module")
def lines():
    text = Path(datapath("lee_background.cor")).read_text(encoding="utf-8")
    return [*text.splitlines()[:100], *[FOREIGN] * 5]


def strings(lines, number, seed=0):
    """Generated strings, made of everything that a tokenizer may trip over."""
    rng = random.Random(seed)
    words = " ".join(lines).split()
    special = ["<|endoftext|>", "<|endoftext|", "<pad>", "[MASK]", "[CLS]", "[UNK", "<unk>"]
    pools = [
        (20, " "), (4, "\n\t\r"), (10, SPACES), (10, CONTRACTIONS), (7, DIGITS), (7, MARKS),
        (6, ODD), (6, "#[]<>|!.,?-_/“”"), (4, special), (18, words),
        (5, "中文日本語한국어éèñüøабв"), (4, CHARACTERS),
    ]  # fmt: skip
    weights, pools = zip(*pools, strict=True)

    def part():
        if rng.random() < 0.03:
            plane = rng.randrange(1, 17) << 16
            return chr(plane + rng.randrange(0x10000))
        return rng.choice(rng.choices(pools, weights)[0])

    texts = ["", " ", "  ", "a" * 300, " " * 99 + "a", "\n" * 50, "'" * 40, "x" * 101, "字" * 101]
    while len(texts) < number:
        if rng.random() < 0.01:
            texts.append(part() * rng.randrange(2, 60))
        else:
            texts.append("".join(part() for _ in range(rng.randrange(1, 18))))
    # The loop over merges is as long as the longest word of a batch asks for.
    return sorted(texts, key=len)


def functions(tokenizer):
    """(encode, decode), to be traced."""
    twin = GraphTokenizer(tokenizer)
    ragged = tf.RaggedTensorSpec([None, None], tf.int32)
    return (
        tf.function(twin.encode, input_signature=[tf.TensorSpec([None], tf.string)]),
        tf.function(twin.decode, input_signature=[ragged]),
    )


@pytest.fixture(scope="module")
def trained(lines):
    """(tokenizer, encode, decode) of a kind; tracing takes longer than running, so once each."""

    @cache
    def make(kind, lowercase):
        tokenizer = Tokenizer.train(lines, kind, VOCAB_SIZE[kind], lowercase=lowercase)
        return tokenizer, *functions(tokenizer)

    return make


def check_encode(tokenizer, encode, texts, batch=2500):
    expected = tokenizer.encode_batch(texts)
    for start in range(0, len(texts), batch):
        found = encode(tf.constant(texts[start : start + batch])).to_list()
        for text, ids, twin in zip(texts[start:], expected[start:], found, strict=False):
            assert twin == ids, repr(text)
    return expected


def check_decode(tokenizer, decode, rows):
    found = decode(tf.ragged.constant(rows, tf.int32, ragged_rank=1)).numpy()
    for row, text in zip(rows, found, strict=True):
        assert text.decode() == tokenizer.decode(row), row


def random_rows(tokenizer, number=1000):
    rng = random.Random(1)
    size = tokenizer.vocab_size + 20  # some ids are no token
    return [[rng.randrange(size) for _ in range(rng.randrange(12))] for _ in range(number)]


@pytest.fixture(scope="module")
def texts(lines):
    return strings(lines, 10_000)


# === The same ids and texts ===


@pytest.mark.parametrize(
    ("kind", "lowercase", "number"),
    [
        ("bpe", False, 10_000),
        ("char", False, 10_000),
        ("word", False, 10_000),
        ("word", True, 2_000),
        ("wordpiece", False, 2_000),
        ("wordpiece", True, 10_000),
    ],
)
def test_fuzz(kind, lowercase, number, trained, texts):
    tokenizer, encode, decode = trained(kind, lowercase)
    expected = check_encode(tokenizer, encode, texts[:: 10_000 // number])
    check_decode(tokenizer, decode, [*expected[::10], *random_rows(tokenizer)])


def test_prefix_space(lines, texts):
    tokenizer = Tokenizer.train(lines, "bpe", 500)
    tokenizer.engine.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)
    check_encode(tokenizer, GraphTokenizer(tokenizer).encode, texts[::10])


def test_broken_bytes(trained):
    tokenizer, encode, decode = trained("bpe", False)
    rng = random.Random(2)
    lead = [tokenizer.token_to_id(c) for c in "ÃÂâðíàôïĢ¿½ŁĿ"]
    rows = [[rng.choice(lead) for _ in range(9)] for _ in range(2000)]
    check_decode(tokenizer, decode, rows)
    broken = [b"\xffabc", b"a\xe4\xb8", b"\xed\xa0\x80", b"\xf0\x9f\x98 x"]
    expected = [tokenizer.encode(text.decode("utf-8", "replace")) for text in broken]
    assert encode(tf.constant(broken)).to_list() == expected


def test_merges_in_any_order(lines, texts):
    spec = json.loads(Tokenizer.train(lines, "bpe", 600).to_json())
    random.Random(3).shuffle(spec["model"]["merges"])
    tokenizer = Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(spec)))
    texts = [text for text in texts if len(text) < 30][::5]
    check_encode(tokenizer, GraphTokenizer(tokenizer).encode, texts)


def test_special_tokens_that_overlap():
    special = ("<a>", "<a><b>", "b>c", "aa", "|\\E.|", "<unk>", "中")
    tokenizer = Tokenizer.train(["abc <>|\\E. 中 文"] * 3, "bpe", 263, special_tokens=special)
    rng = random.Random(4)
    parts = [*special, "a", "b", "c", "<", ">", " ", "|", "文"]
    texts = ["".join(rng.choices(parts, k=rng.randrange(12))) for _ in range(2000)]
    check_encode(tokenizer, GraphTokenizer(tokenizer).encode, texts)


def test_shapes_and_dtypes():
    twin = GraphTokenizer(Tokenizer.train(["to be or not to be"], "char", None, min_frequency=1))
    ids = twin.encode(tf.constant([], tf.string))
    assert ids.dtype == tf.int32
    assert ids.to_list() == []
    assert twin.decode(ids).shape == (0,)
    ids = twin.encode(tf.constant(["to be", "", "or not"]))
    assert [text.decode() for text in twin.decode(ids).numpy()] == ["to be", "", "or not"]
    dense = twin.decode(ids.to_tensor(-1))  # ids that are no token are left out
    assert [text.decode() for text in dense.numpy()] == ["to be", "", "or not"]


# === In a SavedModel, without keraslm ===

LOADER = """
import json, sys
import tensorflow as tf
texts = json.load(sys.stdin)
model = tf.saved_model.load(sys.argv[1])
ids = model.encode(tf.constant(texts))
decoded = [text.decode() for text in model.decode(ids).numpy()]
assert "keraslm" not in sys.modules
print(json.dumps([ids.to_list(), decoded]))
"""


def test_saved_model(trained, texts, tmp_path):
    tokenizer, encode, decode = trained("bpe", False)
    module, sample = tf.Module(), texts[::20]
    module.encode, module.decode = encode, decode
    tf.saved_model.save(module, str(tmp_path))
    result = subprocess.run(
        [sys.executable, "-c", LOADER, str(tmp_path)],
        input=json.dumps(sample),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    ids = tokenizer.encode_batch(sample)
    assert json.loads(result.stdout.splitlines()[-1]) == [ids, tokenizer.decode_batch(ids)]


# === The vocabularies of GPT-2 and BERT ===


@pytest.mark.data
def test_gpt2(texts):
    folder = DATA / "vocab/gpt2"
    if not folder.is_dir():
        pytest.skip(f"no {folder}: GPT-2's vocab.json and merges.txt")
    tokenizer = Tokenizer.from_gpt2_files(folder / "vocab.json", folder / "merges.txt")
    encode, decode = functions(tokenizer)
    expected = check_encode(tokenizer, encode, texts)
    check_decode(tokenizer, decode, [*expected[::10], *random_rows(tokenizer)])


@pytest.mark.data
@pytest.mark.parametrize("lowercase", [True, False])
def test_bert_chinese(lowercase, texts):
    file = DATA / "vocab/bert-base-chinese/vocab.txt"
    if not file.is_file():
        pytest.skip(f"no {file}: BERT's vocabulary")
    tokenizer = Tokenizer.from_bert_vocab(file, lowercase=lowercase)
    encode, decode = functions(tokenizer)
    expected = check_encode(tokenizer, encode, texts)
    check_decode(tokenizer, decode, [*expected[::10], *random_rows(tokenizer)])


# === What is refused ===


def _added(**flags):
    def change(engine):
        flags.setdefault("special", True)
        engine.add_tokens([tokenizers.AddedToken("<x>", **flags)])

    return change


def _set(name, value):
    return lambda engine: setattr(engine, name, value)


def _bpe_option(name, value):
    return lambda engine: setattr(engine.model, name, value)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("bpe", _set("normalizer", tokenizers.normalizers.NFC()), "a normalizer before bpe"),
        ("bpe", _set("pre_tokenizer", tokenizers.pre_tokenizers.Whitespace()), "ByteLevel"),
        ("bpe", _set("decoder", tokenizers.decoders.Fuse()), "this decoder"),
        ("bpe", _set("encode_special_tokens", True), "encode_special_tokens"),
        ("bpe", _bpe_option("dropout", 0.1), "dropout in bpe"),
        ("bpe", lambda engine: engine.enable_truncation(8), "truncation or padding"),
        ("bpe", lambda engine: engine.enable_padding(), "truncation or padding"),
        ("bpe", _added(special=False), "added tokens that are not special"),
        ("bpe", _added(lstrip=True), "lstrip, rstrip or single_word"),
        ("bpe", _added(single_word=True), "lstrip, rstrip or single_word"),
        ("bpe", _added(normalized=True), "only some are normalized"),
        ("wordpiece", _added(normalized=True), "found in the normalized text"),
        ("word", _set("normalizer", tokenizers.normalizers.NFKC()), "this normalizer"),
        ("word", _set("pre_tokenizer", tokenizers.pre_tokenizers.Digits()), "this pre-tokenizer"),
        ("char", _set("pre_tokenizer", None), "this pre-tokenizer"),
    ],
)
def test_unsupported(kind, change, message):
    sizes = {"bpe": 260, "wordpiece": 20, "word": None, "char": None}
    tokenizer = Tokenizer.train(["to be or not to be, that is the question"] * 9, kind, sizes[kind])
    change(tokenizer.engine)
    with pytest.raises(ValueError, match=message):
        GraphTokenizer(tokenizer)


def test_other_models():
    model = tokenizers.models.Unigram([("<unk>", 0.0), ("a", -1.0)], 0)
    with pytest.raises(ValueError, match="received 'Unigram'. Use a tokenizer without it, or"):
        GraphTokenizer(Tokenizer(tokenizers.Tokenizer(model)))


def test_bpe_needs_every_byte():
    engine = tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0}, []))
    engine.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    with pytest.raises(ValueError, match="without a token for each byte"):
        GraphTokenizer(Tokenizer(engine))
