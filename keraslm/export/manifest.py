"""Where an export goes, and what ``manifest.json`` says of it: its hash and its proof.

An export in a bundle is listed in the bundle's manifest; a file anywhere else in that of its
folder, a folder anywhere else in its own, as ``"."``.
"""

import contextlib
import dataclasses
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from keraslm._files import Writer, facts, replaced_file, warn_of
from keraslm._targets import MEDIAPIPE_FILES, TARGETS
from keraslm.tasks import bundle


class Place:
    """What an export is written to; it takes its name when `keep` is called."""

    def __init__(self, path: Path, new: Path) -> None:
        self.path, self.new = path, new
        self.result: Any = None

    def keep(self, result: Any) -> None:
        """Note what the proof said; ``None`` if there was none."""
        self.result = result


@contextlib.contextmanager
def exported(path: Path, of: Any, parts: Collection[str] = (), *, fence: str | None = None,
             keep: Collection[str] = ()) -> Iterator[Place]:  # fmt: skip
    """The `Place` of an export, checked and locked before the work; nothing is left if it fails.

    Args:
        path: a file; with ``parts``, a folder.
        of: the task or Keras model, which is that of the bundle if the folder is one.
        parts: names in the folder, as `keraslm._files.Writer` takes them.
        fence: the part without which another program does not load the folder.
        keep: parts that stay as they are once they were edited; ``README.md`` always is.

    Raises:
        OSError, ValueError: it cannot be written, or the bundle is of another model.
    """
    if path.name in (*TARGETS.values(), *MEDIAPIPE_FILES.values()):
        bundle.check_belongs(path.parent, getattr(of, "model", of))
    own = facts.is_ours(facts.read_object(path / facts.MANIFEST))
    inside = not parts or (bool(facts.listed(path.parent)) and not own)
    base, name = (path.parent, path.name) if inside else (path, ".")
    if not parts and facts.has_foreign_manifest(base):
        with replaced_file(path) as new:
            place = Place(path, new)
            yield place
        warnings.warn(
            f"{base / facts.MANIFEST} is not of keraslm: the proof of {path.name} is not noted.",
            stacklevel=4,
        )
        return

    def named(names):
        return [f"{name}/{part}" for part in names] if inside and parts else list(names)

    writer = Writer(
        base,
        named(parts) if parts else [name],
        fences=named([fence] if fence else []),
        keep=named([*keep, "README.md"]) if parts else (),
        own=() if parts else [name],
    )
    with writer:
        place = Place(path, writer.new / name if inside else writer.new)
        if parts:
            place.new.mkdir(exist_ok=True)
        yield place
        report = writer.commit(
            stale=[name] if inside else [part.rstrip("/") for part in parts],
            exports={name: _entry(place.new, place.result)},
        )
    warn_of(report._replace(removed=[]), base)


def _entry(new, result):
    if result is None:
        return None
    entry = {"target": result.target, "bytes": result.num_bytes}
    if new.is_file():
        entry["sha256"] = facts.digest(new)
    entry["verification"] = dataclasses.asdict(result)
    return entry


def begins(path, content, at=0):
    """Whether a path is a file with these bytes at a place."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        file.seek(at)
        return file.read(len(content)) == content


def manifest_entry(path):
    """What ``manifest.json`` says of an export; ``None`` if nothing.

    Raises:
        ValueError: the file has another hash than when it was exported.
    """
    path = Path(path)
    entry = _said(path.parent).get(path.name) or _said(path).get(".")
    stated = entry.get("sha256") if isinstance(entry, dict) and path.is_file() else None
    if stated and facts.digest(path) != stated:
        raise ValueError(
            f"{path} is not the file that was exported: its hash differs from that in "
            "manifest.json. Export the model again."
        )
    return entry


def _said(folder):
    return facts.exports_in(facts.read_object(folder / facts.MANIFEST))
