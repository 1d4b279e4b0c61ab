"""Loading GPT-2's shape (124 M weights, random) from safetensors: keraslm and transformers.

    python benchmarks/load_vs_transformers.py [--rounds 3]

Each round is a fresh process a side, in turns. transformers maps the file and copies nothing until
a weight is first used, so the time that counts for both is that until the first logits are there;
the time of loading alone is shown too. Memory is the highest sum of the process's own pages while
loading, above that after the imports: pages of the mapped file, which the system can drop, are not
counted.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

WEIGHTS = 124_439_808 * 4


def own_bytes():
    """Pages of this process that are not of a file."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon"):
            return 1024 * int(line.split()[1])
    raise RuntimeError("This system does not tell RssAnon: memory is measured on Linux only.")


def watch(peak, done):
    while not done.wait(0.002):
        peak[0] = max(peak[0], own_bytes())


def measure(side, folder):
    """Seconds of importing, loading and the first logits, and the peak, in this process."""
    ids = [[464, 1748, 286]]
    started = time.perf_counter()
    if side == "keraslm":
        import numpy as np
        import tensorflow  # noqa: F401

        from keraslm.interop import load_huggingface as load

        def logits(model):
            return np.asarray(model(np.array(ids)))

    else:
        import torch
        from transformers import GPT2LMHeadModel

        load = GPT2LMHeadModel.from_pretrained

        def logits(model):
            with torch.no_grad():
                return model(torch.tensor(ids)).logits.numpy()

    imported = time.perf_counter()
    peak, done, before = [0], threading.Event(), own_bytes()
    thread = threading.Thread(target=watch, args=(peak, done))
    thread.start()
    loading = time.perf_counter()
    model = load(folder)
    loaded = time.perf_counter()
    done.set()
    thread.join()
    thinking = time.perf_counter()
    logits(model)
    first = loaded - loading + time.perf_counter() - thinking
    return {
        "import": imported - started,
        "load": loaded - loading,
        "first logits": first,
        "from the start": first + imported - started,
        "peak": (peak[0] - before) / WEIGHTS,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=("keraslm", "transformers"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps(measure(args.side, args.folder)))
        return
    with tempfile.TemporaryDirectory() as folder:
        make = (
            "import sys, torch, transformers as t; torch.manual_seed(0); "
            "t.GPT2LMHeadModel(t.GPT2Config()).save_pretrained(sys.argv[1])"
        )
        subprocess.run([sys.executable, "-c", make, folder], check=True, capture_output=True)
        found = {"keraslm": [], "transformers": []}
        for _ in range(args.rounds):
            for side, results in found.items():
                command = [sys.executable, __file__, "--side", side, "--folder", folder]
                output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                results.append(json.loads(output.splitlines()[-1]))
    for part in found["keraslm"][0]:
        best = {side: min(r[part] for r in results) for side, results in found.items()}
        unit = "x the weights" if part == "peak" else "s"
        print(
            f"{part:<15} keraslm {best['keraslm']:.2f} {unit}, transformers "
            f"{best['transformers']:.2f} {unit}"
            + ("" if part == "peak" else f", ratio {best['keraslm'] / best['transformers']:.2f}")
        )


if __name__ == "__main__":
    main()
