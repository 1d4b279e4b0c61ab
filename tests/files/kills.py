"""Kill writers at every line, and see what readers find.

python tests/files/kills.py lines [COUNT]    SIGKILL before each line of a save (or COUNT of them)
python tests/files/kills.py repairs [COUNT]  the same, of the save that repairs a killed one
python tests/files/kills.py times [COUNT]    SIGKILL or SIGTERM at random moments of a loop of saves
python tests/files/kills.py writers          two writers and two readers, for SECONDS a kind
python tests/files/kills.py guest            a user makes files there meanwhile, for SECONDS a kind

The last word may be a kind of artefact; default: all. Ends with 1 if anything was lost or mixed.
"""

import collections
import itertools
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from keraslm import _files

SECONDS = 3.0


class Kind(NamedTuple):
    """A kind of artefact: its files, which of them change with every save, and which go."""

    names: Sequence[str]
    changed: Sequence[str]
    fences: Sequence[str] = ()
    stale: Sequence[str] = ()
    is_file: bool = False
    is_new: bool = False


BUNDLE = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json")
VECTORS = ("recipe.json", "vectors.npy", "vocabulary.txt")
SAVED_MODEL = (
    "saved_model/fingerprint.pb",
    "saved_model/saved_model.pb",
    "saved_model/variables/v",
)
PAGE = ("web/index.html", "web/model.json", "web/model.tflite", "web/vendor/core/a.wasm")
KINDS = {
    "model": Kind(BUNDLE, BUNDLE, ["config.json"], ["model.tflite"]),
    "weights": Kind(BUNDLE, ["model.safetensors"], ["config.json"], ["model.tflite"]),
    "same config": Kind(BUNDLE, ["model.safetensors", "tokenizer.json"], ["config.json"]),
    "vectors": Kind(VECTORS, VECTORS, ["vectors.npy"]),
    "saved_model": Kind(SAVED_MODEL, SAVED_MODEL, ["saved_model/saved_model.pb"]),
    "page": Kind(PAGE, PAGE, ["web/index.html"]),
    "export": Kind(["model.litertlm"], ["model.litertlm"]),
    "new folder": Kind(BUNDLE, BUNDLE, ["config.json"], is_new=True),
    "file": Kind(["vectors.txt"], ["vectors.txt"], is_file=True),
}


def save(kind, folder, number):
    """Write an artefact whose changed files begin with a number."""
    if kind.is_file:
        with _files.replaced_file(folder / kind.names[0]) as new:
            new.write_bytes(_content(number))
        return
    with _files.Writer(folder, kind.names, fences=kind.fences) as writer:
        for name in kind.names:
            (writer.new / name).parent.mkdir(parents=True, exist_ok=True)
            (writer.new / name).write_bytes(_content(number if name in kind.changed else 0))
        writer.commit(stale=kind.stale)


def _content(number):
    return f"{number:09d}".encode() + b"x" * 2000


def by_path(kind, folder):
    """What a program reads that knows nothing of us: one file after the other, fences first."""
    names = sorted({*kind.fences, *kind.changed}, key=lambda name: name not in kind.fences)
    try:
        found = {name: _number(folder / name) for name in names}
    except OSError:
        return "an error"
    numbers = {found[name] for name in kind.changed}
    return numbers.pop() if len(numbers) == 1 else "a mixture"


def ours(kind, folder):
    """What our readers find."""

    def load(place):
        return {_number(place / name) for name in kind.changed}

    if kind.is_file:
        return by_path(kind, folder)
    try:
        found = _files.read_whole(folder, load)
    except FileNotFoundError:
        return "nothing"
    return found.pop() if len(found) == 1 else "a mixture"


def _number(file):
    return int(file.read_bytes()[:9])


# === Things of the user's ===


def plant(folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "notes.txt").write_text("mine")
    (folder / "notes.txt").chmod(0o600)
    (folder / "thesis").mkdir()
    (folder / "thesis" / "a.tex").write_text("mine too")
    (folder / "data").symlink_to(folder.parent / "elsewhere")
    (folder / "dangling").symlink_to("nowhere")
    os.mkfifo(folder / "pipe")


def picture(folder):
    seen = {}
    for name in ("notes.txt", "thesis/a.tex", "data", "dangling", "pipe"):
        status = os.lstat(folder / name)
        seen[name] = status.st_mode, status.st_ino, status.st_mtime_ns
    return seen


def prepare(kind, root):
    shutil.rmtree(root, ignore_errors=True)
    folder = root / "artefact"
    (root / "elsewhere").mkdir(parents=True)
    if kind.is_new:
        return folder
    plant(folder)
    save(kind, folder, 1)
    if kind.stale:
        with _files.Writer(folder, kind.stale) as writer:
            (writer.new / kind.stale[0]).write_text("exported from save 1")
            writer.commit()
    return folder


# === Kills ===


def traced(work, line=None):
    """Do the work, killed before a line of ours; without one, the number of lines."""
    seen = 0

    def trace(frame, event, _):
        nonlocal seen
        if "_files" not in frame.f_code.co_filename and frame.f_code.co_filename != shutil.__file__:
            return None
        if event == "line":
            seen += 1
            if seen == line:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    work()
    sys.settrace(None)
    return seen


def in_child(work, *args):
    """Run it in a forked process; what it returns, if that is a number below 2**31."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write_end, str(work(*args)).encode())
        except BaseException as error:
            os.write(write_end, repr(error)[:300].encode())
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return said.decode()


def check(kind, folder, faults, mine, allowed):
    """What may be found after a kill, before and after the next save."""
    found = ours(kind, folder)
    nothing = kind.is_new and found in ("nothing", "an error")
    if not (nothing or found in allowed):
        faults[f"our reader finds {found}"] += 1
    theirs = by_path(kind, folder)
    if theirs not in (*allowed, "an error"):
        faults[f"another reader finds {theirs}"] += 1
    save(kind, folder, 900)
    if (by_path(kind, folder), ours(kind, folder)) != (900, 900):
        faults["wrong after the next save"] += 1
    left = [*folder.parent.rglob(".keraslm-new*"), *folder.rglob("*.edited-*")]
    faults["leftovers"] += bool(left)
    faults["an export of older weights"] += any((folder / s).exists() for s in kind.stale)
    faults["things of the user's changed"] += mine is not None and picture(folder) != mine
    return found


def lines(kind, root, count):
    """Kill a save before each of its lines, or before ``count`` of them."""
    faults, found = collections.Counter(), collections.Counter()
    folder = prepare(kind, root)
    total = int(in_child(traced, lambda: save(kind, folder, 2)))
    points = range(1, total + 1)
    for line in points if count is None else sorted(random.sample(points, min(count, total))):
        folder = prepare(kind, root)
        mine = None if kind.is_new else picture(folder)
        in_child(traced, lambda at=folder: save(kind, at, 2), line)
        found[check(kind, folder, faults, mine, (1, 2))] += 1
    return faults, found


def repairs(kind, root, count):
    """Kill a save in its second half, and then the save that repairs it, or our reader."""
    faults, found = collections.Counter(), collections.Counter()
    folder = prepare(kind, root)
    total = int(in_child(traced, lambda: save(kind, folder, 2)))
    pairs = itertools.product(range(total // 2, total), range(1, total))
    for first, second in random.sample(list(pairs), count or 400):
        folder = prepare(kind, root)
        mine = None if kind.is_new else picture(folder)
        in_child(traced, lambda at=folder: save(kind, at, 2), first)
        before = ours(kind, folder) if second % 2 else None
        again = (lambda at: save(kind, at, 3)) if second % 3 else (lambda at: ours(kind, at))
        in_child(traced, lambda at=folder, do=again: do(at), second)
        after = check(kind, folder, faults, mine, (1, 2, 3))
        faults["went back to an older save"] += (
            isinstance(before, int) and isinstance(after, int) and after < before
        )
        found[after] += 1
    return faults, found


def _for_ever(kind, folder, start):
    for number in itertools.count(start):
        save(kind, folder, number)


def _fork(work, *args):
    pid = os.fork()
    if pid == 0:
        try:
            work(*args)
        finally:
            os._exit(0)
    return pid


def times(kind, root, count):
    """Kill a loop of saves at random moments."""
    faults, found = collections.Counter(), collections.Counter()
    for k in range(count or 400):
        folder = prepare(kind, root)
        mine = None if kind.is_new else picture(folder)
        pid = _fork(_for_ever, kind, folder, 2)
        time.sleep(random.uniform(0, 0.05))
        os.kill(pid, [signal.SIGKILL, signal.SIGTERM][k % 2])
        os.waitpid(pid, 0)
        found[check(kind, folder, faults, mine, range(1, 900)) == 1] += 1
    return faults, found


def writers(kind, root, _):
    """Two writers in loops, our reader and another one."""
    faults, found = collections.Counter(), collections.Counter()
    folder = prepare(kind, root)
    if kind.is_new:
        save(kind, folder, 1)
    pids = [_fork(_for_ever, kind, folder, start) for start in (1000, 2000)]
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        own, other = ours(kind, folder), by_path(kind, folder)
        if not isinstance(own, int):
            faults[f"our reader finds {own}"] += 1
        # One that reads file by file may see two saves, one after the other: its own affair.
        found[own // 1000 if isinstance(own, int) else own] += 1
        found[f"another: {other if isinstance(other, str) else 'whole'}"] += 1
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return faults, found


def guest(kind, root, _):
    """A user makes files in the folder while it is written."""
    faults, found = collections.Counter(), collections.Counter()
    folder = prepare(kind, root)
    if kind.is_new:
        save(kind, folder, 1)
    pid = _fork(_for_ever, kind, folder, 2)
    end, made = time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        try:
            (folder / f"mine-{made}").write_text(str(made))
            made += 1
        except OSError:
            faults["the folder was not there"] += 1
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    found["made"] = made
    faults["lost"] += made - sum((folder / f"mine-{k}").is_file() for k in range(made))
    return faults, found


def main(words):
    modes = {f.__name__: f for f in (lines, repairs, times, writers, guest)}
    mode, words = modes[words[0]], words[1:]
    count = int(words.pop(0)) if words and words[0].isdecimal() else None
    random.seed(0)
    status = 0
    with tempfile.TemporaryDirectory() as root:
        for name in words or KINDS:
            faults, found = mode(KINDS[name], Path(root, "root"), count)
            faults = {what: n for what, n in faults.items() if n}
            print(f"{name}: found {dict(found)}; faults {faults}", flush=True)
            status |= bool(faults)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
