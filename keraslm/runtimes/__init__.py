"""Exported files in their runtimes, from Python: one class for each kind of file."""

import zipfile

from keraslm._files import checked_path
from keraslm._types import StrPath
from keraslm.runtimes.litert import LiteRTModel
from keraslm.runtimes.litert_encoder import LiteRTEncoder
from keraslm.runtimes.litertlm import LiteRTLM
from keraslm.runtimes.saved_model import SavedTextModel
from keraslm.runtimes.streaming import Piece, Runtime

__all__ = [
    "LiteRTEncoder",
    "LiteRTLM",
    "LiteRTModel",
    "Piece",
    "Runtime",
    "SavedTextModel",
    "open_runtime",
]


def open_runtime(path: StrPath) -> Runtime:
    """The runtime for an exported text generator, by the kind of file that stands at a path.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: none of these; of another kind of file, the sentence says which one it is.

    Example:
        >>> runtime = keraslm.runtimes.open_runtime("saved_models/mine/model.tflite")
        >>> continuation = "".join(runtime.stream("The city of", 5))
    """
    path = checked_path(path)
    if not path.exists():
        raise FileNotFoundError(f"No file or folder {path}. Make one with 'keraslm export'.")
    if path.suffix in (".tflite", ".task") and zipfile.is_zipfile(path):  # packed: a vocabulary
        raise ValueError(
            f"{path} is made for MediaPipe Tasks, which take text themselves. Open it with "
            "mediapipe.tasks.python.text, or export a text generator with keraslm.export.tflite."
        )
    if path.suffix == ".tflite":
        return LiteRTModel(path)
    if path.suffix == ".litertlm":
        return LiteRTLM(path)
    if (path / "saved_model.pb").is_file():
        return SavedTextModel(path)
    raise ValueError(f"{path} is neither a .tflite or .litertlm file nor a SavedModel.")
