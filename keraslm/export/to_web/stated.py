"""What a web folder states beside its model, and what its page writes by these defaults."""

import json
import re
from pathlib import Path
from typing import Any

import tokenizers

from keraslm.export.decoder_proof import Judged
from keraslm.export.facts import generation_facts, generator_facts, vocabulary
from keraslm.generation.config import GenerationConfig
from keraslm.generation.processors import ORDER
from keraslm.litert.notes import DecoderNote, read_note
from keraslm.tasks import TextGenerator

LONGEST = 64  # new tokens that the page writes by its defaults
# Two seeds, of which one must do: rounding may decide one draw of very many.
DRAWN = [
    GenerationConfig(max_new_tokens=16, temperature=0.9, top_k=50, top_p=0.95, seed=seed)
    for seed in (1, 2)
]


def stated_in(path: Path) -> dict[str, Any]:
    """The facts in ``model.json`` and in the tokenizer beside it."""
    info = json.loads((path / "model.json").read_text(encoding="utf-8"))
    config = GenerationConfig().replace(**info["generation"])
    return {
        **generation_facts(config, info["vocab_size"]),
        # Those that may be missing are to the page as here.
        "max_length": info.get("max_length"),
        "prompt_template": info.get("prompt_template", {"before": [], "after": []}),
        "start_id": info.get("start_id"),
        "clean_up_tokenization_spaces": bool(info.get("clean_up_tokenization_spaces")),
        "vocab_size": info["vocab_size"],
        "context": info["context"],
        "vocabulary": vocabulary(tokenizers.Tokenizer.from_file(str(path / "tokenizer.json"))),
    }


def said_of(path: Path, lm: Any) -> dict[str, Any]:
    """The facts that should stand there; the context is that of ``model.tflite``."""
    note = read_note(path / "model.tflite", DecoderNote)
    return {**generator_facts(lm), "context": None if note is None else note.max_length}


def asked_of(lm: Any) -> list[dict[str, Any]]:
    """Settings that the page is given: none but a seed and a limit, then those of `DRAWN`."""
    given = [_by_default(lm), *({**_spelled(config), "stop_ids": []} for config in DRAWN)]
    return [{_camel(name): value for name, value in settings.items()} for settings in given]


def _by_default(lm):
    config, given = lm.generation_config, {}
    if config.is_sampled and config.seed is None:
        given["seed"] = 0
    if config.max_new_tokens > LONGEST:
        given["max_new_tokens"] = LONGEST
    return given


def _spelled(config):
    neutral = {kind.setting: kind.neutral for kind in ORDER}
    given = {name: x for name, x in vars(config).items() if x is not None}
    return {**neutral, **given}


def _camel(name):
    return re.sub("_(.)", lambda match: match[1].upper(), name)


def written_alike(
    judged: Judged, lm: Any, prompt: str, context: int, found: list[list[int]]
) -> list[tuple[int, int]]:
    """Equal tokens of how many, of the text by the defaults and of a text that is drawn.

    Args:
        judged: the parts of ``lm`` in float32.
        lm: a `keraslm.tasks.TextGenerator`.
        prompt: a text.
        context: tokens of prompt and continuation in the page.
        found: what the page wrote when it was given `asked_of`.
    """
    task = TextGenerator(judged.model, lm.tokenizer, lm.generation_config, stated=lm.stated)
    most = context - len(task.prompt_ids([prompt])[0])

    def pair(ids, **settings):
        expected = task.generate(prompt, return_log_probs=True, **settings).ids[:most]
        count = max(len(expected), 1)
        return (count if ids == expected else 0), count

    by_default, first, second = found
    drawn = pair(first, **_spelled(DRAWN[0]))
    if not drawn[0]:
        drawn = pair(second, **_spelled(DRAWN[1]))
    default = pair(by_default, **_by_default(lm))
    return [default, drawn]
