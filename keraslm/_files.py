"""Paths, and writing so that a good file is never replaced by half a one."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path


def checked_path(path: object, name: str = "path") -> Path:
    """A ``Path``.

    Args:
        path: what was received.
        name: of the argument, for errors.

    Raises:
        ValueError: it is neither a str nor a path.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise ValueError(
            f"{name} must be the name of a file or folder, a str or a Path; received {path!r:.80}."
        )
    return Path(path)


@contextlib.contextmanager
def replaced_folder(path: str | os.PathLike, stale: Collection[str] | None = None):
    """A new folder that takes the name ``path`` when the block ends well, and vanishes otherwise.

    The new folder stands beside the old one until then, so the last step is a rename.

    Args:
        path: the folder to make or replace.
        stale: names of entries of the old folder that must not outlive it. Every other entry
            that the block did not write is carried over; ``None``: nothing is.
    """
    path = checked_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is a file. Give the name of a folder.")
    new = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-"))
    try:
        yield new
        for entry in (new, *new.rglob("*")):  # some writers make files only their owner may read
            os.chmod(entry, 0o755 if entry.is_dir() else 0o644)
        if stale is not None and path.exists():
            for entry in path.iterdir():
                if entry.name not in stale and not (new / entry.name).exists():
                    copy = shutil.copytree if entry.is_dir() else shutil.copy2
                    copy(entry, new / entry.name)
        if path.exists():
            old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-old-"))
            os.replace(path, old / path.name)
            try:
                os.replace(new, path)
            except OSError:
                os.replace(old / path.name, path)
                raise
            shutil.rmtree(old)
        else:
            os.replace(new, path)
    finally:
        shutil.rmtree(new, ignore_errors=True)


@contextlib.contextmanager
def replaced_file(path: str | os.PathLike) -> Iterator[Path]:
    """A new file that takes the name ``path`` when the block ends well; see `replaced_folder`."""
    path = checked_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise ValueError(f"{path} is a folder. Give the name of a file.")
    # Some readers go by the end of the name.
    descriptor, name = tempfile.mkstemp(path.suffix, f".{path.stem}-", path.parent)
    os.close(descriptor)
    try:
        yield Path(name)
        os.chmod(name, 0o644)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
