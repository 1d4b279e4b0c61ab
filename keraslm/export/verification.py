"""Proof that an exported file gives what the Keras model gives, in its real runtime."""

import dataclasses
import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from keraslm._files import replaced_file
from keraslm.generation.config import GenerationConfig
from keraslm.generation.generator import Generator

PROMPT_LENGTHS = (1, 9, 130)
NEW_TOKENS = 32
LARGEST_DIFFERENCE = 1e-3


@dataclasses.dataclass(frozen=True)
class Verification:
    """How an exported file compares with its Keras model.

    Args:
        target: ``"tflite"`` or ``"saved_model"``.
        prompts: number of prompts.
        equal_tokens, tokens: greedy tokens that are the same, of how many (texts, for a
            SavedModel, which gives no tokens).
        max_difference: largest difference of a logit; ``None`` where logits are not given.
        num_bytes: size on disk.
        tokens_per_second: of decoding; ``None`` if not measured.
        operations: names of the operations in a ``.tflite``.
    """

    target: str
    prompts: int
    equal_tokens: int
    tokens: int
    max_difference: float | None
    num_bytes: int
    tokens_per_second: float | None = None
    operations: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether all tokens are the same and no logit is off."""
        close = self.max_difference is None or self.max_difference < LARGEST_DIFFERENCE
        return self.equal_tokens == self.tokens and close

    def __str__(self):
        what = "texts" if self.target == "saved_model" else "greedy tokens"
        parts = [
            "passed" if self.passed else "FAILED",
            f"{self.equal_tokens} of {self.tokens} {what} as in Keras ({self.prompts} prompts)",
        ]
        if self.max_difference is not None:
            parts.append(f"largest logit difference {self.max_difference:.1e}")
        parts.append(f"{self.num_bytes / 1e6:.1f} MB")
        if self.tokens_per_second is not None:
            parts.append(f"{self.tokens_per_second:.0f} tokens/s")
        return ", ".join(parts)


def verify(path, lm) -> Verification:
    """Compare an exported file with the Keras model, in its real runtime.

    Prompts of 1, 9 and 130 tokens (or what fits), written by the model itself, are continued
    greedily on both sides. A ``.tflite`` runs in LiteRT; a SavedModel is loaded in a fresh
    process.

    Args:
        path: the ``.tflite`` file or the SavedModel folder.
        lm: the `keraslm.tasks.TextGenerator` it was made from; for a ``.tflite`` a model will do.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: neither a ``.tflite`` nor a SavedModel.

    Example:
        >>> print(keraslm.export.verify("saved_models/mine/model.tflite", lm))
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"No file or folder {path}. Export the model first.")
    if (path / "saved_model.pb").is_file():
        return _verify_saved_model(path, lm)
    if path.is_file():
        return _verify_tflite(path, lm)
    raise ValueError(f"{path} is neither a .tflite file nor a SavedModel folder.")


def prove(path, lm, name):
    """Verify ``path``, which will be called ``name``.

    Raises:
        RuntimeError: the file is not equal.
    """
    result = verify(path, lm)
    if not result.passed:
        raise RuntimeError(
            f"The export {name} does not give what Keras gives, and was not kept: {result}."
        )
    return result


def write_manifest(path, result):
    """Note an export, which is in its place, in ``manifest.json`` of its folder.

    Without a result, what the manifest says of an earlier export of that name is dropped.
    """
    file = path.parent / "manifest.json"
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        manifest = {}
    if result is None:
        if path.name not in manifest:
            return
        del manifest[path.name]
    else:
        manifest[path.name] = _entry(path, result)
    with replaced_file(file) as new:
        new.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def _entry(path, result):
    entry = {"target": result.target, "bytes": result.num_bytes}
    if path.is_file():
        entry["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    entry["verification"] = dataclasses.asdict(result)
    return entry


def _prompts(generator, start):
    """Prompts that the model writes itself, so that they look like its text."""
    room = generator.model.max_length - 1
    lengths = sorted({min(length, room) for length in PROMPT_LENGTHS})
    config = GenerationConfig(max_new_tokens=lengths[-1], top_k=50, seed=0)
    written = [start, *generator.generate([[start]], config)[0].ids]
    return [written[:length] for length in lengths]


def _verify_tflite(path, lm):
    from keraslm.export.conversion import operations
    from keraslm.export.runner import LiteRTModel

    generator = getattr(lm, "generator", None) or Generator(lm)
    tokenizer = getattr(lm, "tokenizer", None)
    start = 0 if tokenizer is None or tokenizer.bos_id is None else tokenizer.bos_id
    litert = LiteRTModel(path)
    equal = total = 0
    difference = seconds = 0.0
    prompts = _prompts(generator, start)
    for prompt in prompts:
        config = GenerationConfig(max_new_tokens=min(NEW_TOKENS, litert.cache_length - len(prompt)))
        expected = generator.generate([prompt], config)[0].ids
        reference = _logits(generator.model, prompt + expected)
        litert.reset()
        litert.prefill(prompt[:-1])
        token = prompt[-1]
        for i, wanted in enumerate(expected):
            started = time.perf_counter()
            logits = litert.decode(token)
            seconds += time.perf_counter() - started
            difference = max(
                difference, float(np.abs(logits - reference[len(prompt) - 1 + i]).max())
            )
            equal += int(np.argmax(logits)) == wanted
            total += 1
            token = wanted
    return Verification(
        "tflite",
        len(prompts),
        equal,
        total,
        difference,
        path.stat().st_size,
        total / seconds,
        tuple(sorted(operations(path.read_bytes()))),
    )


def _logits(model, ids):
    """float32 ``(seq, vocab_size)``."""
    from keras import ops

    logits, _ = model.step(ops.convert_to_tensor([ids]), model.init_cache(1, len(ids)), 0)
    return ops.convert_to_numpy(logits)[0]


_FRESH = """
import json, sys
import tensorflow as tf
try:
    import tensorflow_text
except ImportError:
    pass
generate = tf.saved_model.load(sys.argv[1]).signatures["generate"]
texts = json.load(sys.stdin)
constants = dict(
    max_new_tokens=tf.constant(int(sys.argv[2])), temperature=tf.constant(0.0),
    top_k=tf.constant(1), top_p=tf.constant(1.0), seed=tf.constant(0),
)
out = [generate(text=tf.constant([t]), **constants)["text"][0].numpy().decode() for t in texts]
print("RESULT" + json.dumps(out))
"""


def _fitting(lm, text):
    """The text, cut until it fits: tokens that are no text decode to signs of several tokens."""
    while len(lm.tokenizer.encode(text)) >= lm.model.max_length:
        text = text[: len(text) * 3 // 4]
    return text


def _verify_saved_model(path, lm):
    prompts = _prompts(lm.generator, lm.tokenizer.bos_id or 0)
    texts = [_fitting(lm, lm.tokenizer.decode(ids)) for ids in prompts]
    expected = [lm.generate(text, max_new_tokens=NEW_TOKENS, temperature=0) for text in texts]
    process = subprocess.run(
        [sys.executable, "-c", _FRESH, str(path), str(NEW_TOKENS)],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        check=False,
    )
    found = process.stdout.rpartition("RESULT")[2]
    if process.returncode or not found:
        last = (process.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"The SavedModel {path} does not load in a fresh process: {last}")
    equal = sum(a == b for a, b in zip(json.loads(found), expected, strict=True))
    size = sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
    return Verification("saved_model", len(texts), equal, len(texts), None, size)
