"""The settings of ``generation_config.json``: read into a `GenerationConfig`, and written."""

import dataclasses
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keraslm._files.facts import read_dict
from keraslm.generation.config import GenerationConfig
from keraslm.interop.configs import check

FIELDS = {field.name for field in dataclasses.fields(GenerationConfig)} - {"stop_ids", "seed"}
SAMPLING = {"temperature": 1.0, "top_k": 50, "top_p": None, "min_p": None}  # theirs when sampling
DEFAULT = GenerationConfig()

# Settings that are read here or elsewhere, that only some other setting uses, or that change no
# text.
KNOWN = {
    "do_sample", "max_length", "eos_token_id", "bos_token_id", "pad_token_id",
    "transformers_version", "decoder_start_token_id", "use_cache", "return_dict_in_generate",
    "return_legacy_cache",
    "output_attentions", "output_hidden_states", "output_scores", "output_logits",
    "cache_implementation", "cache_config", "low_memory", "length_penalty", "early_stopping",
    "renormalize_logits", "remove_invalid_values", "num_assistant_tokens", "is_assistant",
    "num_assistant_tokens_schedule", "assistant_confidence_threshold", "prompt_lookup_num_tokens",
    "max_matching_ngram_size", "assistant_early_exit", "assistant_lookbehind", "target_lookbehind",
    "disable_compile", "compile_config", "prefill_chunk_size", "trust_remote_code",
    "custom_generate", "continuous_batching_config", "chat_format", "max_window_size",
}  # fmt: skip
# Settings that change the text, and their values that do not.
NEUTRAL = {
    "num_beams": (1,), "num_beam_groups": (1,), "num_return_sequences": (1,),
    "typical_p": (1, 1.0), "encoder_repetition_penalty": (1, 1.0), "guidance_scale": (1, 1.0),
}  # fmt: skip


def stated_generation(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """What a folder says of generation, as it spells it.

    Args:
        folder: of the checkpoint.
        config: its ``config.json``, where older folders keep these settings.
    """
    file = folder / "generation_config.json"
    ids = ("bos_token_id", "eos_token_id", "pad_token_id")
    stated = {key: config[key] for key in ids if config.get(key) is not None}
    if file.is_file():  # then config.json does not count, as in transformers
        return read_dict(file)
    old = {"do_sample", "max_length", *FIELDS, *NEUTRAL, "no_repeat_ngram_size", "min_length"}
    return stated | {key: value for key, value in config.items() if key in old}


def generation_config_of(folder: Path, config: Mapping[str, Any]) -> GenerationConfig:
    """The default settings of generation that a folder states.

    A setting that changes the text and that we do not have is named in a warning, once.

    Args:
        folder: of the checkpoint.
        config: its ``config.json``.

    Raises:
        ValueError: a value that cannot be.
    """
    stated = stated_generation(folder, config)
    file = folder / "generation_config.json"
    file = file if file.is_file() else folder / "config.json"
    unknown = sorted(key for key, value in stated.items() if _changes(key, value))
    if unknown:
        named = ", ".join(f"{key}={stated[key]!r}" for key in unknown)
        warnings.warn(
            f"{file} has {named}, which keraslm does not have: text is generated without. It is "
            "kept, and given back when saving.",
            stacklevel=3,
        )
    return read_generation(stated, file)


def _changes(key, value):
    if key in FIELDS or key in KNOWN or key.startswith("_"):
        return False
    return value not in NEUTRAL.get(key, ()) and value not in (None, False, 0, [], {})


def read_generation(stated: Mapping[str, Any], where: object) -> GenerationConfig:
    """A `GenerationConfig` from settings in the spelling of `transformers`.

    Without ``do_sample`` their sampling settings have no effect, so that they are left out.

    Raises:
        ValueError: a value that cannot be.
    """
    stop = stated.get("eos_token_id")
    ids = [] if stop is None else stop if isinstance(stop, list) else [stop]
    check(all(type(i) is int and i >= 0 for i in ids), "eos_token_id", stop, where)
    fields: dict[str, Any] = {"stop_ids": tuple(ids)}
    for key in FIELDS - set(SAMPLING):
        if stated.get(key) is not None:
            fields[key] = stated[key]
    if stated.get("do_sample"):
        for key, default in SAMPLING.items():
            value = stated.get(key)
            fields[key] = default if value is None else value
        fields["top_k"] = fields["top_k"] or None  # theirs: 0 is off
        fields["top_p"] = None if fields["top_p"] == 1 else fields["top_p"]
        check(fields["temperature"] != 0, "temperature", 0, where)
    try:
        return DEFAULT.replace(**fields)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where} has a setting that cannot be: {error}") from error


def write_generation(config: GenerationConfig, stated: Mapping[str, Any]) -> dict[str, Any]:
    """What ``generation_config.json`` says: what was stated, with what has changed since.

    Args:
        config: the settings now.
        stated: what was read with the model.
    """
    written = dict(stated)
    if read_generation(stated, "generation_config.json") == config:
        return written
    stop = read_generation({"eos_token_id": stated.get("eos_token_id")}, "eos_token_id").stop_ids
    if config.stop_ids != stop:
        written["eos_token_id"] = list(config.stop_ids) or None
    values = config.to_dict()
    for key in FIELDS:
        if values[key] != getattr(DEFAULT, key):
            written[key] = values[key]
        else:
            written.pop(key, None)
    if config.is_sampled:
        written["do_sample"] = True
        written["top_k"] = config.top_k or 0  # else it is 50
    elif "do_sample" in written:
        written["do_sample"] = False
    return written
