"""Text from the same GPT-2 in the runtimes of devices, in turns: batch 1, greedy.

    python benchmarks/on_device.py [--models 14M 124M] [--rounds 5] [--threads 2] [--small]
        [--only litert-lm-int8 ctranslate2-int8 …]

keraslm's exports run in LiteRT-LM (`litert-lm-…`) and in `keraslm.export.LiteRTModel`
(`litert-…`); beside them CTranslate2, Hugging Face and KerasHub, all with the same random
weights. Each runtime lives in a process of its own and waits while others run. Quantised models
may write other text; how many tokens are those of Keras in float32 is printed.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from peers import hugging_face_gpt2, make_gpts, show_shape, show_versions  # first: sets the backend

# isort: split
import numpy as np
from generate_vs_peers import MODELS, SMALL
from on_device_peers import RUNTIMES, WORD

import keraslm.export
from keraslm.generation import GenerationConfig, Generator
from keraslm.tasks import TextGenerator
from keraslm.tokenizers import Tokenizer

NEEDS = {
    "litert-lm": ("litert_lm", "litert_lm_builder"),
    "litert": (),
    "ctranslate2": ("ctranslate2", "torch", "transformers"),
    "hugging-face": ("torch", "transformers"),
    "keras-hub": (),
    "keras-hub-xla": (),
}
OURS = ("litert-lm", "litert")
# Else the threads of an OpenMP runtime (CTranslate2) may share a core, and take thrice as long.
OPENMP = {"OMP_PROC_BIND": "spread", "OMP_PLACES": "threads", "OMP_WAIT_POLICY": "passive"}
PAUSE = 0.2  # seconds before a turn, for memory and caches to settle


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--rounds", type=int, default=5, help="timed calls of each runtime")
    parser.add_argument("--threads", type=int, default=2, help="threads of each runtime")
    parser.add_argument(
        "--only", nargs="+", choices=RUNTIMES, default=list(RUNTIMES), metavar="RUNTIME",
        help=f"of {', '.join(RUNTIMES)}",
    )  # fmt: skip
    parser.add_argument("--small", action="store_true", help="a tiny model, to try the script")
    args = parser.parse_args()
    show_versions()
    names = [name for name in args.only if is_installed(name)]
    for name in ["small"] if args.small else args.models:
        print()
        compare(
            SMALL if args.small else MODELS[name],
            names,
            args.rounds,
            args.threads,
            *((8, 16, 32) if args.small else (32, 128, 128)),
        )


def is_installed(name):
    """Whether a runtime is there; if not, say so."""
    missing = [n for n in NEEDS[split(name)[0]] if importlib.util.find_spec(n) is None]
    if missing:
        print(f"{name} is left out: {' and '.join(missing)} not installed.")
    return not missing


def split(name):
    """``"litert-lm-int8"`` → ``("litert-lm", "int8")``."""
    runtime, _, precision = name.rpartition("-")
    return runtime, precision


def compare(shape, names, rounds, threads, prompt_length, new_tokens, long_prompt_length):
    """Measure one model and print the table.

    Args:
        shape: arguments of the model.
        names: of the runtimes.
        rounds: timed calls of each.
        threads: of each.
        prompt_length, new_tokens: of the text whose speed is measured.
        long_prompt_length: of the prompt whose time to the first token is measured.
    """
    ours, backbone = make_gpts(**shape)
    show_shape(ours, backbone)
    rng = np.random.default_rng(2)
    text, first = (
        (rng.integers(0, shape["vocab_size"], length).tolist(), new)
        for length, new in ((prompt_length, new_tokens), (long_prompt_length, 1))
    )
    config = GenerationConfig(max_new_tokens=new_tokens)
    reference = Generator(ours).generate([text[0]], config)[0].ids
    with tempfile.TemporaryDirectory() as folder:
        sizes = write_files(Path(folder), names, ours, backbone, shape)
        runtimes = {name: Runtime(name, folder, threads) for name in names}
        try:
            for runtime in runtimes.values():  # compiles
                runtime.run(*text)
                runtime.run(*first)
            for _ in range(rounds):
                for runtime in runtimes.values():
                    runtime.run(*text, timed=True)
                    runtime.run(*first, timed=True)
        finally:
            for runtime in runtimes.values():
                runtime.stop()
    print(
        f"prompt {prompt_length}, {new_tokens} new tokens (checked), greedy, batch 1, {threads} "
        f"threads; prefill: the first token after {long_prompt_length}"
    )
    show(runtimes, sizes, ours.count_params(), reference, text, first)


def write_files(folder, names, ours, backbone, shape):
    """Write what the runtimes read; the bytes of each one's model file."""
    engine = word_tokenizer(shape["vocab_size"])
    # LiteRT-LM wants a token that ends a text: one that does not exist ends none.
    never = GenerationConfig(stop_ids=(shape["vocab_size"],))
    lm = TextGenerator(ours, Tokenizer(engine), never)
    (folder / "shape.json").write_text(json.dumps(shape))
    backbone.save_weights(folder / "keras_hub.weights.h5")
    if any("torch" in NEEDS[split(name)[0]] for name in names):
        write_hugging_face(folder / "hugging_face", ours, engine)
    return {name: write_file(folder, name, lm).stat().st_size for name in names}


def write_file(folder, name, lm):
    """Write what one runtime reads; the path of its weights."""
    runtime, precision = split(name)
    quantization = None if precision == "float32" else precision
    if runtime in OURS:
        export, suffix = {
            "litert-lm": (keraslm.export.litertlm, "litertlm"),
            "litert": (keraslm.export.tflite, "tflite"),
        }[runtime]
        path = folder / f"{precision}.{suffix}"
        return export(lm, path, quantization=quantization, verify=False)
    if runtime == "ctranslate2":
        from ctranslate2.converters import TransformersConverter

        converter = TransformersConverter(str(folder / "hugging_face"))
        converter.convert(str(folder / f"ctranslate2_{precision}"), quantization=precision)
        return folder / f"ctranslate2_{precision}" / "model.bin"
    if runtime == "hugging-face":
        return folder / "hugging_face" / "model.safetensors"
    return folder / "keras_hub.weights.h5"


def word_tokenizer(vocab_size):
    """A tokenizer of the words ``w0``, ``w1``, …, for runtimes that take text."""
    from tokenizers import Tokenizer as Engine
    from tokenizers import models, pre_tokenizers

    words = {f"{WORD}{i}": i for i in range(vocab_size)}
    engine = Engine(models.WordLevel(words, unk_token=f"{WORD}0"))
    engine.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return engine


def write_hugging_face(folder, ours, engine):
    from transformers import PreTrainedTokenizerFast

    hugging_face_gpt2(ours).save_pretrained(folder)
    word = f"{WORD}0"  # CTranslate2 wants such tokens, and is told not to end
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=engine, bos_token=word, eos_token=word, unk_token=word
    )
    tokenizer.save_pretrained(folder)


class Runtime:
    """A runtime in its process, and what it took."""

    def __init__(self, name, folder, threads):
        self.name, self.times, self.texts, self.megabytes = name, {}, {}, 0.0
        self._log = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("on_device_peers.py"), name, folder,
             str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True,
            env={**os.environ, **OPENMP, "OMP_NUM_THREADS": str(threads)},
        )  # fmt: skip

    def run(self, prompt, new_tokens, timed=False):
        """Have it continue a prompt; note the seconds if ``timed``."""
        time.sleep(PAUSE if timed else 0)
        answer = ""
        # Stopped between its turns: threads that wait spin, and would slow the others down.
        self._process.send_signal(signal.SIGCONT)
        with contextlib.suppress(BrokenPipeError):  # it ended before it was asked
            print(json.dumps([prompt, new_tokens]), file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline()
        self._process.send_signal(signal.SIGSTOP)
        if not answer:
            self._log.seek(0)
            raise SystemExit(f"{self.name} failed:\n{self._log.read()[-3000:]}")
        ids, seconds, self.megabytes = json.loads(answer)
        if len(ids) != new_tokens:
            raise SystemExit(f"{self.name} gave {len(ids)} new tokens, not {new_tokens}.")
        self.texts[new_tokens] = ids
        if timed:
            self.times.setdefault(new_tokens, []).append(seconds)

    def stop(self):
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._log.close()


def show(runtimes, sizes, parameters, reference, text, first):
    """Print the table, then how many times as fast we are."""
    new_tokens, long_prompt = text[1], first[0]
    speeds, prefills = {}, {}
    print(f"{'runtime':<24}{'tokens/s':>10}{'best':>10}{'prefill/s':>11}{'bytes/par.':>12}"
          f"{'peak MB':>9}{'as Keras':>10}")  # fmt: skip
    for name, runtime in runtimes.items():
        speeds[name] = new_tokens / statistics.median(runtime.times[new_tokens])
        prefills[name] = len(long_prompt) / statistics.median(runtime.times[1])
        best = new_tokens / min(runtime.times[new_tokens])
        same = sum(a == b for a, b in zip(reference, runtime.texts[new_tokens], strict=True))
        print(
            f"{name:<24}{speeds[name]:>10,.1f}{best:>10,.1f}{prefills[name]:>11,.0f}"
            f"{sizes[name] / parameters:>12.3f}{runtime.megabytes:>9,.0f}"
            f"{f'{same} / {new_tokens}':>10}"
        )
    own = [name for name in speeds if split(name)[0] in OURS]
    for peer in (name for name in speeds if name not in own):
        for name in own:
            if split(name)[1] == split(peer)[1] or name == max(own, key=speeds.get):
                print(
                    f"ratio keraslm {name} / {peer}: speed {speeds[name] / speeds[peer]:.2f}x, "
                    f"prefill {prefills[name] / prefills[peer]:.2f}x"
                )
    print(f"different tokens in the text: {len(set(reference))}")
    print(f"load at the end {os.getloadavg()[0]:.2f}", flush=True)


if __name__ == "__main__":
    main()
