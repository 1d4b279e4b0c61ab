"""Reading the model of a ``tokenizer.json``: which of the twins it is, with which settings."""

import json

import numpy as np

from keraslm.export.to_saved_model import graph_unicode as unicode
from keraslm.export.to_saved_model.graph_models import (
    BytePairModel,
    ByteSymbols,
    CharacterSymbols,
    TextModel,
    byte_alphabet,
)
from keraslm.export.to_saved_model.graph_pretokenize import is_byte_level, pre_tokenizer_steps
from keraslm.export.to_saved_model.graph_reading import unsupported
from keraslm.export.to_saved_model.graph_split import WordSplitter
from keraslm.export.to_saved_model.graph_unigram import UnigramModel
from keraslm.export.to_saved_model.graph_words import VocabularyModel


def is_by_words(spec: dict) -> bool:
    """Whether the model looks up words, characters or word pieces."""
    return spec["model"]["type"] in ("WordLevel", "WordPiece")


# === Byte-pair encoding and unigrams ===


def text_model(spec: dict) -> TextModel:
    """The part from normalized pieces of text to ids.

    Raises:
        ValueError: a part that is not reproduced here.
    """
    kind = spec["model"]["type"]
    if kind not in ("BPE", "Unigram"):
        raise unsupported("this kind of model", kind)
    is_first = '"first"' in json.dumps(spec["pre_tokenizer"])
    if is_first and spec["normalizer"] and any(t["normalized"] for t in spec["added_tokens"]):
        # What a normalizer deletes moves the place that the engine takes for the start.
        raise unsupported("prepend_scheme='first' with added tokens in normalized text", "both")
    steps = pre_tokenizer_steps(spec["pre_tokenizer"])
    return TextModel(steps, _unigram(spec) if kind == "Unigram" else _byte_pair(spec))


def _unigram(spec):
    model = spec["model"]
    if model["unk_id"] is None:
        raise unsupported("unigrams without unk_id", None)
    if is_byte_level(spec["pre_tokenizer"]):
        raise unsupported("unigrams of bytes", spec["pre_tokenizer"])
    vocab = {token: i for i, (token, _) in enumerate(model["vocab"])}
    if len(vocab) < len(model["vocab"]):
        raise unsupported("unigrams with a token twice", len(model["vocab"]) - len(vocab))
    byte_ids = _byte_ids(vocab) if model.get("byte_fallback") else None
    return UnigramModel(model["vocab"], model["unk_id"], byte_ids)


def _byte_pair(spec):
    model, vocab = spec["model"], spec["model"]["vocab"]
    for option in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model[option]:
            raise unsupported(f"{option} in bpe", model[option])
    if is_byte_level(spec["pre_tokenizer"]):
        missing = [character for character in byte_alphabet() if character not in vocab]
        if missing:
            raise unsupported("bpe without a token for each byte", f"none for {missing[0]}")
        symbols = ByteSymbols(vocab)
    else:
        symbols = _characters(model)
    whole = _whole_words(model, symbols) if model.get("ignore_merges") else {}
    return BytePairModel(vocab, model["merges"], symbols, whole)


def _characters(model):
    vocab, unknown = model["vocab"], model["unk_token"]
    if unknown is not None and unknown not in vocab:
        raise unsupported("a vocabulary without its unknown token", unknown)
    byte_ids = _byte_ids(vocab) if model["byte_fallback"] else None
    return CharacterSymbols(vocab, byte_ids, vocab.get(unknown), model["fuse_unk"])


def _byte_ids(vocab):
    """Ids of the tokens for bytes, or ``None`` if there are none."""
    ids = [vocab.get(f"<0x{byte:02X}>") for byte in range(256)]
    if not any(i is not None for i in ids):
        return None
    if None in ids:
        raise unsupported("byte_fallback without a token for each byte", f"{ids.index(None):#04x}")
    return np.array(ids, np.int32)


def _whole_words(model, symbols):
    """{text: id} of the tokens that merges alone do not give, which ``ignore_merges`` finds."""
    from tokenizers import models

    merges = [tuple(pair) for pair in model["merges"]]
    options = {key: model[key] for key in ("unk_token", "fuse_unk", "byte_fallback")}
    engine = models.BPE(model["vocab"], merges, **options)
    alphabet = byte_alphabet() if isinstance(symbols, ByteSymbols) else None
    whole = {}
    for token, i in model["vocab"].items():
        if token and [found.id for found in engine.tokenize(token)] != [i]:
            text = token if alphabet is None else _text(token, alphabet)
            if text is not None:
                whole[text] = i
    return whole


def _text(token, alphabet):
    """The text that a byte-level token is, or ``None`` if it is only a part of characters."""
    if not all(character in alphabet for character in token):
        return None
    try:
        return bytes(alphabet[character] for character in token).decode()
    except UnicodeDecodeError:
        return None


# === Words, characters and word pieces ===


def word_model(spec: dict) -> VocabularyModel:
    """The part from pieces of text to ids.

    Raises:
        ValueError: a part that is not reproduced here.
    """
    model, vocab = spec["model"], spec["model"]["vocab"]
    for token in spec["added_tokens"]:
        if token["normalized"] and spec["normalizer"]:
            raise unsupported("added tokens found in the normalized text", token["content"])
    if model["unk_token"] not in vocab:
        raise unsupported("a vocabulary without its unknown token", model["unk_token"])
    splitter = WordSplitter(_normalizer(spec["normalizer"]), _pre_tokenizer(spec["pre_tokenizer"]))
    options = {}
    if model["type"] == "WordPiece":
        options["prefix"] = model["continuing_subword_prefix"]
        options["max_word"] = model["max_input_chars_per_word"]
    return VocabularyModel(vocab, vocab[model["unk_token"]], splitter, **options)


def _normalizer(spec):
    """Tables of the normalizer, which must work by the code point."""
    if spec is None:
        return None
    if spec["type"] == "BertNormalizer":
        return unicode.bert_tables(**{key: spec[key] for key in spec if key != "type"})
    parts = [part["type"] for part in spec.get("normalizers", [spec])]
    if parts == ["Lowercase"]:
        return unicode.simple_tables("Lowercase")
    if parts != ["NFD", "StripAccents", "Lowercase"]:  # of words until version 0.1
        raise unsupported("this normalizer", parts)
    return unicode.folding_tables()


def _pre_tokenizer(spec):
    """Name for a `WordSplitter`."""
    spec = spec or {"type": None}
    if spec["type"] in ("Whitespace", "BertPreTokenizer"):
        return spec["type"]
    characters = {"pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated", "invert": False}
    if spec != {"type": "Split", **characters}:
        raise unsupported("this pre-tokenizer", spec)
    return None
