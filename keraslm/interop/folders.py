"""What a folder of Hugging Face's is, and what it states of the pooling; whether its parts fit."""

import json
from pathlib import Path

from keraslm.interop.configs import read_json
from keraslm.interop.tokenizer_files import load_tokenizer


def is_huggingface(folder):
    """Whether a folder holds a checkpoint of Hugging Face's, and not a bundle."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and "model_type" in config and "format_version" not in config


def pooling_of(folder):
    """Settings of a `SentenceEncoder`, if sentence-transformers saved the folder."""
    if not (folder / "modules.json").is_file():
        return None
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        kinds = {module["type"].rsplit(".", 1)[-1]: str(module["path"]) for module in modules}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{folder / 'modules.json'} is damaged: {error!r}.") from error
    unknown = sorted(set(kinds) - {"Transformer", "Pooling", "Normalize"})
    if unknown:
        raise ValueError(f"{folder / 'modules.json'} has a module {unknown[0]}, which is unknown.")
    settings = {"normalize": "Normalize" in kinds}
    if (folder / "sentence_bert_config.json").is_file():
        settings["max_length"] = read_json(folder / "sentence_bert_config.json").get(
            "max_seq_length"
        )
    if "Pooling" in kinds:
        if Path(kinds["Pooling"]).name != kinds["Pooling"]:
            raise ValueError(f"{folder / 'modules.json'} names a path outside its folder.")
        pooling = read_json(folder / kinds["Pooling"] / "config.json")
        ways = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens"}
        chosen = [ours for ours, theirs in ways.items() if pooling.get(f"pooling_mode_{theirs}")]
        if len(chosen) != 1:
            raise ValueError(
                f"{folder / kinds['Pooling']} pools in a way that is unknown: {pooling}. Known are "
                f"one of {', '.join(ways)}."
            )
        settings["pooling"] = chosen[0]
    return settings


def fitting_tokenizer(folder, model):
    """The `Tokenizer` of a folder, or None; a ValueError if it has more tokens than the model."""
    tokenizer = load_tokenizer(folder)
    if tokenizer is not None:
        template = tokenizer.encode("", add_special_tokens=True)
        tokens = max(tokenizer.vocab_size, *(i + 1 for i in (*template, 0)))
        if tokens > model.vocab_size:
            raise ValueError(
                f"{folder}: the tokenizer has {tokens} tokens, the model {model.vocab_size}. They "
                "do not belong together."
            )
    return tokenizer
