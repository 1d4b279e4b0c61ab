"""A bundle: a folder with everything a model needs, readable by any runtime.

* ``config.json``: class and architecture, with ``format_version``
* ``model.safetensors``: weights, by path
* ``tokenizer.json``: the tokenizer
* ``generation_config.json``: default settings of generation
* ``README.md``: the model card
"""

import json
from pathlib import Path

from keraslm._files import replaced_folder
from keraslm.generation.config import GenerationConfig
from keraslm.tokenizers.tokenizer import Tokenizer

FORMAT_VERSION = 1
# Exports of earlier weights, which new weights make wrong.
EXPORTS = ("manifest.json", "model.tflite", "model.litertlm", "saved_model", "web")
FILES = ("config.json", "model.safetensors", "tokenizer.json", "generation_config.json")

CARD = """# {name}

A {type} with {parameters:,} parameters, made with keraslm {version}.

```python
import keraslm

lm = keraslm.from_pretrained("{name}")
print(lm.generate("Once upon a time", max_new_tokens=40))
```
"""


def write(lm, folder, card=None, dtype=None):
    """Write a task as a bundle, whole or not at all.

    Args:
        lm: a `TextGenerator`.
        folder: an older bundle there is replaced, with its exports; other files in it stay.
        card: text of README.md; default, a short one.
        dtype: of the stored weights, such as ``"float16"``; default, their own.

    Returns:
        the folder's ``Path``.
    """
    from safetensors.numpy import save_file

    import keraslm

    folder = Path(folder)
    model = lm.model
    config = {
        "format_version": FORMAT_VERSION,
        "keraslm_version": keraslm.__version__,
        "task": type(lm).__name__,
        "model": {"class": type(model).__name__, "config": _architecture(model)},
    }
    with replaced_folder(folder, stale=EXPORTS) as new:
        _write_json(new / "config.json", config)
        save_file(_weights(model, dtype), new / "model.safetensors")
        lm.tokenizer.save(new / "tokenizer.json")
        _write_json(new / "generation_config.json", lm.generation_config.to_dict())
        card = card or CARD.format(
            name=folder.name,
            type=type(model).__name__,
            parameters=model.count_params(),
            version=keraslm.__version__,
        )
        (new / "README.md").write_text(card, encoding="utf-8")
    return folder


def read(folder, dtype=None):
    """Read a bundle.

    Args:
        folder: its ``Path``.
        dtype: dtype policy of the model; default, as saved.

    Returns:
        the model, the `Tokenizer` and the `GenerationConfig`.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is corrupt, or was written by a newer keraslm.
    """
    import keraslm.models

    for name in FILES:
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} is not a whole bundle: {name} is missing. Save the model again with "
                "lm.save(folder)."
            )
    config = _read_json(folder / "config.json")
    version = config.get("format_version")
    if not isinstance(version, int) or "model" not in config:
        raise ValueError(f"{folder / 'config.json'} was not written by keraslm.")
    if version > FORMAT_VERSION:
        raise ValueError(
            f"{folder} has format {version}; this keraslm reads up to {FORMAT_VERSION}. "
            "Upgrade keraslm."
        )
    kind = config["model"].get("class")
    if config.get("task") != "TextGenerator" or kind != "GPT":
        raise ValueError(
            f"{folder} holds a {config.get('task')} with a {kind}, which this keraslm does not "
            "know. Upgrade keraslm."
        )
    fields = dict(config["model"]["config"])
    if dtype is not None:
        fields["dtype"] = dtype
    try:
        model = keraslm.models.GPT.from_config(fields)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{folder / 'config.json'} is damaged: {error}") from error
    _load_weights(model, folder / "model.safetensors")
    settings = _read_json(folder / "generation_config.json")
    return model, Tokenizer.load(folder), GenerationConfig().replace(**settings)


def _architecture(model):
    """The config that rebuilds the model; its weights replace any initial vectors."""
    config = model.get_config()
    config.pop("embeddings_initializer", None)
    config["dtype"] = model.dtype_policy.name
    return config


def _named(model):
    """Weights by path, without the model's own name in front."""
    prefix = f"{model.name}/"
    named = {weight.path.removeprefix(prefix): weight for weight in model.weights}
    if len(named) != len(model.weights):
        raise ValueError("Two weights of the model have one path: give its layers other names.")
    return named


def _weights(model, dtype):
    import keras
    import numpy as np

    arrays = {name: keras.ops.convert_to_numpy(w) for name, w in _named(model).items()}
    return {
        name: np.ascontiguousarray(
            a.astype(dtype) if dtype and np.issubdtype(a.dtype, np.floating) else a
        )
        for name, a in arrays.items()
    }


def _load_weights(model, file):
    from safetensors import SafetensorError, safe_open

    weights = _named(model)
    try:
        with safe_open(file, framework="numpy") as tensors:
            stored = set(tensors.keys())
            if stored != set(weights):
                odd = sorted(stored ^ set(weights))[0]
                raise ValueError(f"{file} does not fit config.json: {odd!r} is on one side only.")
            # One tensor at a time: memory stays at the model plus one tensor.
            for name, weight in weights.items():
                value = tensors.get_tensor(name)
                if value.shape != tuple(weight.shape):
                    raise ValueError(
                        f"{file} does not fit config.json: {name!r} has shape {value.shape}, "
                        f"not {tuple(weight.shape)}."
                    )
                weight.assign(value)
    except SafetensorError as error:
        raise ValueError(f"{file} is damaged: {error}") from error


def _write_json(file, value):
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    file.write_text(text, encoding="utf-8")


def _read_json(file):
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{file} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{file} is damaged: it holds no object.")
    return value
