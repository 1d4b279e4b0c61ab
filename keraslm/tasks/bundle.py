"""A bundle: a folder with everything a model needs, readable by any runtime.

* ``config.json``: class and architecture, with ``format_version``
* ``model.safetensors``: weights, by path
* ``tokenizer.json``: the tokenizer
* ``tokenizer_config.json``: what its tokens are for, the chat template; older bundles have none
* ``generation_config.json``: default settings of generation
* ``sample.json``: of a text generator that was trained here, some of its text, as ``{"texts":
  […]}``: what its exports are judged on. Optional; ``lm.sample = None`` leaves it out
* ``README.md``: the model card
"""

import functools
import json
import re

from keraslm import _files
from keraslm._files import Writer, checked_path, warn_of
from keraslm._files.facts import digest, read_dict, read_object
from keraslm._targets import MEDIAPIPE_FILES, TARGETS
from keraslm._text import checked_str
from keraslm._version import __version__
from keraslm.generation.config import GenerationConfig
from keraslm.models.loading import build_with_values, weights_of
from keraslm.tasks import classes
from keraslm.tokenizers.tokenizer import Tokenizer

FORMAT_VERSION = 1
# Exports of earlier weights, which new weights make wrong.
EXPORTS = (*TARGETS.values(), *MEDIAPIPE_FILES.values())
FILES = ("config.json", "model.safetensors", "tokenizer.json", "generation_config.json")
SAMPLE, CARD_FILE, ROLES = "sample.json", "README.md", "tokenizer_config.json"

CARD = """# {name}

A {type} with {parameters:,} parameters, made with keraslm {version}.

```python
import keraslm

{task} = keraslm.from_pretrained("{name}")
print({call})
```
"""
MODELS = ("GPT", "BERT", "GPTEncoder")


def check_tokenizer(task):
    """Raise a ValueError if a task has no tokenizer."""
    if task.tokenizer is None:
        raise ValueError(
            "There is no tokenizer: the folder has no tokenizer files. Use .model on ids, or give "
            "one: task.tokenizer = keraslm.tokenizers.Tokenizer.load(path)."
        )


def reserved(folder, need=0):
    """Hold a folder, from before a training to after its saving: what cannot be written is known.

    Args:
        folder: where the bundle will be written by the thread that holds it.
        need: bytes, if they are known.

    Raises:
        OSError, ValueError: as `write`.
    """
    return _files.reserved(
        folder, [name for name in (*FILES, SAMPLE) if name != "tokenizer.json"], need
    )


def write(lm, folder, card=None, dtype=None):
    """Write a task as a bundle, whole or not at all.

    Args:
        lm: a task, such as a `TextGenerator`.
        folder: an older bundle there is replaced. Its exports are removed, with a warning, unless
            weights, tokenizer and settings are as they were; all other files stay.
        card: text of README.md; default, a short one, or what a user wrote there.
        dtype: of the stored weights, such as ``"float16"``; default, their own.

    Returns:
        the folder's ``Path``.

    Raises:
        ValueError: the task has no tokenizer, or is of a class that could not be found again; or
            its ``sample`` is no list of texts; or its weights are not finite, and the folder has
            a model.
        FileExistsError, BusyError: the folder holds something else of such a name, or another
            process writes there.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    check_tokenizer(lm)
    folder = checked_path(folder, "folder")
    if card is not None:
        checked_str(card, "card")
    model, task = lm.model, classes.base_of(lm)
    sample = lm.sample
    if sample is not None and not _is_texts(sample):
        raise ValueError(f"lm.sample must be a list of str, or None; received {sample!r}.")
    config = {
        "format_version": FORMAT_VERSION,
        "keraslm_version": __version__,
        "task": task,
        "settings": getattr(lm, "settings", {}),
        "model": {"class": classes.name_of(model, MODELS), "config": _architecture(model)},
    }
    if not type(lm).__module__.startswith("keraslm."):
        config["task_class"] = classes.registered_name(lm)
    if config["model"]["class"] not in MODELS:
        classes.check_rebuilds(model, config["model"]["config"])
    if getattr(model, "recipe", None) is not None:
        config["recipe"] = model.recipe.to_dict()
    weights = _weights(model, dtype)
    _check_replaces(folder, weights)
    with Writer(
        folder,
        (*FILES, ROLES, SAMPLE, CARD_FILE),
        fences=["config.json"],
        keep=[CARD_FILE] if card is None else [],
        own=["tokenizer.json", ROLES, *([] if card is None else [CARD_FILE])],
        need=sum(array.nbytes for array in weights.values()),
    ) as writer:
        new = writer.new
        _write_json(new / "config.json", config)
        try:
            save_file(weights, new / "model.safetensors")
        except SafetensorError as error:
            raise OSError(f"The weights cannot be written to {folder}: {error}.") from error
        lm.tokenizer.save(new / "tokenizer.json")
        if hasattr(lm, "generation_config"):
            _write_json(new / "generation_config.json", lm.generation_config.to_dict())
        if sample:
            _write_json(new / SAMPLE, {"texts": sample})
        text = card or CARD.format(
            name=folder.name,
            type=type(model).__name__,
            parameters=model.count_params(),
            version=__version__,
            task=lm.example.partition(".")[0],
            call=lm.example,
        )
        if card is not None or _has_our_card(folder):
            (new / CARD_FILE).write_text(text, encoding="utf-8")
        stale = (*EXPORTS, "report.json") if _differs(new, folder, config) else ()
        report = writer.commit(stale=(*stale, SAMPLE, "generation_config.json"))
    removed = [name for name in report.removed if name.startswith(EXPORTS)]
    warn_of(report._replace(removed=removed), folder)
    return folder


def _has_our_card(folder):
    """Whether a folder has no card but the short one that `write` makes: others stay."""
    file = folder / CARD_FILE
    if not file.exists():
        return True
    parts = map(re.escape, re.split(r"\{[^}]*\}", CARD))
    card = file.read_text(encoding="utf-8", errors="replace")
    return re.fullmatch(".*".join(parts), card) is not None


def _check_replaces(folder, weights):
    """Raise if the folder holds something that these weights must not replace."""
    import numpy as np

    there = read_object(folder / "config.json")
    if there and "keraslm_version" not in there and "architectures" in there:
        raise ValueError(
            f"{folder} holds a checkpoint in the form of transformers. Give another folder."
        )
    for name, array in weights.items():
        if there and not np.isfinite(array).all():
            raise ValueError(
                f"The weights are not finite, such as {name!r}, and {folder} holds a model, which "
                "stays. Train with a smaller learning rate, or save to another folder to look."
            )


def _differs(new, folder, config):
    """Whether an export of the bundle that is in the folder is not one of the new bundle."""
    there = read_object(folder / "config.json")
    if any(there.get(key) != config[key] for key in ("task", "settings", "model")):
        return True
    return any(
        (new / name).is_file() != (folder / name).is_file()
        or ((new / name).is_file() and digest(new / name) != digest(folder / name))
        for name in (*FILES[1:], ROLES)
    )


def check_belongs(folder, model):
    """Raise a ValueError if the folder is a bundle of other weights than the model has.

    An export beside them would not be of the model that is there.
    """
    import numpy as np
    from safetensors import SafetensorError, safe_open

    file = folder / "model.safetensors"
    if "keraslm_version" not in read_object(folder / "config.json") or not file.is_file():
        return
    try:
        with safe_open(file, framework="numpy") as stored:
            weights = _weights(model, None)
            same = set(stored.keys()) == set(weights) and all(
                np.array_equal(weights[name].astype(there.dtype), there)
                for name in weights
                for there in [stored.get_tensor(name)]
            )
    except (SafetensorError, ValueError):  # damaged; or a model that could not be saved
        same = False
    if not same:
        raise ValueError(
            f"{folder} holds a model with other weights, of which this export would not be. Save "
            f"this one there first, lm.save({str(folder)!r}), or export to another folder."
        )


def read(folder, config, dtype=None):
    """Read a bundle.

    Args:
        folder: its ``Path``.
        config: from `read_config`.
        dtype: dtype policy of the model; default, as saved.

    Returns:
        the model, the `Tokenizer`, and the task's settings as a dict (of a `TextGenerator` its
        `GenerationConfig`, as ``generation_config``).

    Raises:
        ValueError: a file is corrupt.
    """
    task, kind = config["task"], config["model"]["class"]
    fields = dict(config["model"]["config"])
    if dtype is not None:
        fields["dtype"] = dtype

    def make():
        try:
            return classes.find(kind, MODELS).from_config(fields)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{folder / 'config.json'} is damaged: {error}") from error

    model = _with_weights(make, folder / "model.safetensors", fields.get("num_layers"))
    model.recipe = _recipe(folder / "config.json", config.get("recipe"))
    settings = config.get("settings") or {}
    if task == "TextGenerator":
        file = folder / "generation_config.json"
        try:
            settings["generation_config"] = GenerationConfig().replace(**read_dict(file))
        except (ArithmeticError, TypeError, ValueError) as error:
            raise ValueError(f"{file} is damaged: {error}") from error
    return model, Tokenizer.load(folder), settings


def read_sample(folder):
    """The texts in ``sample.json`` of a bundle; ``None`` if it has no such file.

    Raises:
        ValueError: the file is damaged.
    """
    file = folder / SAMPLE
    if not file.is_file():
        return None
    texts = read_dict(file).get("texts")
    if not _is_texts(texts):
        raise ValueError(f"{file} is damaged: 'texts' is no list of texts.")
    return texts


def _is_texts(value):
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def read_config(folder):
    """The checked ``config.json`` of a bundle, all of whose files are there.

    Raises:
        FileNotFoundError, ValueError: as `read`.
    """
    config = read_dict(folder / "config.json") if (folder / "config.json").is_file() else {}
    needed = FILES if config.get("task", "TextGenerator") == "TextGenerator" else FILES[:3]
    for name in needed:
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} is not a whole bundle: {name} is missing. Save the model again with "
                "lm.save(folder)."
            )
    version, model = config.get("format_version"), config.get("model")
    shape = model.get("config") if isinstance(model, dict) else None
    if not (isinstance(version, int) and isinstance(model, dict) and isinstance(shape, dict)):
        raise ValueError(f"{folder / 'config.json'} was not written by keraslm.")
    if version > FORMAT_VERSION:
        raise ValueError(
            f"{folder} has format {version}; this keraslm reads up to {FORMAT_VERSION}. "
            "Upgrade keraslm."
        )
    task, kind = config.get("task"), model.get("class")
    for own in (kind, config.get("task_class") or ""):
        if ">" in str(own) and classes.find(own) is None:
            raise ValueError(
                f"{folder} is of the class {own!r}, which nobody has registered. Import the "
                "module that defines it first."
            )
    if kind not in MODELS and ">" not in str(kind):
        raise unknown(folder, task, kind)
    return config


def unknown(folder, task, kind):
    """The error of a bundle with a task or a model that there is not."""
    return ValueError(
        f"{folder} holds a {task} with a {kind}, which this keraslm does not know. Upgrade keraslm."
    )


def _recipe(file, fields):
    """The `Recipe` in a ``config.json``; None if there is none."""
    from keraslm.training.recipe import Recipe

    try:
        return None if fields is None else Recipe.from_dict(fields)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file} is damaged: 'recipe': {error}") from error


def _architecture(model):
    """The config that rebuilds the model; its weights replace any initial vectors."""
    config = model.get_config()
    config.pop("embeddings_initializer", None)
    config["dtype"] = model.dtype_policy.name
    return config


def _weights(model, dtype):
    import keras
    import numpy as np

    arrays = {name: keras.ops.convert_to_numpy(w) for name, w in weights_of(model).items()}
    return {
        name: np.ascontiguousarray(
            a.astype(dtype) if dtype and np.issubdtype(a.dtype, np.floating) else a
        )
        for name, a in arrays.items()
    }


def _with_weights(make, file, num_layers):
    """The model with the weights in the file, read one at a time."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as tensors:
            if isinstance(num_layers, int) and num_layers > len(tensors.keys()):
                raise ValueError(  # building so many would not end
                    f"{file} does not fit config.json, which has num_layers={num_layers!r}."
                )

            def plan(model):
                weights, stored = weights_of(model), set(tensors.keys())
                if stored != set(weights):
                    odd = sorted(stored ^ set(weights))[0]
                    raise ValueError(
                        f"{file} does not fit config.json: {odd!r} is on one side only."
                    )
                for name, weight in weights.items():
                    shape = tuple(tensors.get_slice(name).get_shape())
                    if shape != tuple(weight.shape):
                        raise ValueError(
                            f"{file} does not fit config.json: {name!r} has shape {shape}, "
                            f"not {tuple(weight.shape)}."
                        )
                return {name: functools.partial(tensors.get_tensor, name) for name in weights}

            return build_with_values(make, plan)
    except SafetensorError as error:
        raise ValueError(f"{file} is damaged: {error}") from error


def _write_json(file, value):
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    file.write_text(text, encoding="utf-8")
