"""The third door: something on disk, or on Hugging Face's hub."""

import functools
from typing import Any

from keraslm._files import read_whole
from keraslm._files.facts import read_dict
from keraslm._types import StrPath
from keraslm.interop.configs import family_of, head_of
from keraslm.interop.folders import fitting_tokenizer, is_huggingface, pooling_of
from keraslm.interop.hub import find
from keraslm.interop.huggingface import load_huggingface
from keraslm.interop.tensors import check_no_adapter
from keraslm.tasks import bundle, classes
from keraslm.tasks.table import TASK_OF_HEAD, TASKS


def from_pretrained(
    path: StrPath, dtype: Any = None, *, revision: str | None = None, offline: bool = False
) -> Any:
    """Load a task, whose ``.model`` is the network.

    What comes back fits the head that is there: a language head gives a `TextGenerator`, that of
    a masked language model a `FillMask`, a classifier a `TextClassifier`, and no head a
    `SentenceEncoder`, whether the blocks are an encoder's or a decoder's.

    Args:
        path: the folder of a bundle; ``"demo"``, the small model that is installed with keraslm,
            or in a clone another name of the zoo; a folder that `transformers` or
            sentence-transformers saved; or a name on Hugging Face's hub, such as
            ``"openai-community/gpt2"``, or ``"gpt2"`` and the other names in
            `keraslm.interop.hub.OWNERS`, which is downloaded once.
        dtype: dtype policy of the model, such as ``"mixed_bfloat16"``; default, as saved, or
            float32 for a Hugging Face checkpoint.
        revision: of a name on the hub: branch, tag or commit.
        offline: of a name on the hub: only what was downloaded before.

    Raises:
        FileNotFoundError: no such folder or name, or a file is missing in it.
        ValueError: a file is corrupt, was written by a newer keraslm, or describes an architecture
            that keraslm does not have.

    Example:
        >>> lm = keraslm.from_pretrained("demo")
        >>> lm.generate("The city of", max_new_tokens=3)
        'The city of ...'
    """
    return read_whole(find(path, revision, offline), functools.partial(_load, dtype=dtype))


def _load(folder, dtype):
    check_no_adapter(folder)
    if is_huggingface(folder):
        return _from_hugging_face(folder, dtype)
    config = bundle.read_config(folder)
    if config["task"] not in TASKS:
        raise bundle.unknown(folder, config["task"], config["model"]["class"])
    task = TASKS[config["task"]]
    if own := config.get("task_class"):
        task = classes.find(own)
    model, tokenizer, settings = bundle.read(folder, config, dtype)
    try:
        found = task(model, tokenizer, **settings)
    except TypeError as error:
        raise ValueError(
            f"{folder / 'config.json'} has settings that cannot be: {error}"
        ) from error
    found.sample = bundle.read_sample(folder)
    return found


def _from_hugging_face(folder, dtype):
    where = folder / "config.json"
    is_sentences = bool(pooling_of(folder))
    config = read_dict(where)
    head = None
    if not is_sentences:
        family = family_of(config, where)
        head = head_of(family, config, where)
        if head not in TASK_OF_HEAD:
            raise ValueError(
                f"{where} has the architecture {family.heads[head][0]}, for which there is no "
                f"task. Use keraslm.interop.load_huggingface(folder)."
            )
    task = TASK_OF_HEAD[head]
    model = load_huggingface(folder, head=None if is_sentences else "auto", dtype=dtype)
    tokenizer = fitting_tokenizer(folder, model)
    settings = task.stated_settings(folder, config, model)
    try:
        return task(model, tokenizer, **settings)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
