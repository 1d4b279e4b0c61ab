"""Checks before the work begins."""

from typing import Any

from keraslm._files import reserved
from keraslm._types import StrPath


def check_new(args: Any) -> None:
    """Raise a ValueError if ``--out`` holds a model, unless there is ``--overwrite``."""
    if (args.out / "config.json").is_file() and not args.overwrite:
        raise ValueError(f"{args.out} holds a model. Give another --out, or --overwrite.")


def check_writable(folder: StrPath) -> None:
    """Fail before the work, not after it, if the result could not be written.

    Example:
        >>> check_writable("a/new/folder")
    """
    with reserved(folder):
        pass
