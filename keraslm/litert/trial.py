"""Whether LiteRT can run a ``.tflite`` at all: tried in a process of its own, which it may crash.

The runtime checks that a file is a whole flatbuffer, not that its indices, shapes and arguments
make sense; with those of a damaged file it reads and writes anywhere.
"""

import contextlib
import functools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from keraslm._files import facts
from keraslm._types import StrPath

FAILED = 3  # exit status of a file that the runtime refuses
SECONDS = 60  # that a megabyte may take, and any file


@functools.lru_cache(maxsize=256)
def _try(digest: str, path: str) -> None:
    home = Path(os.environ.get("KERASLM_CACHE", Path.home() / ".cache" / "keraslm"))
    mark = home / "tried" / digest
    if mark.exists() or not sys.executable:
        return
    limit = SECONDS * (1 + os.path.getsize(path) // 1_000_000)
    command = [sys.executable, "-P", __file__, path]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        raise ValueError(f"it does not end, in {limit} seconds") from None
    if result.returncode == FAILED:
        raise ValueError(result.stdout.strip() or "the runtime refuses it")
    if result.returncode < 0 or result.returncode > 128:
        raise ValueError("it crashes the runtime")
    with contextlib.suppress(OSError):
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()


def check_runs(path: StrPath) -> None:
    """Have another process run a file once; each file once on a machine.

    That it was is kept in ``~/.cache/keraslm`` (or ``KERASLM_CACHE``).

    Raises:
        ValueError: the runtime refuses it, crashes, or does not end.
    """
    _try(facts.digest(Path(path)), str(path))


def run(path: str) -> None:
    """Load a file in both of LiteRT's interfaces, and run every signature on zeros."""
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.hardware_accelerator import HardwareAccelerator
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_litert.options import CpuOptions, Options

    interpreter = Interpreter(model_path=path, num_threads=1)
    for name in interpreter.get_signature_list():
        runner = interpreter.get_signature_runner(name)
        details = runner.get_input_details().items()
        runner(**{key: np.zeros(value["shape"], value["dtype"]) for key, value in details})
    options = Options(
        hardware_accelerators=HardwareAccelerator.CPU, cpu_options=CpuOptions(num_threads=1)
    )
    model = CompiledModel.from_file(path, options=options)
    for name in model.get_signature_list():
        details = model.get_input_tensor_details(name)
        inputs = {key: model.create_input_buffer_by_name(name, key) for key in details}
        for key, value in details.items():
            inputs[key].write(np.zeros(value["shape"], value["dtype"]))
        results = model.get_output_tensor_details(name)
        outputs = {key: model.create_output_buffer_by_name(name, key) for key in results}
        model.run_by_name(name, inputs, outputs)


if __name__ == "__main__":
    try:
        run(sys.argv[1])
    except (RuntimeError, ValueError, TypeError, KeyError, MemoryError) as error:
        print(str(error).strip().partition("\n")[0] or type(error).__name__)
        sys.exit(FAILED)
