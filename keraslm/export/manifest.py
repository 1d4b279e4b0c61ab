"""``manifest.json``: which exports stand in a folder, with their hashes and proofs."""

import dataclasses
import hashlib
import json
from pathlib import Path

from keraslm._files import replaced_file


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
    entry = _read_manifest(path.parent).get(path.name)
    wanted = entry.get("sha256") if isinstance(entry, dict) and path.is_file() else None
    if wanted and _digest(path) != wanted:
        raise ValueError(
            f"{path} is not the file that was exported: its hash differs from that in "
            "manifest.json. Export the model again."
        )
    return entry


def _read_manifest(folder):
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def write_manifest(path, result):
    """Note an export, which is in its place, in ``manifest.json`` of its folder.

    Without a result, what the manifest says of an earlier export of that name is dropped.
    """
    manifest = _read_manifest(path.parent)
    if result is None:
        if path.name not in manifest:
            return
        del manifest[path.name]
    else:
        manifest[path.name] = _entry(path, result)
    with replaced_file(path.parent / "manifest.json") as new:
        new.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def _entry(path, result):
    entry = {"target": result.target, "bytes": result.num_bytes}
    if path.is_file():
        entry["sha256"] = _digest(path)
    entry["verification"] = dataclasses.asdict(result)
    return entry


def _digest(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
