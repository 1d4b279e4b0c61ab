"""What an export states beside its numbers, compared with what the task says.

A file may hold the right weights and still end its texts at another token, draw with other
settings, or call its classes by other names. Each target reads such facts from its file, as a
program does that runs it; here is what the task says, under the same names.
"""

from typing import Any

import numpy as np
import tokenizers

from keraslm.generation.config import GenerationConfig, stated_length
from keraslm.generation.processors import ORDER
from keraslm.generation.random import resolve_seed
from keraslm.tokenizers.tokenizer import Tokenizer

MOST = 3  # that are named; the others are counted
LONGEST = 80  # characters of a value


def generator_facts(lm: Any) -> dict[str, Any]:
    """The facts of a text generator.

    Args:
        lm: a `keraslm.tasks.TextGenerator`.
    """
    return {
        **generation_facts(lm.generation_config, lm.model.vocab_size),
        "max_length": stated_length(lm.generation_config, lm.stated),
        "prompt_template": prompt_template(lm.tokenizer),
        "start_id": lm.tokenizer.bos_id,
        "vocab_size": lm.model.vocab_size,
        "vocabulary": vocabulary(lm.tokenizer.engine),
        "clean_up_tokenization_spaces": lm.tokenizer.cleans_up,
    }


def generation_facts(config: GenerationConfig, vocab_size: int) -> dict[str, Any]:
    """Default settings of generation; what changes nothing is as if it had not been given."""
    settings = {kind.setting: _effective(kind, config, vocab_size) for kind in ORDER}
    if not config.is_sampled:
        settings["temperature"] = 0.0
    has_seed = config.is_sampled and config.seed is not None
    return {
        "max_new_tokens": config.max_new_tokens,
        "stop_ids": sorted(set(config.stop_ids)),
        **settings,
        "seed": resolve_seed(config.seed) if has_seed else None,
    }


def _effective(kind, config, vocab_size):
    value = getattr(config, kind.setting)
    counts = config.is_sampled or kind().needs_seen
    if value is None or not counts or kind().is_neutral(value, vocab_size):
        return kind.neutral
    return value


def prompt_template(tokenizer: Tokenizer) -> dict[str, list[int]]:
    """The ids ``before`` and ``after`` every prompt."""
    return dict(zip(("before", "after"), map(list, tokenizer.prompt_template), strict=True))


def vocabulary(engine: tokenizers.Tokenizer) -> dict[str, int]:
    """The id of every token, the added ones included."""
    return engine.get_vocab(with_added_tokens=True)


def differing(found: dict[str, Any], expected: dict[str, Any]) -> tuple[str, ...]:
    """A sentence for each fact that a file states otherwise than the task.

    Args:
        found: what the file states: the facts that are compared.
        expected: what the task says, these facts among others.

    Example:
        >>> differing({"stop_ids": [5]}, {"stop_ids": [0], "seed": 1})
        ('stop_ids is [5] in the file and [0] in the task',)
    """
    lists = [_differing(name, value, expected.get(name)) for name, value in found.items()]
    return tuple(sentence for some in lists for sentence in some)


def _differing(name, found, expected):
    if isinstance(found, dict) and isinstance(expected, dict):
        parts = [
            sentence
            for key in {**expected, **found}
            for sentence in _differing(f"{name}[{_short(key)}]", found.get(key), expected.get(key))
        ]
        more = len(parts) - MOST
        return parts if more <= 0 else [*parts[:MOST], f"{more} more of {name} differ"]
    if _is_equal(found, expected):
        return []
    return [f"{name} is {_short(found)} in the file and {_short(expected)} in the task"]


def _is_equal(found, expected):
    if isinstance(found, float) and isinstance(expected, (int, float)):
        return np.float32(found) == np.float32(expected)  # files hold no longer ones
    if isinstance(found, (list, tuple)) and isinstance(expected, (list, tuple)):
        return list(found) == list(expected)
    return found == expected


def _short(value):
    text = f"{value:.6g}" if isinstance(value, float) else repr(value)
    text = "nothing" if value is None else text
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
