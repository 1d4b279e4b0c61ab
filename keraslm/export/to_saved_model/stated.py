"""What a SavedModel states in its graph, under the names of `keraslm.export.facts`.

These facts are constants that the graph computes with; they are found by their names.
"""

from pathlib import Path
from typing import Any

import numpy as np

from keraslm._compat import saved_model_message
from keraslm.export.facts import generation_facts, generator_facts
from keraslm.generation.config import GenerationConfig
from keraslm.generation.processors import ORDER

DEFAULT = "default_"  # before the name of a setting
STOP, LABELS = "stop_ids", "labels"
NONE = -1  # in place of a stop token: there is none


def constants(path: Path) -> dict[str, Any]:
    """The named constants of the graph: numbers and lists.

    Raises:
        ValueError: two of one name differ, or the file cannot be read.
    """
    import tensorflow as tf

    saved = saved_model_message(path)
    found: dict[str, Any] = {}
    for function in saved.meta_graphs[0].graph_def.library.function:
        for node in function.node_def:
            name = node.name.split("/")[0]
            is_ours = name.startswith(DEFAULT) or name in (STOP, LABELS)
            if node.op != "Const" or not is_ours:
                continue
            value = _plain(tf.make_ndarray(node.attr["value"].tensor))
            if found.setdefault(name, value) != value:
                raise ValueError(f"{path} has two values of {name}: {found[name]} and {value}.")
    return found


def _plain(array):
    if array.dtype == object:
        return [text.decode() for text in array.tolist()]
    return array.astype(np.float32).item() if array.dtype.kind == "f" else array.tolist()


def stated_in(path: Path, vocab_size: int) -> dict[str, Any]:
    """The facts in the SavedModel of a text generator; an earlier one does not name them."""
    found = constants(path)
    if not any(name.startswith(DEFAULT) for name in found):
        return {}
    names = ["max_new_tokens", "seed", *(kind.setting for kind in ORDER)]
    given = {name: found[DEFAULT + name] for name in names if DEFAULT + name in found}
    stop = tuple(i for i in found.get(STOP, ()) if i != NONE)
    config = GenerationConfig(**given, stop_ids=stop)
    return {
        **generation_facts(config, vocab_size),
        "max_length": found.get(f"{DEFAULT}max_length"),
    }


def labels_in(path: Path) -> dict[str, Any]:
    """The names of classes in the SavedModel of a task, if it gives any."""
    found = constants(path)
    return {LABELS: found[LABELS]} if LABELS in found else {}


def said_of(lm: Any) -> dict[str, Any]:
    """The facts that should stand there; a text that is drawn has a seed in a file."""
    config = lm.generation_config
    facts = generator_facts(lm)
    return {**facts, "seed": facts["seed"] or 0} if config.is_sampled else facts
