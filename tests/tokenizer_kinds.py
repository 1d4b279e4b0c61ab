"""Small tokenizers of every kind, and tokens to try them on."""

import json
import random

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

LINES = [
    "the cat sat on the mat , and it 's warm . do n't you see ?", "a dog ran over the hill",
    "今天天气很好，我们去公园玩吧。", "naïve café Straße", "mixed 你好 world 👩\u200d👧 🇨🇳",
    "def f(x):\n\treturn  x", "it's , he said . do n't ! é e\u0301 \u2028 \u3000 end",
]  # fmt: skip
SPECIAL = ["<s>", "</s>", "<unk>"]
BERT = ["[UNK]", "[CLS]", "[SEP]", "[MASK]", "[PAD]"]


def trained(model, trainer, **parts):
    engine = tokenizers.Tokenizer(model)
    for name, part in parts.items():
        setattr(engine, name, part)
    engine.train_from_iterator(LINES * 5, trainer)
    return engine


def byte_level(prefix=False):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return trained(
        models.BPE(),
        trainers.BpeTrainer(
            vocab_size=330, initial_alphabet=alphabet, special_tokens=SPECIAL, show_progress=False
        ),
        pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=prefix),
        decoder=decoders.ByteLevel(),
    )


def byte_fallback(strip):
    """Llama 2 with the strip, Gemma without."""
    steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    replace = normalizers.Replace(" ", "\u2581")
    engine = trained(
        models.BPE(unk_token="<unk>"),
        trainers.BpeTrainer(
            vocab_size=150, special_tokens=["<unk>"], limit_alphabet=30, show_progress=False
        ),
        normalizer=normalizers.Sequence([normalizers.Prepend("\u2581"), replace])
        if strip
        else replace,
        decoder=decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if strip else steps),
    )
    data = json.loads(engine.to_str())
    for byte in range(256):
        data["model"]["vocab"][f"<0x{byte:02X}>"] = len(data["model"]["vocab"])
    data["model"].update(byte_fallback=True, fuse_unk=True)
    engine = tokenizers.Tokenizer.from_str(json.dumps(data))
    engine.add_special_tokens(SPECIAL[:2])
    return engine


def metaspace(scheme):
    return trained(
        models.Unigram(),
        trainers.UnigramTrainer(
            vocab_size=200, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
        ),
        pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme=scheme),
        decoder=decoders.Metaspace(prepend_scheme=scheme),
    )


def wordpiece(cleanup):
    return trained(
        models.WordPiece(unk_token="[UNK]"),
        trainers.WordPieceTrainer(vocab_size=200, special_tokens=BERT, show_progress=False),
        normalizer=normalizers.BertNormalizer(),
        pre_tokenizer=pre_tokenizers.BertPreTokenizer(),
        decoder=decoders.WordPiece(cleanup=cleanup),
    )


def words(**parts):
    return trained(
        models.WordLevel(unk_token="<unk>"),
        trainers.WordLevelTrainer(special_tokens=SPECIAL, show_progress=False),
        **{"pre_tokenizer": pre_tokenizers.Whitespace(), **parts},
    )


def suffix():
    return trained(
        models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"),
        trainers.BpeTrainer(
            vocab_size=300, special_tokens=SPECIAL, end_of_word_suffix="</w>", show_progress=False
        ),
        pre_tokenizer=pre_tokenizers.Whitespace(),
        decoder=decoders.BPEDecoder(suffix="</w>"),
    )


KINDS = {
    "byte-level": byte_level,
    "byte-level with prefix space": lambda: byte_level(True),
    "llama 2": lambda: byte_fallback(True),
    "gemma": lambda: byte_fallback(False),
    "metaspace always": lambda: metaspace("always"),
    "metaspace first": lambda: metaspace("first"),
    "wordpiece": lambda: wordpiece(True),
    "wordpiece without clean-up": lambda: wordpiece(False),
    "words": lambda: words(decoder=decoders.WordPiece(cleanup=True)),
    "no decoder": words,
    "characters": lambda: words(
        pre_tokenizer=pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]"), "isolated"),
        decoder=decoders.Fuse(),
    ),
    "bpe with suffix": suffix,
}


def cases(tokenizer, number):
    """Pairs of a prompt and new ids: texts cut at a token, and any tokens."""
    rng = random.Random(0)
    for i in range(number):
        if i % 2:
            ids = tokenizer.encode("".join(rng.sample(LINES, 2)))
            cut = rng.randrange(len(ids))
            prompt, new = ids[:cut], ids[cut:]
        else:
            prompt = [rng.randrange(tokenizer.vocab_size) for _ in range(rng.randrange(8))]
            new = [rng.randrange(tokenizer.vocab_size) for _ in range(30)]
        while tokenizer.decode(prompt).endswith("\ufffd"):  # a str never ends inside a character
            prompt = prompt[:-1]
        yield prompt, new
