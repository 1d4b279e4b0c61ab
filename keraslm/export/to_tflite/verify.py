"""A ``.tflite`` in LiteRT beside its Keras model: tokens, logits, perplexity, speed, memory."""

import dataclasses
import json
import subprocess
import sys
import time
from collections import Counter

import numpy as np

from keraslm.export.proof import NEW_TOKENS, sample_context, written_prompts
from keraslm.export.verification import PREFILL_TOKENS, Verification
from keraslm.generation.cache import init_cache, is_step_model, updated
from keraslm.generation.config import GenerationConfig
from keraslm.generation.generator import Generator
from keraslm.litert.flatbuffer import LiteRTFile
from keraslm.models.precision import in_float32
from keraslm.runtimes.litert import LiteRTEncoder, LiteRTModel

PERPLEXITY_TOKENS = 1024


def verify_tflite(path, lm, mode="quick", texts=None) -> Verification:
    """`keraslm.export.verify` for a ``.tflite``."""
    model = getattr(lm, "model", lm)
    file = LiteRTFile(path.read_bytes())
    facts = {
        "num_bytes": path.stat().st_size,
        "operations": tuple(sorted(file.operations())),
        "quantization": quantization_of(file),
        "bytes_by_dtype": file.sizes(),
    }
    if not is_step_model(model):
        return _verify_encoder(path, model, facts)
    result = _verify_decoder(path, lm, facts)
    return _measured(result, path, lm, texts) if mode == "full" else result


def quantization_of(file):
    """The kind of `keraslm.litert.quantization` that most weights of a file have, or None."""
    sizes = Counter(file.sizes())
    if sizes["int4"]:
        return "int4"
    if sizes["int8"]:
        return "int8_weights" if _expands_int8(file) else "int8"
    return "float16" if sizes["float16"] else None


def _expands_int8(file):
    return any(
        file.name(operation) == "DEQUANTIZE"
        and file.dtype(graph.tensors[operation.inputs[0]]) == "INT8"
        for graph in file.model.subgraphs
        for operation in graph.operators or ()
    )


# === Decoders ===


def _verify_decoder(path, lm, facts):
    """Feed the tokens of Keras to the file and see which it would have written."""
    model = getattr(lm, "model", lm)
    generator = getattr(lm, "generator", None) or Generator(model)
    if (wide := in_float32(model)) is not model:
        generator = Generator(wide)
    tokenizer = getattr(lm, "tokenizer", None)
    start = 0 if tokenizer is None or tokenizer.bos_id is None else tokenizer.bos_id
    litert = LiteRTModel(path)
    litert.decode(start)  # the first call sets up the runtime
    equal, divergences, difference, seconds = 0, [], 0.0, 0.0
    context = sample_context(generator.model)
    prompts = written_prompts(generator, start, litert.cache_length - 1, context)
    for prompt in prompts:
        config = GenerationConfig(max_new_tokens=min(NEW_TOKENS, litert.cache_length - len(prompt)))
        expected = generator.generate([prompt], config, context=context)[0].ids
        reference = keras_logits(generator.model, prompt + expected, context)[len(prompt) - 1 :]
        litert.reset()
        litert.set_context(**(context or {}))
        litert.prefill(prompt[:-1])
        for token, wanted, logits in zip(
            [prompt[-1], *expected], expected, reference, strict=False
        ):
            started = time.perf_counter()
            found = litert.decode(token)
            seconds += time.perf_counter() - started
            difference = max(difference, float(np.abs(found - logits).max()))
            divergences.append(divergence(logits, found))
            equal += int(np.argmax(found)) == wanted
    return Verification(
        "tflite",
        len(prompts),
        equal,
        len(divergences),
        difference,
        tokens_per_second=len(divergences) / seconds,
        kl=float(np.mean(divergences)),
        **facts,
    )


def keras_logits(model, ids, context=None):
    """float32 ``(seq, vocab_size)``."""
    from keras import ops

    cache = init_cache(model, 1, len(ids))
    if context:
        cache = updated(cache, model.context(**context))
    logits, _ = model.step(ops.convert_to_tensor([ids]), cache, 0)
    return ops.convert_to_numpy(logits)[0]


def divergence(reference, other):
    """Kullback-Leibler divergence of two rows of logits, in nats."""
    log_p, log_q = log_softmax(reference), log_softmax(other)
    return float((np.exp(log_p) * (log_p - log_q)).sum())


def log_softmax(logits):
    """float64, over the last axis."""
    logits = np.asarray(logits, "float64")
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


# === The full examination ===


def _measured(result, path, lm, texts):
    """Add perplexity, the time to read a prompt, speed and memory."""
    ours, theirs = (None, None)
    if hasattr(lm, "tokenizer"):
        ours, theirs = perplexities(path, lm, texts)
    process = subprocess.run(
        [sys.executable, "-c", _FRESH, str(path), str(PREFILL_TOKENS)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = process.stdout.rpartition("RESULT")[2]
    if process.returncode or not found:
        last = (process.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"{path} does not run in a fresh process: {last}")
    return dataclasses.replace(
        result, perplexity=ours, keras_perplexity=theirs, **json.loads(found)
    )


# Without Keras, so that the memory is the runtime's.
_FRESH = """
import json, resource, sys, time
import numpy as np
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.hardware_accelerator import HardwareAccelerator
from ai_edge_litert.options import CpuOptions, Options

cpu = Options(hardware_accelerators=HardwareAccelerator.CPU, cpu_options=CpuOptions(num_threads=2))
model = CompiledModel.from_file(sys.argv[1], options=cpu)
details = model.get_input_tensor_details("decode")
cache = {}
for name in details:
    if "kv_cache" in name:
        cache[name] = model.create_input_buffer_by_name("decode", name)
        cache[name].write(np.zeros(details[name]["shape"], details[name]["dtype"]))
length = next(details[name]["shape"][2] for name in cache)

def signature(name, tokens, outputs):
    inputs = {key: model.create_input_buffer_by_name(name, key) for key in ("tokens", "input_pos")}
    inputs["tokens"].write(np.ones((1, tokens), "int32"))
    def call(position):
        inputs["input_pos"].write(np.arange(position, position + tokens, dtype="int32"))
        model.run_by_name(name, {**inputs, **cache}, {**outputs, **cache})
    return call

def timed(function):
    started = time.perf_counter()
    function()
    return time.perf_counter() - started

logits = model.create_output_buffer_by_name("decode", "logits")
decode = signature("decode", 1, {"logits": logits})
found = {}
name = "prefill_" + sys.argv[2]
if name in model.get_signature_list():
    prefill = signature(name, int(sys.argv[2]), {})
    found["prefill_ms"] = min(timed(lambda: prefill(0)) for _ in range(6)) * 1e3
positions = range(length // 2, min(length, length // 2 + 64))
decode(0)
seconds = min(timed(lambda: [decode(p) for p in positions]) for _ in range(3))
found["tokens_per_second"] = len(positions) / seconds
try:  # Linux keeps the parent's maximum in getrusage
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    found["peak_memory"] = int(status["VmHWM"].split()[0]) * 1024
except OSError:
    found["peak_memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print("RESULT" + json.dumps(found))
"""


def perplexities(path, lm, texts=None):
    """Perplexity of held-out text by a file and by Keras, on the same windows of tokens.

    Args:
        path: the ``.tflite``.
        lm: a `keraslm.tasks.TextGenerator`.
        texts: strings; default as in `keraslm.export.verify`.

    Returns:
        two floats: of the file, of Keras.
    """
    litert, model = LiteRTModel(path), in_float32(lm.model)
    windows = _windows(lm, texts or _held_out(), litert.cache_length)
    tokens = sum(len(ids) - 1 for ids in windows)
    if not tokens:
        raise ValueError("texts has no text of two tokens. Give other texts.")
    sums = np.zeros(2)
    for ids in windows:
        reference = log_softmax(keras_logits(model, ids[:-1]))
        litert.reset()
        for i, (token, target) in enumerate(zip(ids, ids[1:], strict=False)):
            sums -= log_softmax(litert.decode(token))[target], reference[i, target]
    return tuple(float(x) for x in np.exp(sums / tokens))


def _windows(lm, texts, length):
    """Lists of token ids that fit in the context, `PERPLEXITY_TOKENS` altogether."""
    rows, room = [], PERPLEXITY_TOKENS
    for text in texts:
        ids = lm.tokenizer.encode(text)[: min(length, room)]
        if len(ids) > 1:
            rows.append(ids)
            room -= len(ids)
        if room < 2:
            break
    return rows


def _held_out():
    from keraslm.data import clean_text, read_texts, split_texts, wikipedia_sample

    return split_texts([clean_text(text) for text in read_texts(wikipedia_sample())], 0.05)[1]


# === Other models ===


def _verify_encoder(path, model, facts):
    """Random ids of several lengths, through both."""
    model, litert = in_float32(model), LiteRTEncoder(path)
    longest = litert.max_length or min(64, getattr(model, "max_length", 64))
    ids_below = getattr(model, "vocab_size", None) or _vocab_size(model)
    rng = np.random.default_rng(0)
    lengths = sorted({1, max(1, longest // 3), longest})
    if "padding_mask" not in litert.input_names and litert.max_length:
        lengths = sorted(litert.lengths)  # without a mask, padding would be read as text
    difference, equal, kl, total = 0.0, 0, [], 0
    for length in lengths:
        ids = rng.integers(0, ids_below, length)
        found = np.concatenate([_flat(y)[:length] for y in _outputs(litert(ids))])
        wanted = np.concatenate(
            [_flat(y) for y in _outputs(model(np.asarray([ids], "int32"), training=False))]
        )
        difference = max(difference, float(np.abs(found - wanted).max()))
        equal += int((found.argmax(-1) == wanted.argmax(-1)).sum())
        total += len(wanted)
        kl += [divergence(a, b) for a, b in zip(wanted, found, strict=True)]
    mean = float(np.mean(kl))
    return Verification("tflite", len(lengths), equal, total, difference, kl=mean, **facts)


def _outputs(found):
    import keras

    return [keras.ops.convert_to_numpy(y) for y in keras.tree.flatten(found)]


def _flat(y):
    """The rows of an output: ``(seq, …)`` or ``(1, …)``."""
    return y[0] if y.ndim == 3 else y.reshape(1, -1)


def _vocab_size(model):
    """Rows of the first embedding table of a model."""
    import keras

    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.Embedding):
            return layer.input_dim
    return 2
