"""What a training that ends early leaves: the model as it is, under a name that is said."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def default_folder() -> Path | None:
    """A new folder in the current one; none where somebody types line by line, or none can be."""
    is_interactive = hasattr(sys, "ps1") or bool(sys.flags.interactive)
    if is_interactive or not os.access(".", os.W_OK):
        return None
    return Path(time.strftime("interrupted-%Y%m%d-%H%M%S"))


@contextlib.contextmanager
def rescued(task: Any, folder: str | os.PathLike | None) -> Iterator[None]:
    """Save a task if what is inside ends with an error, Ctrl-C or SIGTERM after a step.

    The error goes on. SIGTERM becomes a ``SystemExit`` for that long, in the main thread.

    Args:
        task: whose ``model`` is trained inside, and which has a ``save``.
        folder: where to save it; ``None``: do nothing.
    """
    if folder is None:
        yield
        return
    begin = _steps(task.model)
    try:
        with _terminated_as_exit():
            yield
    except BaseException as error:
        steps = _steps(task.model) - begin
        if steps > 0:
            _save(task, folder, steps, error)
        raise


def _save(task, folder, steps, error):
    why = f"Training ended after {steps:,} steps ({type(error).__name__})"
    try:
        if not _is_finite(task.model):
            print(f"{why}. Its weights are not finite and were not saved.", file=sys.stderr)
            return
        saved = task.save(folder)
        print(
            f"{why}. The model as it is was saved: keraslm.from_pretrained({str(saved)!r}).",
            file=sys.stderr,
            flush=True,
        )
    except Exception as other:  # the reason for the end is what counts
        print(f"{why}. The model could not be saved: {other}", file=sys.stderr, flush=True)


def _steps(model):
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        return 0
    from keraslm.training.steps import read

    return int(read(optimizer.iterations))


def _is_finite(model):
    import numpy as np

    return all(np.isfinite(np.asarray(w, "float32")).all() for w in model.trainable_weights)


@contextlib.contextmanager
def _terminated_as_exit():
    """SIGTERM, as of a scheduler or ``docker stop``, ends the block as an exception does."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield  # a handler of the program's own stays
        return

    def stop(number, _):
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
