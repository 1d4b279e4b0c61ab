"""The third door: something on disk."""

from pathlib import Path

from keraslm.tasks.bundle import read
from keraslm.tasks.text_generator import TextGenerator


def from_pretrained(path, dtype=None) -> TextGenerator:
    """Load a bundle: a task, whose ``.model`` is the network.

    Args:
        path: the folder; ``"demo"`` names the small model that is installed with keraslm.
        dtype: dtype policy of the model, such as ``"mixed_bfloat16"``; default, as saved.

    Raises:
        FileNotFoundError: no such folder, or a file is missing in it.
        ValueError: a file is corrupt, or was written by a newer keraslm.

    Example:
        >>> lm = keraslm.from_pretrained("demo")
        >>> lm.generate("The city of", max_new_tokens=10)
    """
    return TextGenerator(*read(_find(path), dtype))


def _find(path):
    folder = Path(path)
    if folder.is_dir():
        return folder
    packaged = Path(__file__).parent.parent / "pretrained" / str(path)
    if len(Path(path).parts) == 1 and packaged.is_dir():
        return packaged
    raise FileNotFoundError(f"No model at {path}. Give the folder of a bundle, or 'demo'.")
