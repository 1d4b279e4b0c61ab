"""`TextStream`: joined, its pieces are what the engine decodes, for every kind of tokenizer."""

import dataclasses
import json
import random
import time

import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from keraslm.tokenizers import TextStream, Tokenizer
from keraslm.tokenizers.stream import StopStrings, continuation

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


@pytest.mark.parametrize("clean_up", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_joined_it_is_what_follows_the_prompt(kind, clean_up):
    tokenizer = Tokenizer(KINDS[kind]())
    roles = dataclasses.replace(tokenizer.roles, clean_up_tokenization_spaces=clean_up)
    tokenizer = tokenizer.with_roles(roles)
    compared = 0
    for prompt, new in cases(tokenizer, 400):
        before, full = tokenizer.decode(prompt), tokenizer.decode([*prompt, *new])
        stream = TextStream(tokenizer, prompt)
        pieces = [stream.add(i) for i in new]
        joined = "".join(pieces) + stream.close()
        assert joined == stream.text == continuation(tokenizer, prompt, new)
        if kind in ("llama 2", "gemma") and "\ufffd" in full:
            continue  # a run of bytes of which some are broken is decoded anew
        if full.startswith(before):  # clean-up may change the end of the prompt itself
            assert before + joined == full
            compared += 1
    assert compared > 100


def test_characters_are_whole_and_special_tokens_are_not_there():
    tokenizer = Tokenizer(byte_level())
    ids = tokenizer.encode("👩\u200d👧 é")
    stream = TextStream(tokenizer)
    pieces = [stream.add(i) for i in [0, *ids, 1]]
    assert len(ids) > 8 and all("\ufffd" not in piece for piece in pieces)
    assert "".join(pieces) == "👩\u200d👧 é" and stream.close() == ""


def test_no_blanks_between_chinese_characters():
    tokenizer = Tokenizer(wordpiece(True))
    assert tokenizer.decode(tokenizer.encode("今天天气，很好 the cat 今天")) == (
        "今天天气，很好 the cat 今天"
    )
    prompt, new = tokenizer.encode("今天"), tokenizer.encode("天气很好 the")
    assert continuation(tokenizer, prompt, new) == "天气很好 the"


def test_white_space_of_the_prompt_is_not_written_twice():
    tokenizer = Tokenizer(KINDS["words"]())
    ids, new = tokenizer.encode("the cat "), tokenizer.encode("sat on")
    assert continuation(tokenizer, ids, new, prompt="the cat") == " sat on"
    assert continuation(tokenizer, ids, new, prompt="the cat ") == "sat on"


@pytest.mark.parametrize("kind", ["byte-level", "llama 2", "wordpiece", "characters"])
def test_stop_strings_are_found_across_pieces(kind):
    tokenizer = Tokenizer(KINDS[kind]())
    ids = tokenizer.encode(LINES[1])
    full = continuation(tokenizer, [], ids)
    for start in range(1, len(full) - 4):
        stop = full[start : start + 4]
        stream = TextStream(tokenizer, stop=stop)
        text = "".join([stream.add(i) for i in ids]) + stream.close()
        assert stream.stopped and text == full[: full.index(stop)]
    stream = TextStream(tokenizer, stop=["nowhere", "hill!"])
    assert "".join([stream.add(i) for i in ids]) + stream.close() == full and not stream.stopped


def test_only_what_may_begin_a_stop_string_is_held_back():
    stop = StopStrings(["\n\n", "END"])
    assert [stop.add(piece) for piece in ("one ", "two\n", "three E", "N", "d")] == [
        "one ", "two", "\nthree ", "", "ENd",
    ]  # fmt: skip
    assert stop.close() == "" and not stop.stopped


@pytest.mark.parametrize("kind", ["byte-level", "llama 2", "metaspace first", "wordpiece"])
def test_the_cost_of_a_token_does_not_grow(kind):
    tokenizer = Tokenizer(KINDS[kind]())
    roles = dataclasses.replace(tokenizer.roles, clean_up_tokenization_spaces=True)
    tokenizer = tokenizer.with_roles(roles)
    sizes = []

    class Counting(TextStream):
        def _finished(self, raw):
            sizes.append(len(self._window))
            return super()._finished(raw)

    stream = Counting(tokenizer)
    for line in LINES * 40:
        for token in tokenizer.encode(line):
            stream.add(token)
    assert max(sizes) <= 70 and sum(sizes) / len(sizes) < 8
    started = time.perf_counter()
    blank = tokenizer.encode(" ") or tokenizer.encode("a")
    for _ in range(2000):
        stream.add(blank[0])
    assert time.perf_counter() - started < 5
