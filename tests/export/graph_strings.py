"""Strings that a tokenizer may trip over, and comparisons of the in-graph twin with the engine."""

import random
import unicodedata

import tensorflow as tf

from keraslm.export.to_saved_model.graph import GraphTokenizer

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
