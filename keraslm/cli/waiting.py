"""A line that says that a long command is still at it; nothing where nobody watches."""

import contextlib
import sys
import threading
import time

AFTER = 5.0  # seconds


@contextlib.contextmanager
def patience(command: str):
    """Every second after five, write to a terminal on stderr for how long a command has run."""
    if not sys.stderr.isatty():
        yield
        return
    done = threading.Event()
    shown = ""

    def tell():
        nonlocal shown
        started = time.perf_counter()
        while not done.wait(1.0 if shown else AFTER):
            shown = f"keraslm {command}: {time.perf_counter() - started:.0f} s …"
            print(f"\r{shown}", end="", file=sys.stderr, flush=True)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        if shown:
            print(f"\r{' ' * len(shown)}\r", end="", file=sys.stderr, flush=True)
