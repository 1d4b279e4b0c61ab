"""Checks before the work begins."""

import os
from pathlib import Path

from keraslm._types import StrPath


def check_writable(folder: StrPath) -> None:
    """Fail before the work, not after it, if the result could not be written.

    Example:
        >>> check_writable("a/new/folder")
    """
    parent = Path(folder)
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise ValueError(f"{folder} cannot be written. Give another folder with --out.")
