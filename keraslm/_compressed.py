"""Files as they are inside their compression, which is told by their first bytes."""

import bz2
import contextlib
import gzip
import lzma
import os
import posixpath
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

# How each kind begins, and what opens it.
KINDS: dict[str, tuple[bytes, Callable[..., Any]]] = {
    ".gz": (b"\x1f\x8b", gzip.open),
    ".bz2": (b"BZh", bz2.open),
    ".xz": (b"\xfd7zXZ\0", lzma.open),
    ".zip": (b"PK\3\4", zipfile.ZipFile),
}
_BLOCK = (b"1AY&SY", b"\x17rE8P\x90")  # what a .bz2 goes on with; a text may begin with "BZh"
BAD = (
    EOFError, OSError, zlib.error, lzma.LZMAError,
    zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError,
)  # fmt: skip


def kind_of(path: Path) -> str | None:
    """``".gz"``, ``".bz2"``, ``".xz"`` or ``".zip"``; ``None`` of a plain file.

    Raises:
        ValueError: the name says one of these and the file is none.
    """
    with open(path, "rb") as stream:
        return _kind(path, stream.read(10))


def _kind(path, head):
    for kind, (begins, _) in KINDS.items():
        if head.startswith(begins) and (kind != ".bz2" or head[4:] in _BLOCK):
            return kind
    if path.suffix.lower() in KINDS:
        raise ValueError(_damaged(path, path.suffix.lower(), "it does not begin as one"))
    return None


def members(path: Path) -> list[Path]:
    """The files in a ``.zip``, as paths through it, sorted; hidden ones are left out."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
    except BAD as error:
        raise ValueError(_damaged(path, ".zip", error)) from error
    for name in names:
        if name != posixpath.normpath(name) or name.startswith(("/", "..")) or "\\" in name:
            raise ValueError(f"{path} holds a file with the odd name {name!r}. Unpack it.")
    if len(set(names)) != len(names):
        raise ValueError(f"{path} holds two files with one name. Unpack it.")
    return sorted(path / n for n in names if not n.startswith("__MACOSX/") and not is_hidden(n))


def is_hidden(name: str) -> bool:
    """Whether a part of a path inside a folder begins with a dot."""
    return any(part.startswith(".") for part in name.split("/"))


def archive_of(path: Path) -> Path | None:
    """The ``.zip`` that a path goes through: ``glove.zip`` of ``glove.zip/glove.50d.txt``."""
    for parent in path.parents:
        if os.path.isfile(parent):  # which does not raise for a text in place of a path
            return parent if kind_of(parent) == ".zip" else None
        if os.path.exists(parent):
            return None
    return None


def exists(path: Path) -> bool:
    """Whether there is such a file or folder, on the disk or in a ``.zip``."""
    archive = None if os.path.lexists(path) else archive_of(path)
    return os.path.exists(path) if archive is None else path in members(archive)


def plain_name(path: Path) -> str:
    """What the file is called without its compression: ``a.txt`` of ``a.txt.gz``."""
    if not path.is_file():
        return path.name
    kind = kind_of(path)
    if kind == ".zip":
        return _only_member(path).name
    return path.stem if path.suffix.lower() == kind else path.name


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a file, decompressed.

    Args:
        path: a file, compressed or not; of a ``.zip``, its only file is read, or the one that
            ``archive.zip/name`` names.

    Raises:
        ValueError: it is damaged (when it is opened, or read), needs a password, or is a ``.zip``
            of several files.
    """
    archive = None if path.is_file() else archive_of(path)
    with open(archive or path, "rb") as file:  # once: a pipe cannot be read again
        kind = _kind(archive or path, file.peek(10)[:10])
        if kind is None:
            yield file
            return
        try:
            if kind == ".zip":
                name = path if archive else _only_member(path)
                with zipfile.ZipFile(archive or path) as packed, _member(packed, name) as stream:
                    yield stream
            else:
                with KINDS[kind][1](file, "rb") as stream:
                    yield stream
        except BAD as error:
            raise ValueError(_damaged(archive or path, kind, error)) from error


@contextlib.contextmanager
def decompressed(path: Path) -> Iterator[Path]:
    """The file itself, or a copy without compression for what reads only files, gone afterwards."""
    if path.is_file() and kind_of(path) is None:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "copy")
        with opened(path) as stream, open(copy, "wb") as new:
            shutil.copyfileobj(stream, new)
        yield copy


def _only_member(path):
    found = members(path)
    if len(found) != 1:
        some = f"{len(found)} files" if found else "no file"
        how = f" Name one of them, such as {found[0]}." if found else ""
        raise ValueError(f"{path} holds {some}.{how}")
    return found[0]


def _member(archive, file):
    name = file.as_posix().removeprefix(Path(archive.filename).as_posix() + "/")
    try:
        return archive.open(name)
    except KeyError:
        raise FileNotFoundError(f"No file {name} in {archive.filename}.") from None
    except RuntimeError as error:  # a password, an unusual compression
        raise ValueError(f"{archive.filename} cannot be read: {error}. Unpack it.") from error


def _damaged(path, kind, error):
    return f"{path} is a damaged {kind} archive ({error}). Fetch or compress it again."
