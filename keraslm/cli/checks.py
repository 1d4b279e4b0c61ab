"""Checks before the work begins."""

from keraslm._files import reserved
from keraslm._types import StrPath


def check_writable(folder: StrPath) -> None:
    """Fail before the work, not after it, if the result could not be written.

    Example:
        >>> check_writable("a/new/folder")
    """
    with reserved(folder):
        pass
