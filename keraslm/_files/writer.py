"""The one writer: of a folder's files, and of a single file."""

import contextlib
import json
import os
import shutil
import stat
import warnings
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from keraslm._files import facts, stage
from keraslm._files.facts import MANIFEST

CARD = "README.md"
ADVICE = "Give a new or empty folder."
Listing = dict[str, dict[str, Any] | None]  # files of ours, with what is known of them


class Report(NamedTuple):
    """What a save did: names of files."""

    written: list[str] = []
    unchanged: list[str] = []
    kept: list[str] = []  # as the user edited them
    set_aside: list[str] = []  # what the user's edits are called now
    removed: list[str] = []  # exports of older weights


class Writer:
    """A folder to write to, checked and locked before the work begins.

    Files are written below `new`, and take their names with `commit`; without it, nothing changes.

    Args:
        path: the folder; one that is not there is made by one rename. A link is followed and stays.
        names: what will be written; a name that ends in ``/`` stands for a whole subfolder.
        fences: files without which a program that knows nothing of us fails, one a (sub)folder,
            such as ``config.json``: while several files of it are replaced, they are away.
        keep: files that stay as they are once the user edited them; a ``README.md`` also if it is
            not ours.
        own: names in ``names`` that are replaced though keraslm did not write them: the file that
            a user named.
        need: bytes that will be written, if known.

    Raises:
        FileExistsError: a name is taken by something that keraslm did not write.
        PermissionError: the folder, or a file in it, cannot be written.
        BusyError: another process writes there.
        OSError: not enough space, a name that is too long, a link to nothing.
        ValueError: ``path`` is a file.

    Example:
        >>> with Writer("models/mine", ["notes.txt"]) as writer:
        ...     _ = (writer.new / "notes.txt").write_text("a first try")
        ...     report = writer.commit()
        >>> report.written
        ['notes.txt']
    """

    def __init__(
        self,
        path: str | os.PathLike,
        names: Collection[str] = (),
        *,
        fences: Collection[str] = (),
        keep: Collection[str] = (CARD,),
        own: Collection[str] = (),
        need: int = 0,
    ) -> None:
        self.path = _followed(path)
        self.names, self.fences = tuple(names), tuple(fences)
        self.keep, self.own, self.need = frozenset(keep), frozenset(own), need
        with _named(path):
            if self.path.exists() and not self.path.is_dir():
                raise ValueError(f"{path} is a file. Give the name of a folder.")
            self._stage, self.is_new = _hold_for(self.path)
        try:
            if not self.is_new:
                stage.roll(self.path, self._stage.place)
            self._stage.empty()
            if self.is_new:
                self.new.mkdir()
            self.listed = {} if self.is_new else facts.listed(self.path)
            self._check(self.names)
            _check_space(self._stage.place, need)
        except BaseException:
            self.close()
            raise

    @property
    def new(self) -> Path:
        """Where to write the files."""
        return self._stage.new / self.path.name if self.is_new else self._stage.new

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        self.close()

    def close(self) -> None:
        """Remove what was not committed, and unlock the folder."""
        self._stage.release()

    def _check(self, names: Collection[str]) -> None:
        """Raise if a name is taken by something that is not ours."""
        if self.is_new:
            return
        if facts.has_foreign_manifest(self.path):
            raise FileExistsError(f"{self.path / MANIFEST} was not written by keraslm. {ADVICE}")
        for name in names:
            plain = name.rstrip("/")
            for part in [*Path(plain).parents][-2::-1] + [Path(plain)]:
                place = self.path / part
                if place.is_symlink() or facts.is_mounted(place):
                    raise FileExistsError(f"{place} is a link or a mount point. {ADVICE}")
            inner = facts.files_below(self.path / plain) if name.endswith("/") else ()
            for each in [f"{name}{n}" for n in inner] if name.endswith("/") else [name]:
                self._check_file(each)

    def _check_file(self, name: str) -> None:
        there = self.path / name
        if not os.path.lexists(there):
            return
        stays = name in self.keep and (name in self.listed or there.name == CARD)
        if not there.is_file() or (there.is_symlink() and not stays):
            raise FileExistsError(f"{there} is no file. {ADVICE}")
        if stays:
            return
        if name not in self.listed and name not in self.own:
            raise FileExistsError(f"{there} was not written by keraslm. {ADVICE}")
        if facts.is_guarded(there):
            raise PermissionError(f"{there} must not be replaced: it is protected. {ADVICE}")

    # === Commit ===

    def commit(
        self, stale: Collection[str] = (), exports: Mapping[str, Any] | None = None
    ) -> Report:
        """Give what was written its names.

        Args:
            stale: names, also of subfolders, of exports that what is written makes wrong. They are
                removed, unless they were edited.
            exports: what the manifest is to say of exports, by name; ``None`` drops what it says.

        Returns:
            the `Report`.
        """
        _drop_empty_folders(self.new)
        if self.is_new and self.path.is_dir():  # somebody made it meanwhile
            return self._commit_inside(stale, exports)
        return self._commit_new(exports) if self.is_new else self._commit_changes(stale, exports)

    def _commit_new(self, exports: Mapping[str, Any] | None) -> Report:
        names = sorted(facts.files_below(self.new))
        files: Listing = {name: facts.entry_of(self.new / name) for name in names}
        facts.write_object(self.new / MANIFEST, _manifest({}, files, exports))
        for name in (*names, MANIFEST):
            self._finish(name)
        _sync_folders(self.new)
        os.replace(self.new, self.path)
        facts.sync(self.path.parent)
        return Report(written=names)

    def _commit_inside(self, stale: Collection[str], exports: Mapping[str, Any] | None) -> Report:
        with Writer(
            self.path, self.names, fences=self.fences, keep=self.keep, own=self.own
        ) as other:
            for entry in self.new.iterdir():
                os.replace(entry, other.new / entry.name)
            return other.commit(stale, exports)

    def _commit_changes(self, stale: Collection[str], exports: Mapping[str, Any] | None) -> Report:
        names = sorted(facts.files_below(self.new))
        self._check(names)
        files, report, was = dict(self.listed), Report([], [], [], [], []), {}
        for name in names:
            there, known = self.path / name, (self.listed.get(name) or {}).get("sha256")
            entry = facts.entry_of(self.new / name)
            is_plain = there.is_file() and not there.is_symlink()
            found = facts.digest(there) if is_plain else None
            if entry["sha256"] == found:
                files[name] = entry
                report.unchanged.append(name)
                continue
            if name in self.keep and os.path.lexists(there) and found != known:
                report.kept.append(name)
                continue
            files[name] = entry
            report.written.append(name)
            if found and found != known and (known or name not in self.listed):
                report.set_aside.append(stage.set_aside(there))
            was[name] = facts.stamp(there)
        gone = self._stale(stale, names, files)
        report.removed.extend(gone)
        moves, fences, loose = self._order(report)
        for name in {*names} - {*moves}:
            (self.new / name).unlink()
        before = facts.read_object(self.path / MANIFEST)
        after = _manifest(before, files, exports)
        if not moves and not gone and after == before:
            return report
        facts.write_object(self.new / MANIFEST, after)
        for name in (*moves, MANIFEST):
            self._finish(name)
        _sync_folders(self._stage.place)
        journal = {"move": [*moves, MANIFEST], "fences": fences, "loose": loose,
                   "remove": gone, "was": was}  # fmt: skip
        facts.write_object(self._stage.journal, journal)  # the point of no return
        facts.sync(self._stage.place)
        try:
            stage.roll(self.path, self._stage.place)
        except OSError:
            if all((self.new / name).exists() for name in journal["move"]):
                self._stage.journal.unlink(missing_ok=True)  # nothing has moved: the old one stays
            raise
        return report

    def _stale(self, stale: Collection[str], names: list[str],
               files: Listing) -> dict[str, str | None]:  # fmt: skip
        """The listed files that go, fences first, with their hashes; taken out of ``files``."""
        gone = [
            name
            for name in files
            if name not in names and any(name == s or name.startswith(f"{s}/") for s in stale)
        ]
        gone.sort(key=lambda name: (name not in self.fences, name))
        return {name: (files.pop(name) or {}).get("sha256") for name in gone}

    def _order(self, report: Report) -> tuple[list[str], list[str], list[str]]:
        """The files to rename, in order; those of them that are fences; those without a fence.

        A fence is needed where several files of a (sub)folder change. One that did not change is
        renamed nevertheless then.
        """
        groups: dict[str | None, list[str]] = {}
        for name in report.written:
            groups.setdefault(self._fence(name), []).append(name)
        fences = []
        for fence, names in groups.items():
            staged = fence is not None and (self.new / fence).exists()
            if staged and fence and len(names) > 1:
                fences.append(fence)
        loose = [name for name in report.written if self._fence(name) not in fences]
        moves = [name for name in report.written if name not in fences] + fences
        return moves, fences, loose

    def _fence(self, name: str) -> str | None:
        """The fence of the innermost folder around a file."""
        around = [f for f in self.fences if name.startswith(f[: f.rfind("/") + 1])]
        return None if name in self.keep else max(around, key=len, default=None)

    def _finish(self, name: str) -> None:
        """Permissions as those of the file that it replaces; and on the disk."""
        _finish(self.new / name, self.path / name, self._stage.mode())


def _hold_for(path: Path) -> tuple[stage.Stage, bool]:
    """The staging folder of a folder, held; and whether the folder is new."""
    while True:
        is_new = not path.is_dir()
        if is_new:
            path.parent.mkdir(parents=True, exist_ok=True)
        elif stage.beside(path).is_dir():  # of the process that makes, or made, the folder
            stage.hold(stage.beside(path)).release()
        held = stage.hold(stage.beside(path) if is_new else path / stage.NAME)
        if is_new == (not path.is_dir()):
            if is_new:
                with contextlib.suppress(OSError):
                    stage.sweep(path.parent)
            return held, is_new
        held.release()


@contextlib.contextmanager
def reserved(path: str | os.PathLike, names: Collection[str] = (), need: int = 0) -> Iterator[None]:
    """Hold a folder while something is made that will be written there.

    What is written there meanwhile by the same thread is written as ever; other processes wait.

    Args:
        path, names, need: as of `Writer`, which raises what stands in the way.
    """
    with Writer(path, names, need=need):
        yield


def write_json(file: Path, value: Mapping[str, Any], *, indent: int = 2) -> None:
    """Write a JSON object as a file; in a folder of ours it is listed, and goes with the rest."""
    text = json.dumps(value, indent=indent, ensure_ascii=False) + "\n"
    if not facts.listed(file.parent):
        with replaced_file(file) as new:
            new.write_text(text, encoding="utf-8", newline="\n")
        return
    with Writer(file.parent, [file.name], own=[file.name]) as writer:
        (writer.new / file.name).write_text(text, encoding="utf-8", newline="\n")
        writer.commit()


@contextlib.contextmanager
def replaced_file(path: str | os.PathLike, need: int = 0) -> Iterator[Path]:
    """A file that takes the name ``path`` when the block ends well, and vanishes otherwise.

    Args:
        path: a file that is there is replaced; a link is followed and stays.
        need: bytes that will be written, if known.

    Raises:
        OSError, ValueError: it cannot be written, or is no plain file; before the block begins.
    """
    with reserved_file(path, need) as (target, held):
        held.empty()
        yield held.new / target.name
        _finish(held.new / target.name, target, held.mode())
        os.replace(held.new / target.name, target)
        facts.sync(target.parent)


@contextlib.contextmanager
def reserved_file(path: str | os.PathLike, need: int = 0) -> Iterator[tuple[Path, stage.Stage]]:
    """Hold the name of a file while something is made that will be written there.

    Args:
        path, need: as of `replaced_file`, which the same thread may call meanwhile.
    """
    target = _followed(path)
    if target.is_dir():
        raise ValueError(f"{path} is a folder. Give the name of a file.")
    with _named(path):
        target.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        mode = os.lstat(target).st_mode  # also says if a name is too long
        if not stat.S_ISREG(mode) or facts.is_mounted(target):
            raise ValueError(f"{path} is no plain file, or a mount point. Give another name.")
        if facts.is_guarded(target):
            raise PermissionError(f"{path} must not be replaced: it is protected.")
    with _named(path):
        held = stage.hold(stage.beside(target))
    try:
        _check_space(held.place, need)
        yield target, held
    finally:
        held.release()


def warn_of(report: Report, folder: str | os.PathLike) -> None:
    """Warn of the exports that a save removed, and of edited files that have another name now."""
    removed = sorted({name.partition("/")[0] for name in report.removed})
    if removed:
        warnings.warn(
            f"In {folder}, {', '.join(removed)} was removed: exported from what was there before. "
            "Export the new model.",
            stacklevel=4,
        )
    if report.set_aside:
        warnings.warn(
            f"In {folder}, files that keraslm did not write as they were are now called "
            f"{', '.join(report.set_aside)}.",
            stacklevel=4,
        )


def _manifest(before: dict[str, Any], files: Listing,
              exports: Mapping[str, Any] | None) -> dict[str, Any]:  # fmt: skip
    """The manifest of a folder: what it says of exports outlives only the exports themselves."""
    said = {**facts.exports_in(before), **(exports or {})}
    there = {part for name in files for part in (name, *map(str, Path(name).parents))}
    kept = {name: entry for name, entry in said.items() if entry is not None and name in there}
    entries = {name: files[name] for name in sorted(files) if name != MANIFEST}
    return {"keraslm": facts.VERSION, "files": entries, **({"exports": kept} if kept else {})}


@contextlib.contextmanager
def _named(path: str | os.PathLike) -> Iterator[None]:
    """Say which folder or file cannot be written, and why."""
    try:
        yield
    except OSError as error:
        if error.strerror is None or isinstance(error, stage.BusyError):
            raise
        raise type(error)(
            f"{path} cannot be written: {error.strerror} ({error.filename or path}). Give another "
            "name."
        ) from error


def _followed(path: str | os.PathLike) -> Path:
    facts.checked_path(path)
    if os.path.islink(path) and not os.path.exists(path):
        raise FileNotFoundError(f"{path} is a link to nothing ({Path(path).readlink()}).")
    return Path(os.path.realpath(path))


def _check_space(place: Path, need: int) -> None:
    free = shutil.disk_usage(place).free
    if free < need:
        raise OSError(f"{place.parent} has {free:,} bytes left; {need:,} are needed.")


def _finish(new: Path, old: Path, mode: int) -> None:
    if old.is_file() and not old.is_symlink():
        mode = stat.S_IMODE(os.stat(old).st_mode)
    os.chmod(new, mode)
    facts.sync(new)


def _drop_empty_folders(folder: Path) -> None:
    """TensorFlow makes empty ones; a save holds files alone."""
    for root, _, _ in os.walk(folder, topdown=False):
        if root != str(folder):
            with contextlib.suppress(OSError):
                os.rmdir(root)


def _sync_folders(folder: Path) -> None:
    for root, _, _ in os.walk(folder):
        facts.sync(Path(root))
