"""Tokenizers of the families that people load: the graph's ids and texts are the engine's."""

import base64
import json
import random
import re
from pathlib import Path

import pytest
import tensorflow as tf
import tokenizers
from gensim.test.utils import datapath
from graph_strings import FOREIGN, check_decode, check_encode, functions, random_rows, strings
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers

from keraslm.export.to_saved_model.graph import GraphTokenizer
from keraslm.export.to_saved_model.graph_normalize import normalizer_steps
from keraslm.export.to_saved_model.graph_patterns import KNOWN
from keraslm.export.to_saved_model.graph_precompiled import read_charsmap
from keraslm.tokenizers import Tokenizer

GPT4, QWEN = list(KNOWN)[1], list(KNOWN)[3]

# What the regular expressions, normal forms and added tokens of these families look at.
PARTS = ["'S", "'ſ", "'LL", "é", "e\u0323\u0302", "각", "ᄀ", "ᅡ", "ᆨ", "\u0345", "\u0301\u0327"]
PARTS += ["ABC", "aB", "ǅ", "ª", "1234567", "/", "//\n", "\r\n", "\n \n", "  ", "▁", "▁▁", "०", "½"]
PARTS += ["\u09c7\u09be", "<s>", "</s>", "<unk>", "<mask>", "<tool>", "<0x41>", "-----", "aaaaaaa"]


@pytest.fixture(scope="module")
def lines():
    text = Path(datapath("lee_background.cor")).read_text(encoding="utf-8")
    extra = ["aa aaaa aaaaa -- ---- 1234 999 <>/"] * 20
    return [*text.splitlines()[:100], *[FOREIGN] * 5, *extra]


@pytest.fixture(scope="module")
def texts(lines):
    rng = random.Random(5)
    plain = strings(lines, 5_000)
    mixed = [
        "".join(
            rng.choice(PARTS) if rng.random() < 0.5 else rng.choice(plain[200:])[:20]
            for _ in range(rng.randrange(1, 12))
        )
        for _ in range(5_000)
    ]
    return sorted([*plain, *mixed], key=len)


def check(engine, texts):
    tokenizer = Tokenizer(engine)
    encode, decode = functions(tokenizer)
    expected = check_encode(tokenizer, encode, texts)
    rows = [*expected[::10], *random_rows(tokenizer)]
    rng = random.Random(6)
    names = [f"<0x{byte:02X}>" for byte in b"\xe4\xbd\xa0A\xff\xf0\x9f\x98\x80\xc0\xed"]
    found = [i for i in map(tokenizer.token_to_id, names) if i is not None]
    if found:  # bytes that are whole characters, and that are not
        rows += [[rng.choice([*found, 5]) for _ in range(9)] for _ in range(500)]
    check_decode(tokenizer, decode, rows)


# === Bytes ===


def byte_level(lines, steps, normalizer=None):
    engine = tokenizers.Tokenizer(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.Sequence(steps)
    engine.normalizer, engine.decoder = normalizer, decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=1200, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>"], show_progress=False,
    )  # fmt: skip
    engine.train_from_iterator(lines, trainer)
    return engine


def split(pattern):
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return [pre_tokenizers.Split(Regex(pattern), "isolated"), plain]


@pytest.mark.slow
@pytest.mark.parametrize("pattern", KNOWN)
def test_known_patterns(pattern, lines, texts):
    check(byte_level(lines, split(pattern)), texts)


@pytest.mark.slow
def test_qwen_on_few_strings(lines, texts):
    engine = byte_level(lines, split(QWEN), normalizers.NFC())
    engine.add_tokens([AddedToken("<tool>", special=False, normalized=False)])
    check(engine, texts[::20])


def test_llama_2_on_few_strings(lines, texts):
    engine = characters(lines)
    engine.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    engine.add_special_tokens(SPECIAL)
    check(engine, texts[::20])


@pytest.mark.slow
def test_qwen(lines, texts):
    engine = byte_level(lines, split(QWEN), normalizers.NFC())
    engine.add_tokens([AddedToken("<tool>", special=False, normalized=False)])
    engine.add_special_tokens([AddedToken("<mask>", normalized=False)])
    check(engine, texts)


@pytest.mark.slow
def test_llama_3_finds_whole_words_that_merges_do_not_give(lines, texts):
    spec = json.loads(byte_level(lines, split(GPT4)).to_str())
    spec["model"]["ignore_merges"] = True
    spec["model"]["merges"] = [pair for i, pair in enumerate(spec["model"]["merges"]) if i % 10]
    check(tokenizers.Tokenizer.from_str(json.dumps(spec)), texts)


@pytest.mark.slow
def test_gpt_neox_finds_runs_of_spaces_in_normalized_text(lines, texts):
    steps = [pre_tokenizers.ByteLevel(add_prefix_space=False)]
    engine = byte_level(lines, steps, normalizers.NFC())
    runs = [AddedToken(" " * n, normalized=True, special=False) for n in range(2, 24)]
    engine.add_tokens([*runs, AddedToken("e\u0301", normalized=True, special=False)])
    check(engine, texts)


@pytest.mark.slow
@pytest.mark.parametrize("individual", [True, False])
def test_digits(individual, lines, texts):
    steps = [pre_tokenizers.Digits(individual), pre_tokenizers.ByteLevel(add_prefix_space=True)]
    check(byte_level(lines, steps, normalizers.NFKC()), texts)


@pytest.mark.slow
def test_tokens_that_strip(lines, texts):
    engine = byte_level(lines, [pre_tokenizers.ByteLevel(add_prefix_space=True)])
    engine.add_special_tokens([AddedToken("<mask>", lstrip=True), AddedToken("<s>", rstrip=True)])
    check(engine, texts)


# === Characters and unigrams ===

SPECIAL = [AddedToken(name, normalized=False) for name in ("<unk>", "<s>", "</s>")]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
LLAMA_DECODER = [
    decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0),
]  # fmt: skip


def characters(lines, byte_fallback=True, fuse_unk=True):
    """Llama's and Gemma's kind: merges of characters, and bytes for the others."""
    engine = tokenizers.Tokenizer(models.BPE(unk_token="<unk>"))
    engine.pre_tokenizer = pre_tokenizers.Metaspace()
    names = ["<unk>", "<s>", "</s>", *BYTES]
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=1500, special_tokens=names, limit_alphabet=90, show_progress=False
    )
    engine.train_from_iterator(lines, trainer)
    spec = json.loads(engine.to_str())
    spec["model"] |= {"byte_fallback": byte_fallback, "fuse_unk": fuse_unk}
    spec |= {"added_tokens": [], "pre_tokenizer": None}
    engine = tokenizers.Tokenizer.from_str(json.dumps(spec))
    engine.decoder = decoders.Sequence(LLAMA_DECODER)
    return engine


@pytest.mark.slow
@pytest.mark.parametrize("normalized", [False, True])
def test_llama_2(normalized, lines, texts):
    engine = characters(lines)
    parts = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    engine.normalizer = normalizers.Sequence(parts)
    names = [AddedToken(token.content, normalized=normalized) for token in SPECIAL]
    engine.add_special_tokens(names)
    check(engine, texts)


@pytest.mark.slow
def test_prefix_of_the_first_piece_only(lines, texts):
    engine = characters(lines)
    engine.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    engine.add_special_tokens(SPECIAL)
    check(engine, texts)


@pytest.mark.slow
def test_gemma(lines, texts):
    engine = characters(lines)
    engine.normalizer = normalizers.Replace(" ", "▁")
    engine.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    engine.decoder = decoders.Sequence(LLAMA_DECODER[:3])
    engine.add_special_tokens(SPECIAL)
    engine.add_tokens([AddedToken("\n\n", normalized=False), AddedToken("<tool>")])
    check(engine, texts)


@pytest.mark.slow
@pytest.mark.parametrize("fuse_unk", [True, False])
def test_unknown_characters(fuse_unk, lines, texts):
    engine = characters(lines, byte_fallback=False, fuse_unk=fuse_unk)
    engine.pre_tokenizer = pre_tokenizers.Metaspace()
    check(engine, texts)


@pytest.mark.slow
def test_user_defined_pieces_of_a_sentencepiece_file(lines, texts):
    engine = characters(lines)
    parts = [(Regex(r"\A +| +\z"), ""), (Regex(" {2,}"), " "), (" ", "▁"), (Regex("\\A▁"), "▁▁")]
    engine.normalizer = normalizers.Sequence([normalizers.Replace(*part) for part in parts])
    whole = "|".join(map(re.escape, ["<tool>", "a|b", "aa", "th", "--", "\n"]))
    metaspace = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    isolated = pre_tokenizers.Split(Regex(whole), "isolated")
    engine.pre_tokenizer = pre_tokenizers.Sequence([metaspace, isolated])
    check(engine, texts)


def unigrams(lines, byte_fallback=False):
    engine = tokenizers.Tokenizer(models.Unigram())
    engine.pre_tokenizer, engine.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    names = ["<unk>", "<s>", "</s>", *BYTES * byte_fallback]
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=1200, special_tokens=names, unk_token="<unk>", show_progress=False
    )
    engine.train_from_iterator(lines, trainer)
    spec = json.loads(engine.to_str())
    spec["model"]["byte_fallback"] = byte_fallback
    spec["added_tokens"] = []
    return tokenizers.Tokenizer.from_str(json.dumps(spec))


def test_unigrams_of_words(lines, texts):
    rng = random.Random(7)  # where several ways are equally probable
    runs = [rng.choice("ae-=s") * rng.randrange(1, 12) for _ in range(1500)]
    runs = ["".join(runs[i : i + 3]) for i in range(0, 1500, 3)]
    check(unigrams(lines), [*texts, *runs])


@pytest.mark.slow
def test_unigrams_with_bytes(lines, texts):
    engine = unigrams(lines, byte_fallback=True)
    engine.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    engine.decoder = decoders.Sequence(LLAMA_DECODER)
    check(engine, texts)


@pytest.mark.slow
def test_albert(lines, texts):
    engine = unigrams(lines)
    parts = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"'), normalizers.NFKD()]
    parts += [normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Nmt()]
    parts += [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
    engine.normalizer = normalizers.Sequence(parts)
    steps = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    engine.pre_tokenizer = pre_tokenizers.Sequence(steps)
    check(engine, texts)


# === SentencePiece's character map ===


@pytest.fixture(scope="module")
def charsmap(tmp_path_factory, lines):
    """The map of T5, XLM-R and others, as SentencePiece itself writes it."""
    sentencepiece = pytest.importorskip("sentencepiece")
    from sentencepiece import sentencepiece_model_pb2

    folder = tmp_path_factory.mktemp("sentencepiece")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_prefix=str(folder / "m"), vocab_size=400,
        minloglevel=2, character_coverage=0.98,
    )  # fmt: skip
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString((folder / "m.model").read_bytes())
    return model.normalizer_spec.precompiled_charsmap


@pytest.mark.slow
def test_xlm_roberta(charsmap, lines, texts):
    engine = unigrams(lines)
    parts = [normalizers.Precompiled(charsmap), normalizers.Strip(left=False, right=True)]
    parts.append(normalizers.Replace(Regex(" {2,}"), "▁"))
    engine.normalizer = normalizers.Sequence(parts)
    engine.add_special_tokens([*SPECIAL, AddedToken("<mask>", lstrip=True, normalized=True)])
    check(engine, texts)


@pytest.mark.slow
def test_character_map_on_clusters(charsmap):
    spec = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap).decode()}
    [step] = normalizer_steps(spec)
    engine, rng = normalizers.Precompiled(charsmap), random.Random(8)
    rules = [key for key, _ in read_charsmap(charsmap)]
    pool = ["a", "e", "ª", "ﬁ", "‼", "ℹ", "㊗", "😀", "©", "\u200d", "\u0301", "\u0327", "\u0347"]
    pool += ["\u093c", "\u094d", "क", "\u0958", "\u09cd", "\u09dc", "ᄀ", "ᅡ", "ᆨ", "가", "각", "\r"]
    pool += ["\n", "\r\n", "\u0600", "\u0e33", "\ufe0f", "🇦", "\U000e0100", "\x01", "\u00ad", "ﾞ"]
    pool += ["😀\u200dℹ\u0347", "😀\u0301\u200d‼", "क\u094d\u0958\u0347", "\u0903"]
    texts = [
        "".join(
            rng.choice(rng.choices([pool, rules, [chr(rng.randrange(0xD800))]], [6, 2, 1])[0])
            for _ in range(rng.randrange(1, 9))
        )
        for _ in range(20_000)
    ]
    found = step(tf.constant(texts)).numpy()
    for text, normalized in zip(texts, found, strict=True):
        assert normalized.decode() == engine.normalize_str(text), ascii(text)


# === What follows a prompt ===


def test_space_between_prompt_and_what_follows(lines):
    engine = characters(lines)
    engine.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer = Tokenizer(engine)
    twin = GraphTokenizer(tokenizer)
    for text in ("to be or not to be", "  two spaces", "a  b   c", "中文 ab"):
        ids = tokenizer.encode(text)
        for cut in range(1, len(ids)):
            rows = [tf.ragged.constant([part], tf.int32) for part in (ids[cut:], ids[:cut])]
            found = twin.decode(*rows).numpy()[0].decode(errors="replace")
            if "\ufffd" not in found + tokenizer.decode(ids[:cut]):
                assert tokenizer.decode(ids[:cut]) + found == tokenizer.decode(ids)
