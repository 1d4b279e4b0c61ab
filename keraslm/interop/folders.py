"""What a Hugging Face folder is, what it states of the pooling, whether its parts fit."""

import json
from pathlib import Path

from keraslm._files.facts import read_dict, read_json, read_object
from keraslm.interop.configs import check
from keraslm.interop.tokenizer_files import load_tokenizer


def is_huggingface(folder):
    """Whether a folder holds a Hugging Face checkpoint, and not a bundle."""
    if (folder / "adapter_config.json").is_file():
        return True
    config = read_object(folder / "config.json")
    return "model_type" in config and "format_version" not in config


# Our name of a pooling → sentence-transformers' key before version 6 (after ``pooling_mode_``), in
# the order in which several stand side by side, and its name since.
POOLING_KEYS = {
    "cls": ("cls_token", "cls"),
    "max": ("max_tokens", "max"),
    "mean": ("mean_tokens", "mean"),
    "mean_sqrt_len": ("mean_sqrt_len_tokens", "mean_sqrt_len_tokens"),
    "weightedmean": ("weightedmean_tokens", "weightedmean"),
    "lasttoken": ("lasttoken", "lasttoken"),
}
MODULES = ("Transformer", "Pooling", "Normalize")  # in this order


def pooling_of(folder):
    """Settings of a `SentenceEncoder`, if sentence-transformers saved the folder.

    Raises:
        ValueError: a module or a setting that is not computed here.
    """
    where = folder / "modules.json"
    if not where.is_file():
        return None
    try:
        modules = read_json(where)
        kinds = {module["type"].rsplit(".", 1)[-1]: str(module["path"]) for module in modules}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{where} is damaged: {error!r}.") from error
    unknown = [kind for kind in kinds if kind not in MODULES]
    if unknown:
        raise ValueError(
            f"{where} has a module {unknown[0]}, which is not computed here; known are "
            f"{', '.join(MODULES)}."
        )
    in_order = [kind for kind in MODULES if kind in kinds]
    if list(kinds) != in_order or len(modules) != len(kinds) or "Pooling" not in kinds:
        raise ValueError(
            f"{where} has the modules {', '.join(kinds)}; only Transformer, Pooling and, if there "
            "is one, Normalize in this order are computed here."
        )
    if kinds["Transformer"] not in ("", "."):
        raise ValueError(
            f"{where} has the Transformer in another folder, {kinds['Transformer']!r}."
        )
    if Path(kinds["Pooling"]).name != kinds["Pooling"]:
        raise ValueError(f"{where} names a path outside its folder.")
    settings = {"normalize": "Normalize" in kinds, **_pooling(folder / kinds["Pooling"])}
    prompts = folder / "config_sentence_transformers.json"
    prompts = read_dict(prompts) if prompts.is_file() else {}
    named = prompts.get("prompts") or {}
    check(isinstance(named, dict), "prompts", named, folder)
    if named:
        settings["prompts"] = {name: str(text or "") for name, text in named.items()}
        settings["default_prompt_name"] = prompts.get("default_prompt_name")
    return settings


def _pooling(folder):
    """``pooling`` and ``include_prompt`` of a Pooling module."""
    pooling = read_dict(folder / "config.json")
    ways = [ours for ours, (key, _) in POOLING_KEYS.items() if pooling.get(f"pooling_mode_{key}")]
    known = {f"pooling_mode_{key}" for key, _ in POOLING_KEYS.values()} | {
        "pooling_mode", "include_prompt", "word_embedding_dimension", "embedding_dimension",
    }  # fmt: skip
    unknown = [key for key, value in pooling.items() if key not in known and value]
    if (mode := pooling.get("pooling_mode")) is not None:
        names = {theirs: ours for ours, (_, theirs) in POOLING_KEYS.items()}
        modes = mode if isinstance(mode, list) else [mode]
        unknown += [name for name in modes if name not in names]
        ways = [names[name] for name in modes if name in names]
    if unknown or not ways:
        raise ValueError(
            f"{folder} pools in a way that is unknown: {unknown[0] if unknown else pooling}. Known "
            f"are {', '.join(POOLING_KEYS)}."
        )
    found = {"pooling": ways[0] if len(ways) == 1 else ways}
    return found if pooling.get("include_prompt", True) else {**found, "include_prompt": False}


def max_length_of(folder, longest):
    """Tokens of a text beyond which it is cut, as the folder states it.

    Args:
        folder: of a model.
        longest: what the model takes.
    """
    file = folder / "tokenizer_config.json"
    stated = read_dict(file).get("model_max_length") if file.is_file() else None
    stated = sentence_bert_config(folder).get("max_seq_length") or stated
    if stated is None or (isinstance(stated, (int, float)) and stated > longest):
        return longest  # "no limit" is written as a very large number
    check(type(stated) is int and stated > 2, "max_seq_length or model_max_length", stated, folder)
    return stated


def sentence_bert_config(folder):
    """What sentence-transformers states of the Transformer module."""
    file = folder / "sentence_bert_config.json"
    return read_dict(file) if file.is_file() else {}


def fitting_tokenizer(folder, model):
    """The `Tokenizer` of a folder, or None; a ValueError if it has more tokens than the model."""
    tokenizer = load_tokenizer(folder)
    if tokenizer is not None:
        if sentence_bert_config(folder).get("do_lower_case"):
            _lowercase(tokenizer.engine)
        template = tokenizer.encode("", add_special_tokens=True)
        tokens = max(tokenizer.vocab_size, *(i + 1 for i in (*template, 0)))
        if tokens > model.vocab_size:
            raise ValueError(
                f"{folder}: the tokenizer has {tokens} tokens, the model {model.vocab_size}. They "
                "do not belong together."
            )
    return tokenizer


def _lowercase(engine):
    """Fold case before all else, as sentence-transformers does for ``do_lower_case``."""
    from tokenizers.normalizers import Lowercase, Sequence

    normalizer = json.loads(engine.to_str())["normalizer"] or {}
    parts = normalizer.get("normalizers", [normalizer])
    if any(part.get("type") == "Lowercase" or part.get("lowercase") for part in parts):
        return
    engine.normalizer = Sequence([Lowercase(), *([engine.normalizer] if engine.normalizer else [])])
