"""The in-graph tokenizer gives the engine's ids and texts, on any string and in a SavedModel."""

import json
import os
import random
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import tensorflow as tf
import tokenizers
from gensim.test.utils import datapath
from graph_strings import (
    FOREIGN,
    check_decode,
    check_encode,
    functions,
    random_rows,
    strings,
)
from marks import slow_but

from keraslm.export.to_saved_model.graph import GraphTokenizer
from keraslm.tokenizers import Tokenizer

DATA = Path(os.environ.get("KERASLM_DATA", Path(__file__).parents[2] / "../shared/data"))
VOCAB_SIZE = {"bpe": 1200, "wordpiece": 1200, "word": 1200, "char": None}


@pytest.fixture(scope="module")
def lines():
    text = Path(datapath("lee_background.cor")).read_text(encoding="utf-8")
    return [*text.splitlines()[:100], *[FOREIGN] * 5]


@pytest.fixture(scope="module")
def trained(lines):
    """(tokenizer, encode, decode) of a kind; tracing takes longer than running, so once each."""

    @cache
    def make(kind, lowercase):
        tokenizer = Tokenizer.train(lines, kind, VOCAB_SIZE[kind], lowercase=lowercase)
        return tokenizer, *functions(tokenizer)

    return make


@pytest.fixture(scope="module")
def texts(lines):
    return strings(lines, 10_000)


# === The same ids and texts ===


@pytest.mark.parametrize(
    ("kind", "lowercase", "number"),
    slow_but(
        (0, 1, 2, 3),
        [
            ("bpe", False, 2_000),
            ("char", False, 2_000),
            ("word", False, 2_000),
            ("wordpiece", True, 2_000),
            ("bpe", False, 10_000),
            ("char", False, 10_000),
            ("word", False, 10_000),
            ("word", True, 10_000),
            ("wordpiece", False, 10_000),
            ("wordpiece", True, 10_000),
        ],
    ),
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


def _replace(pattern):
    return tokenizers.normalizers.Replace(tokenizers.Regex(pattern), "")


def _split(pattern, behavior):
    return tokenizers.pre_tokenizers.Split(tokenizers.Regex(pattern), behavior)


def _late_digits():
    parts = tokenizers.pre_tokenizers
    return parts.Sequence([parts.ByteLevel(), parts.Digits()])


def _bpe_option(name, value):
    return lambda engine: setattr(engine.model, name, value)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("bpe", _set("normalizer", tokenizers.normalizers.ByteLevel()), "normalizer; .*ByteLevel"),
        ("bpe", _set("normalizer", _replace(r"\w")), "Replace with this regular expression"),
        ("bpe", _set("pre_tokenizer", tokenizers.pre_tokenizers.Punctuation()), "Punctuation"),
        ("bpe", _set("pre_tokenizer", _split(r"\w+", "isolated")), "Split with this pattern"),
        ("bpe", _set("pre_tokenizer", _split(r"a|ab", "isolated")), "Split with this pattern"),
        ("bpe", _set("pre_tokenizer", _split(r"a||b", "isolated")), "Split with this pattern"),
        ("bpe", _set("pre_tokenizer", _split("a", "removed")), "Split with this behavior"),
        ("bpe", _set("pre_tokenizer", _late_digits()), "a pre-tokenizer after ByteLevel"),
        ("bpe", _set("decoder", tokenizers.decoders.BPEDecoder()), "this decoder"),
        ("bpe", _set("encode_special_tokens", True), "encode_special_tokens"),
        ("bpe", _bpe_option("dropout", 0.1), "dropout in bpe"),
        ("bpe", lambda engine: engine.enable_truncation(8), "truncation or padding"),
        ("bpe", lambda engine: engine.enable_padding(), "truncation or padding"),
        ("bpe", _added(single_word=True), "single_word"),
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
    model = tokenizers.models.Unigram([("<unk>", 0.0), ("a", -1.0)], None)
    with pytest.raises(ValueError, match="unigrams without unk_id; received None. Use a tokenizer"):
        GraphTokenizer(Tokenizer(tokenizers.Tokenizer(model)))


def test_bpe_needs_every_byte():
    engine = tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0}, []))
    engine.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    with pytest.raises(ValueError, match="without a token for each byte"):
        GraphTokenizer(Tokenizer(engine))
