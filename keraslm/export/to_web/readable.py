"""Which tokenizers the page's JavaScript reads as Python does."""

import json
from typing import Any

from keraslm.tokenizers.tokenizer import Tokenizer

# Types of the parts of a tokenizer.json: for encoding those of @huggingface/tokenizers, for
# decoding those of page/tokenizer.js.
READABLE = {
    "model": {"BPE", "WordPiece", "WordLevel", "Unigram"},
    "normalizer": {
        "BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Precompiled", "Prepend",
        "Replace", "Sequence", "Strip", "StripAccents",
    },
    "pre_tokenizer": {
        "BertPreTokenizer", "ByteLevel", "Digits", "FixedLength", "Metaspace", "Punctuation",
        "Sequence", "Split", "Whitespace", "WhitespaceSplit",
    },
    "decoder": {
        "BPEDecoder", "ByteFallback", "ByteLevel", "Fuse", "Metaspace", "Replace", "Sequence",
        "Strip", "WordPiece",
    },
}  # fmt: skip
# Settings of a model that @huggingface/tokenizers does not read.
IGNORED = {"Unigram": "byte_fallback", "BPE": "continuing_subword_prefix"}
NESTED = ("normalizers", "pretokenizers", "decoders")


def check_tokenizer(tokenizer: Tokenizer) -> None:
    """Refuse a tokenizer that the page would read differently, or not at all.

    Raises:
        ValueError: a part, or a setting of a part, that the page does not know.
    """
    data = json.loads(tokenizer.to_json())
    for part, types in READABLE.items():
        for config in _flat(data[part]):
            if config["type"] not in types:
                _refuse(part, config["type"])
            if part == "decoder" and "Regex" in config.get("pattern", {}):
                _refuse(part, f"Replace with the regular expression {config['pattern']['Regex']!r}")
    model = data["model"]
    if model.get(ignored := IGNORED.get(model["type"])):
        _refuse("model", f"{model['type']} with {ignored}={model[ignored]!r}")
    for key in ("truncation", "padding"):
        if data[key] is not None:
            _refuse(key, f"{data[key]}; tokenizer.engine.no_{key}() takes it away")
    for token in data["added_tokens"]:
        if token["single_word"]:
            _refuse("added_tokens", f"{token['content']!r} with single_word")


def _refuse(key: str, value: str) -> None:
    raise ValueError(
        f"The tokenizer's tokenizer.json has {key}: {value}. The web page cannot do that; use "
        "another export."
    )


def _flat(config: dict[str, Any] | None) -> list[dict[str, Any]]:
    """A part and the parts of a sequence, each of which has a type."""
    if config is None:
        return []
    inner = [part for name in NESTED for part in config.get(name, ())]
    return [config, *(one for part in inner for one in _flat(part))]
