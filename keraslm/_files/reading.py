"""Reading one whole save, though a process writes there or was killed while it did."""

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from keraslm._files import facts, stage

T = TypeVar("T")
TRIES = 30  # the pauses between them add up to about 20 seconds


def repair(folder: Path) -> None:
    """Finish what a process that was killed left in a folder, if we may and nobody is at it."""
    for place in (folder / stage.NAME, stage.beside(folder)):
        if place.is_dir():
            with contextlib.suppress(OSError):
                stage.hold(place, wait=0).release()


def read_whole(folder: str | os.PathLike, load: Callable[[Path], T]) -> T:
    """What ``load`` makes of a folder, from the files of one save.

    Args:
        folder: where the files are; anything else, such as one file, is passed on.
        load: gets the folder's ``Path``, or one that stands in for it, and reads all that it
            needs. It is called again if a save came between.

    Raises:
        BusyError: the folder changes all the time.
    """
    place = facts.checked_path(folder)
    if not place.is_dir():
        return load(place)
    place = Path(os.path.realpath(place))
    inner = ""
    if _is_part(place):
        place, inner = place.parent, place.name
    repair(place)
    for attempt in range(TRIES):
        before = _state(place)
        error: Exception | None = None
        with _view(place, before[0]) as view:
            try:
                value = load(view / inner)
            except Exception as caught:  # perhaps of a mixture
                error = caught
        # While a writer renames, a file may be gone from under a link though nothing else changed.
        is_renaming = error is not None and bool(before[0]) and attempt < TRIES - 1
        if _state(place) == before and not is_renaming:
            if error is not None:
                raise error
            return value
        time.sleep(0.001 * 1.35**attempt)
    raise stage.BusyError(f"{folder} is being written all the time. Try again later.")


def _is_part(folder: Path) -> bool:
    """Whether the files of a folder are listed in the one around it, as exports in a bundle are."""
    if (folder / facts.MANIFEST).exists() or (folder / stage.NAME).exists():
        return False
    journal = stage.read_journal(folder.parent / stage.NAME)
    names = [*facts.listed(folder.parent), *journal.get("move", ())]
    return any(name.startswith(folder.name + "/") for name in names)


def _state(folder: Path) -> tuple[dict[str, Any], list[facts.Stamp | None]]:
    """The renames that are left to do, and the stamps of all files that count."""
    journal = stage.read_journal(folder / stage.NAME)
    moves = set(journal.get("move", ()))
    new = folder / stage.NAME / stage.NEW
    names = [*sorted(moves), *facts.listed(folder), facts.MANIFEST]
    places = [[new / n, folder / n] if n in moves else [folder / n] for n in names]
    return journal, [facts.stamp(*each) for each in places]


@contextlib.contextmanager
def _view(folder: Path, journal: dict[str, Any]) -> Iterator[Path]:
    """The folder; with renames left that we may not do, one of links to the right files."""
    if not journal:
        yield folder
        return
    new, gone = folder / stage.NAME / stage.NEW, set(journal.get("remove", ()))
    with tempfile.TemporaryDirectory() as name:
        view = Path(name, folder.name)
        names = {n: folder / n for n in facts.files_below(folder) if n not in gone}
        names |= {n: new / n for n in facts.files_below(new)}
        for link, file in names.items():
            if not link.startswith(stage.NAME):
                (view / link).parent.mkdir(parents=True, exist_ok=True)
                (view / link).symlink_to(file)
        yield view
