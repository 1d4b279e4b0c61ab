"""A ``.tflite`` in LiteRT beside its Keras model: tokens, logits, perplexity, speed, memory."""

import dataclasses
import json
import subprocess
import sys
import time
from collections import Counter

from keraslm.export.decoder_proof import (
    FULL_TOKENS,
    QUICK_TOKENS,
    Comparison,
    equal_tokens,
    judged_parts,
    keras_logits,
    last_logits,
    own_text,
    text_for,
)
from keraslm.export.proof import NEW_TOKENS, sample_context, written_prompts
from keraslm.export.to_tflite.encoders import DYNAMIC, encoder_of, is_task
from keraslm.export.to_tflite.stated import decoder_differing, encoder_differing, slots
from keraslm.export.to_tflite.verify_encoder import verify_encoder
from keraslm.export.verification import PREFILL_TOKENS, Verification, check_limits
from keraslm.generation.cache import is_step_model
from keraslm.generation.config import GenerationConfig
from keraslm.litert.flatbuffer import LiteRTFile
from keraslm.runtimes.litert import LiteRTModel


def verify_tflite(path, lm, mode="quick", texts=None, limits=None) -> Verification:
    """`keraslm.export.verify` for a ``.tflite``; ``limits`` as in `keraslm.export.tflite`."""
    model = getattr(lm, "model", lm)
    file = LiteRTFile(path.read_bytes())
    facts = {
        "num_bytes": path.stat().st_size,
        "operations": tuple(sorted(file.operations())),
        "quantization": quantization_of(file),
        "bytes_by_dtype": file.sizes(),
    }
    if not is_step_model(model):
        lengths = _lengths_of(file)
        encoder = encoder_of(lm if is_task(lm) else model, lengths)
        longest = encoder.default_length if lengths == DYNAMIC else max(lengths)
        facts["differing"] = encoder_differing(path, encoder, longest)
        return verify_encoder(path, encoder, facts, check_limits(limits))
    result = _verify_decoder(path, lm, facts, mode, texts, check_limits(limits))
    return _measured(result, path) if mode == "full" else result


def _lengths_of(file):
    """The lengths of an encoder's file, as `keraslm.export.tflite` takes them."""
    names = [name for name in file.signatures() if name.startswith("encode_")]
    return tuple(int(name.removeprefix("encode_")) for name in names) or DYNAMIC


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


def _verify_decoder(path, lm, facts, mode, texts, limits):
    """The file beside Keras on a text, token by token; then both write freely."""
    judged = judged_parts(lm)
    litert = LiteRTModel(path, tokenizer=judged.tokenizer)
    stop = lm.generation_config.stop_ids if hasattr(lm, "generation_config") else ()
    wrong = decoder_differing(path, litert, judged.model, [judged.start], stop)
    litert.cache_length = min(litert.cache_length, slots(litert, judged.model))
    context = sample_context(judged.model)
    most = FULL_TOKENS if mode == "full" else QUICK_TOKENS
    if judged.tokenizer is None or context:
        text = own_text(judged, litert.cache_length, context)
    else:
        text = text_for(judged, texts, litert.cache_length, most)
    comparison, seconds = Comparison(), 0.0
    for ids in text.windows:
        reference = keras_logits(judged.model, ids[:-1], context)
        litert.reset()
        litert.set_context(**(context or {}))
        for i, token in enumerate(ids[:-1]):
            started = time.perf_counter()
            found = litert.decode(token)
            seconds += time.perf_counter() - started if i else 0.0  # the first sets up the runtime
            comparison.add(reference[i], found, ids[i + 1])
    _every_signature(litert, judged.model, text.windows, context, comparison)
    equal, compared, prompts = _written_freely(litert, judged, context)
    if litert.at_once is not None:
        pair = _written_at_once(litert, judged, text.windows[0], stop)
        equal, compared = equal + pair[0], compared + pair[1]
    decoded = comparison.count - len(text.windows)
    return Verification(
        "tflite", prompts, equal, compared,
        tokens_per_second=decoded / seconds if decoded else None, judged_on=text.name,
        limits=limits, differing=(*wrong, *comparison.gross), **comparison.facts(), **facts,
    )  # fmt: skip


def _every_signature(litert, model, windows, context, comparison):
    """Each way to read a prompt once, and the last slot of the context."""
    ids = [token for window in windows for token in window]
    ids = (ids * (litert.cache_length // len(ids) + 1))[: litert.cache_length]
    lengths = {n for n in litert.prefill_lengths if n < litert.cache_length}
    for length in sorted({*lengths, litert.cache_length - 1} - {0}):
        litert.reset()
        litert.set_context(**(context or {}))
        litert.prefill(ids[:length])
        found = litert.decode(ids[length])
        reference = last_logits(model, ids[: length + 1], context)
        comparison.probe(reference, found, f"a prompt of {length + 1} tokens")


def _written_at_once(litert, judged, ids, stop_ids):
    """As `_written_freely`, by the signature that runs the whole loop."""
    prompt, new = ids[: litert.at_once[0]], litert.at_once[1]
    config = GenerationConfig(max_new_tokens=new, stop_ids=stop_ids)
    expected = judged.generator.generate([prompt], config)[0].ids
    reference = keras_logits(judged.model, prompt + expected)[len(prompt) - 1 :]
    return equal_tokens(expected, litert.generate_at_once(prompt, new), reference)


def _written_freely(litert, judged, context):
    """How many greedy tokens of how many are those of Keras, after how many prompts."""
    generator = judged.generator
    prompts = written_prompts(generator, judged.start, litert.cache_length - 1, context)
    equal = compared = 0
    for prompt in prompts:
        config = GenerationConfig(max_new_tokens=min(NEW_TOKENS, litert.cache_length - len(prompt)))
        expected = generator.generate([prompt], config, context=context)[0].ids
        reference = keras_logits(generator.model, prompt + expected, context)[len(prompt) - 1 :]
        found = list(litert.generate(prompt, config, context))
        pair = equal_tokens(expected, found, reference)
        equal, compared = equal + pair[0], compared + pair[1]
    return equal, compared, len(prompts)


# === The full examination ===


def _measured(result, path):
    """Add the time to read a prompt, speed and memory."""
    process = subprocess.run(
        [sys.executable, "-c", _FRESH, str(path), str(PREFILL_TOKENS)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = process.stdout.rpartition("RESULT")[2]
    if process.returncode or not found:
        last = (process.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"{path} does not run in a fresh process: {last}")
    return dataclasses.replace(result, **json.loads(found))


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
