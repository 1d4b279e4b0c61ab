"""What a folder of Hugging Face's states beside the weights: tokenizer, generation, pooling."""

import json
from pathlib import Path

from keraslm.generation.config import GenerationConfig
from keraslm.interop.configs import check, read_json
from keraslm.tokenizers.tokenizer import Tokenizer


def is_huggingface(folder):
    """Whether a folder holds a checkpoint of Hugging Face's, and not a bundle."""
    if (folder / "adapter_config.json").is_file():
        return True
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and "model_type" in config and "format_version" not in config


def generation_config_of(folder, config):
    """The stop tokens."""
    file = folder / "generation_config.json"
    settings = read_json(file) if file.is_file() else {}
    stop = settings.get("eos_token_id", config.get("eos_token_id"))
    ids = [] if stop is None else stop if isinstance(stop, list) else [stop]
    check(all(type(i) is int and i >= 0 for i in ids), "eos_token_id", stop, folder)
    return GenerationConfig(stop_ids=tuple(ids))


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


def load_tokenizer(folder):
    """The `Tokenizer` of a folder of Hugging Face's, or None where there are no files of one."""
    settings = folder / "tokenizer_config.json"
    settings = read_json(settings) if settings.is_file() else {}
    if (folder / "tokenizer.json").is_file():
        tokenizer = Tokenizer.load(folder)
        tokenizer.engine.no_padding()  # tasks pad and cut themselves
        tokenizer.engine.no_truncation()
        return tokenizer
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return Tokenizer.from_gpt2_files(folder / "vocab.json", folder / "merges.txt")
    if (folder / "vocab.txt").is_file():
        lowercase = settings.get("do_lower_case", True)
        return Tokenizer.from_bert_vocab(folder / "vocab.txt", lowercase)
    return None


def fitting_tokenizer(folder, model):
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
