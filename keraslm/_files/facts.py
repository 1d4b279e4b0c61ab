"""What is known of files on the disk: hashes, stamps, mounts, the manifest of a folder."""

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # where it is missing

MANIFEST = "manifest.json"
VERSION = 1
MOST = 10_000  # files of a folder of ours, of which a hundred is many
Stamp = list[int]


def checked_path(path: object, name: str = "path") -> Path:
    """A ``Path``.

    Args:
        path: what was received.
        name: of the argument, for errors.

    Raises:
        ValueError: it is neither a str nor a path, or no name.
    """
    if not isinstance(path, (str, os.PathLike)) or not str(path) or not is_name(str(path)):
        raise ValueError(
            f"{name} must be the name of a file or folder, a str or a Path; received {path!r:.80}."
        )
    return Path(path)


def is_name(text: str) -> bool:
    """Whether a file system can hold a name: no NUL, no half of a character."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def digest(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def entry_of(file: Path) -> dict[str, Any]:
    """What a manifest says of a file."""
    return {"sha256": digest(file), "bytes": os.path.getsize(file)}


def stamp(*places: Path) -> Stamp | None:
    """What changes when a file is replaced; of the first of the places that is there."""
    for place in places:
        with contextlib.suppress(OSError):
            status = os.stat(place)
            return [status.st_ino, status.st_mtime_ns, status.st_size]
    return None


def files_below(folder: Path) -> Iterator[str]:
    """Names of all files below a folder, relative to it; links are not followed."""
    for root, _, names in os.walk(folder):
        yield from (Path(root, name).relative_to(folder).as_posix() for name in names)


def read_json(file: Path) -> Any:
    """What a JSON file holds.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged: no UTF-8, no JSON, or nested too deeply.
    """
    if not file.is_file():
        raise FileNotFoundError(f"No file {file}.")
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError(f"{file} is damaged: it is nested too deeply.") from None
    except ValueError as error:
        raise ValueError(f"{file} is damaged: {error}.") from error


def read_dict(file: Path) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        FileNotFoundError, ValueError: as `read_json`; or it holds something else.
    """
    value = read_json(file)
    if not isinstance(value, dict):
        raise ValueError(f"{file} is damaged: it holds no object.")
    return value


def read_object(file: Path) -> dict[str, Any]:
    """A JSON object; an empty one if the file is missing or holds something else."""
    try:
        value = json.loads(file.read_bytes()) if file.is_file() else None  # a pipe would hang
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def write_object(file: Path, value: dict[str, Any]) -> None:
    """A small JSON file, whole or not at all, on the disk when this returns."""
    part = file.with_name(file.name + ".part")
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    part.write_text(text, encoding="utf-8", newline="\n")
    sync(part)
    os.replace(part, file)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if fcntl is None and path.is_dir():
        return  # Windows has no such thing
    descriptor = os.open(path, os.O_RDONLY if fcntl else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_mounted(path: Path) -> bool:
    """Whether it is a mount point; ``os.path.ismount`` overlooks those from the same disk."""
    with contextlib.suppress(OSError):
        rows = Path("/proc/self/mountinfo").read_bytes().splitlines()
        return os.fsencode(path).replace(b" ", rb"\040") in {row.split()[4] for row in rows}
    return os.path.ismount(path)


def is_guarded(path: Path) -> bool:
    """Whether we may not replace a file: it is read-only, or another user's in ``/tmp``."""
    if not os.access(path, os.W_OK):
        return True
    folder, file = os.stat(path.parent), os.lstat(path)
    me = os.geteuid() if hasattr(os, "geteuid") else file.st_uid
    return bool(folder.st_mode & stat.S_ISVTX) and me not in (0, folder.st_uid, file.st_uid)


def is_inside(folder: Path, name: object) -> bool:
    """Whether a name in a file stands for something below a folder, not through a link.

    Manifests and journals come with folders from elsewhere; what they say is not trusted.
    """
    if not isinstance(name, str) or not name or not is_name(name):
        return False
    path = Path(name)
    if path.is_absolute() or path.drive or ".." in path.parts:
        return False
    return not any((folder / parent).is_symlink() for parent in [*path.parents][:-1])


# === The manifest ===


def exports_in(manifest: dict[str, Any]) -> dict[str, Any]:
    """What a manifest says of exports, by name. Before it listed files, they stood at the top."""
    if isinstance(manifest.get("exports"), dict):
        return dict(manifest["exports"])
    if "files" in manifest:
        return {}
    return {name: e for name, e in manifest.items() if isinstance(e, dict) and "target" in e}


def is_ours(manifest: dict[str, Any]) -> bool:
    """Whether a manifest was written by keraslm: a web app has a file of the same name."""
    files = manifest.get("files")
    if manifest.get("keraslm") == VERSION and isinstance(files, dict):
        return len(files) <= MOST
    return bool(manifest) and len(exports_in(manifest)) == len(manifest)


def has_foreign_manifest(folder: Path) -> bool:
    """Whether a folder holds a ``manifest.json`` that is somebody else's."""
    file = folder / MANIFEST
    if not os.path.lexists(file) or is_ours(read_object(file)):
        return False
    # Before manifests listed files, one whose last export was gone was left empty.
    return file.is_symlink() or not file.is_file() or _beginning(file).strip() != b"{}"


# Folders from before manifests listed files: by what they are known, and what in them is ours.
# A name that ends in "/" stands for all files below.
PAGE = (
    "index.html", "app.js", "words.js", "style.css", "serve.py", "keraslm.js", "sampling.js",
    "tokenizer.js", "stream.js", "spacing.js", "README.md", "model.json", "model.tflite",
    "tokenizer.json", "vendor/",
)  # fmt: skip
SAVED_MODEL = ("saved_model.pb", "fingerprint.pb", "README.md", "variables/", "assets/")
EARLIER: tuple[tuple[tuple[str, ...], str, tuple[str, ...]], ...] = (
    (("config.json",), "keraslm_version",
     ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
      "generation_config.json", "sample.json", "README.md", MANIFEST, "model.tflite",
      "model.litertlm", "mediapipe.tflite", "classifier.tflite", "embedder.tflite",
      *(f"saved_model/{name}" for name in SAVED_MODEL), *(f"web/{name}" for name in PAGE))),
    (("recipe.json", "vectors.npy", "vocabulary.txt"), "num_words",
     ("vectors.npy", "vocabulary.txt", "recipe.json", "counts.npy", "vectors_vocab.npy",
      "vectors_ngrams.npy", "results.json", "README.md")),
    (("model.json", "keraslm.js"), "keraslm_version", PAGE),
    (("saved_model.pb", "README.md"), "keraslm", SAVED_MODEL),
)  # fmt: skip


def listed(folder: Path) -> dict[str, dict[str, Any] | None]:
    """The files of a folder that keraslm wrote: name → its entry; ``None`` where that is unknown.

    ``config.json`` and ``recipe.json`` of a folder from before the lists are known by a key,
    a SavedModel by its ``README.md``.
    """
    folder = Path(os.path.realpath(folder))
    manifest = read_object(folder / MANIFEST)
    if is_ours(manifest) and "files" in manifest:
        return {
            name: entry if isinstance(entry, dict) else None
            for name, entry in [*manifest["files"].items(), (MANIFEST, None)]
            if is_inside(folder, name)
        }
    found: dict[str, dict[str, Any] | None] = {}
    for marks, key, names in EARLIER:
        if not all((folder / mark).is_file() for mark in marks):
            continue
        stated = marks[-1] if marks[-1].endswith(".md") else marks[0]
        if key.encode() not in _beginning(folder / stated):
            continue
        for name in names:
            below = [f"{name}{inner}" for inner in files_below(folder / name)]
            found.update(dict.fromkeys(below if name.endswith("/") else [name]))
    if is_ours(manifest):
        found[MANIFEST] = None
        for name in exports_in(manifest):
            below = [f"{name}/{inner}" for inner in files_below(folder / name)]
            found.update(dict.fromkeys([name, *below] if is_inside(folder, name) else []))
    return {name: entry for name, entry in found.items()
            if is_inside(folder, name) and (folder / name).is_file()}  # fmt: skip


def _beginning(file: Path) -> bytes:
    with open(file, "rb") as stream:
        return stream.read(1 << 16)
