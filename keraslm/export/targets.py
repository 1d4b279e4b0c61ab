"""The targets of export, and proof of whatever is at a path."""

import importlib
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from keraslm._targets import TARGETS as FILES
from keraslm._types import StrPath
from keraslm.export.manifest import manifest_entry
from keraslm.export.verification import Verification
from keraslm.tokenizers.tokenizer import Tokenizer


class Target(NamedTuple):
    """What an export is for.

    Args:
        name: its file or folder in a bundle.
        export: writes it: ``export(task, path, …)``.
        is_at: whether a path holds it.
        verify: compares it with the task: ``verify(path, task, mode, texts, limits)``.
        quantizes: whether ``export`` takes ``quantization``.

    Example:
        >>> tflite = keraslm.export.TARGETS["tflite"]
        >>> tflite.name, tflite.quantizes
        ('model.tflite', True)
    """

    name: str
    export: Callable
    is_at: Callable[[Path], bool]
    verify: Callable
    quantizes: bool


def _target(name: str, file: str) -> Target:
    """What the folder of a target has."""
    folder = importlib.import_module(f"keraslm.export.to_{name}")
    quantizes = "quantization" in inspect.signature(folder.export).parameters
    return Target(file, folder.export, folder.is_at, folder.verify, quantizes)


TARGETS = {name: _target(name, file) for name, file in FILES.items()}


def target_of(path) -> str | None:
    """Name of the target that stands at a path, or ``None``."""
    return next((name for name, target in TARGETS.items() if target.is_at(Path(path))), None)


def verify(
    path: StrPath,
    lm: Any,
    mode: str = "quick",
    texts: str | Sequence[str] | None = None,
    limits: dict[str, float] | None = None,
    *,
    tokenizer: Tokenizer | None = None,
    labels: Sequence[str] | None = None,
) -> Verification:
    """Compare an exported file with the Keras model, in its real runtime.

    Of a decoder, both read a text, and their logits are compared token by token; then both
    continue prompts of 1, 9 and 130 tokens (or what fits) greedily and freely, prompts that the
    model wrote itself. A ``.tflite`` runs in LiteRT, a ``.litertlm`` in LiteRT-LM, a web folder in
    Chromium, a file for MediaPipe in MediaPipe; a SavedModel is loaded in a fresh process. What a
    file states beside its numbers, such as stop tokens, settings, a template or the names of
    classes, must be what the task says (`keraslm.export.facts`).

    Args:
        path: the file or folder.
        lm: what it was made from: the task; for a ``.tflite`` or a file for MediaPipe a model will
            do, and for a SavedModel a `keraslm.models.BERT`.
        mode: ``"quick"``, or ``"full"``: for a ``.tflite`` also the time to read a prompt, and
            memory.
        texts, limits: as in `keraslm.export.tflite`.
        tokenizer, labels: of a bare model in a file for MediaPipe, as `keraslm.export.mediapipe`
            was given them; default of ``labels`` those in the file.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: none of these, or ``manifest.json`` knows the file with another hash.

    Example:
        >>> lm = keraslm.from_pretrained("saved_models/mine")
        >>> print(keraslm.export.verify("saved_models/mine/model.tflite", lm))
        passed, ... greedy tokens as in Keras ...
    """
    path = Path(path)
    if mode not in ("quick", "full"):
        raise ValueError(f"mode must be 'quick' or 'full'; received {mode!r}.")
    if not path.exists():
        raise FileNotFoundError(f"No file or folder {path}. Export the model first.")
    manifest_entry(path)  # raises if the file was changed
    name = target_of(path)
    if name is None and path.is_file():
        name = "tflite"  # whose reader says what is wrong with it
    if name is None:
        raise ValueError(
            f"{path} is neither a .tflite or .litertlm file nor a SavedModel or web folder."
        )
    given = {"tokenizer": tokenizer, "labels": labels}
    given = {argument: value for argument, value in given.items() if value is not None}
    if given and name != "mediapipe":
        raise ValueError(
            f"tokenizer and labels are for a file of keraslm.export.mediapipe; {path} is none. "
            "Leave them out, or give the task that has them."
        )
    return TARGETS[name].verify(path, lm, mode, texts, limits, **given)
