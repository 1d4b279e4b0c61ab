"""The staging folder: locked by the process that writes, with a journal from the moment it counts.

It holds ``owner``, the file that is locked; ``new``, what is being written; and, once all of that
is there, ``journal.json``. The kernel unlocks a file when its process ends, however it ends.
"""

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

from keraslm._files import facts

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # where it is missing
    import msvcrt

NAME, OWNER, NEW, JOURNAL = ".keraslm-new", "owner", "new", "journal.json"
PARTS = {OWNER, NEW, JOURNAL, JOURNAL + ".part"}
WAIT = 600.0  # seconds for another process to end; an export takes minutes


class BusyError(OSError):
    """Another process writes there."""


def beside(path: Path) -> Path:
    """Where a file, or a folder that is not there yet, is staged."""
    return path.parent / f"{NAME}-{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]}"


class Stage:
    """A staging folder that this thread holds; see `hold`."""

    def __init__(self, place: Path, wait: float) -> None:
        self.place, self.new, self.journal = place, place / NEW, place / JOURNAL
        self.key, self.pid, self.users = _key(place), os.getpid(), 1
        self.file = _lock(place, wait)

    def empty(self) -> None:
        """Make it ready for the next files."""
        _clear(self.place)
        self.new.mkdir()

    def mode(self) -> int:
        """Permissions of a new file, as the umask leaves them."""
        return os.stat(self.place / OWNER).st_mode & 0o666

    def release(self) -> None:
        """Remove it if nobody in this thread holds it any more."""
        self.users -= 1
        if self.users or self.pid != os.getpid():  # a forked child must not end what goes on
            return
        _held.pop(self.key, None)  # also if another thread ends it
        if self.journal.exists():  # Ctrl-C within the renames, or a full disk
            roll(self.place.parent, self.place)
        _drop(self.place, self.file)


_held: dict[tuple[str, int, int], Stage] = {}


def _key(place: Path) -> tuple[str, int, int]:
    return str(place), os.getpid(), threading.get_ident()


def hold(place: Path, wait: float = WAIT) -> Stage:
    """The staging folder at a place, locked; the thread that holds it gets it again.

    Args:
        place: the folder, made if it is not there.
        wait: seconds for another process to leave it.

    Raises:
        BusyError: it did not.
        OSError: the folder cannot be made, or something else has its name.
    """
    held = _held.get(_key(place))
    if held is None:
        held = _held[_key(place)] = Stage(place, wait)
    else:
        held.users += 1
    return held


def _lock(place: Path, wait: float) -> IO[str]:
    begin, announced = time.monotonic(), False
    while True:
        os.makedirs(place, exist_ok=True)
        try:
            file = _open_owner(place)
        except FileNotFoundError:
            continue  # its owner has just removed it
        if _try_lock(file):
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), os.stat(place / OWNER)):
                    with contextlib.suppress(OSError):  # a full disk
                        file.truncate(0)
                        file.write(str(os.getpid()))
                        file.flush()
                    return file
        elif time.monotonic() - begin >= wait:
            file.seek(0)
            owner = file.read()
            file.close()
            raise BusyError(
                errno.EBUSY, f"Another keraslm process ({owner or '?'}) writes there",
                str(place.parent),
            )  # fmt: skip
        elif not announced and time.monotonic() - begin > 1:
            announced = True
            print(f"Waiting for another keraslm process that writes in {place.parent} …",
                  file=sys.stderr, flush=True)  # fmt: skip
        file.close()
        time.sleep(0.01)


def _open_owner(place: Path) -> IO[str]:
    """The file that is locked; raises if the staging folder may be somebody else's trap.

    It has a name that anybody can make, in a shared folder or in one that was downloaded: it counts
    only if it belongs to us, to root or to whom the folder around it belongs, and holds no links.
    """
    status, around = os.lstat(place), os.stat(place.parent)
    trusted = {os.geteuid(), 0, around.st_uid} if hasattr(os, "geteuid") else {status.st_uid}
    # Only inside of a folder there is a journal.
    parts = PARTS if place.name == NAME else PARTS - {JOURNAL, JOURNAL + ".part"}
    is_ours = (
        stat.S_ISDIR(status.st_mode)
        and status.st_uid in trusted
        and not set(os.listdir(place)) - parts
        and not any((place / part).is_symlink() for part in parts)
    )
    if is_ours:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        try:
            descriptor = os.open(place / OWNER, flags, 0o666)
        except IsADirectoryError:
            is_ours = False
        else:
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode) and status.st_nlink <= 1:
                return os.fdopen(descriptor, "r+", encoding="utf-8")
            os.close(descriptor)
    raise FileExistsError(f"{place} is not a staging folder of keraslm. Give it another name.")


def _try_lock(file: IO[str]) -> bool:
    try:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]  # Windows
    except OSError:
        return False
    return True


def _clear(place: Path) -> None:
    """Remove all but the lock."""
    for entry in list(place.iterdir()):
        if entry.name == OWNER:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _drop(place: Path, file: IO[str]) -> None:
    """Remove the staging folder, the lock last."""
    _clear(place)
    if not fcntl:
        file.close()
    (place / OWNER).unlink()
    file.close()
    with contextlib.suppress(OSError):
        place.rmdir()


def sweep(folder: Path) -> None:
    """Remove what dead processes left in a folder: stages of names that were never given."""
    for left in folder.glob(NAME + "-*"):
        with contextlib.suppress(OSError):
            hold(left, wait=0).release()


# === The renames ===


def roll(base: Path, place: Path) -> None:
    """Do, or finish, what the journal in a staging folder says. May be interrupted and repeated.

    The journal has the names to ``move``, in order, the manifest last; those of them that are
    ``fences``; ``loose`` ones, which no fence guards; the names to ``remove``, with their hashes;
    and the stamps that files ``was`` to have when they were looked at.
    """
    journal, new = read_journal(place), place / NEW
    if not journal:
        return
    for name, was in journal["was"].items():
        if os.path.lexists(new / name) and facts.stamp(base / name) not in (None, was):
            set_aside(base / name)  # changed after we looked
    for name, known in journal["remove"].items():
        _remove(base, name, known)
    moves = [name for name in journal["move"] if os.path.lexists(new / name)]
    for name in moves:
        (base / name).parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        if fcntl:  # large files are freed slowly: only after the last rename
            for name in moves:
                with contextlib.suppress(OSError):
                    old = os.open(base / name, os.O_RDONLY | os.O_NONBLOCK)
                    held.callback(os.close, old)
        for name in journal["loose"]:
            if (new / name).exists():
                os.replace(new / name, base / name)
        # Until they are back, programs that know nothing of us fail, and mix nothing.
        for name in journal["fences"]:
            if (new / name).exists():
                (base / name).unlink(missing_ok=True)
        for name in moves:
            if (new / name).exists():
                os.replace(new / name, base / name)
    for folder in {base, *((base / name).parent for name in moves)}:
        facts.sync(folder)
    (place / JOURNAL).unlink(missing_ok=True)


def _remove(base: Path, name: str, known: str | None) -> None:
    """Remove a file of ours, unless it was changed, and the folders that are empty then."""
    file = base / name
    if file.is_symlink() or not file.is_file() or known not in (None, facts.digest(file)):
        return
    file.unlink()
    with contextlib.suppress(OSError):
        for parent in [*file.parents][: name.count("/")]:
            parent.rmdir()


def set_aside(file: Path) -> str:
    """Keep a file that was changed by hand under a second name, which is returned."""
    aside = file.with_name(f"{file.name}.edited-{facts.digest(file)[:8]}")
    with contextlib.suppress(FileExistsError):
        try:
            os.link(file, aside)
        except (OSError, NotImplementedError):  # a file system without hard links
            if not aside.exists():
                shutil.copy2(file, aside)
    return aside.name


def read_journal(place: Path) -> dict[str, Any]:
    """The journal in a staging folder; an empty dict if there is none, or no safe one."""
    journal, base = facts.read_object(place / JOURNAL), place.parent
    shapes = {"move": list, "fences": list, "loose": list, "remove": dict, "was": dict}
    is_whole = all(isinstance(journal.get(key), kind) for key, kind in shapes.items())
    if not is_whole:
        return {}
    # Only what a list of ours names, that of now or that of then, is touched.
    listed = {*facts.listed(base), *facts.listed(place / NEW), facts.MANIFEST}
    names = [name for key in shapes for name in journal[key]]
    return journal if all(n in listed and facts.is_inside(base, n) for n in names) else {}
