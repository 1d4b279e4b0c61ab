"""A SavedModel in a fresh process beside its Keras model: texts, scores, embeddings, classes."""

import json
import subprocess
import sys

import keras
import numpy as np

from keraslm.export.facts import differing
from keraslm.export.proof import (
    NEW_TOKENS,
    TEXTS,
    compare,
    in_float32_task,
    largest_difference,
    written_prompts,
)
from keraslm.export.to_saved_model.stated import labels_in, said_of, stated_in
from keraslm.export.to_tflite.encoders import NOT_EXPORTED
from keraslm.export.verification import Verification
from keraslm.generation.cache import is_step_model
from keraslm.models.precision import in_float32
from keraslm.tasks import Task, TextGenerator
from keraslm.tasks.table import task_for

LARGEST_DIFFERENCE = 1e-4
LENGTHS = (2, 9, 30)  # in tokens, of the inputs for an encoder

GREEDY = {
    "max_new_tokens": NEW_TOKENS, "temperature": 0.0, "top_k": 0, "top_p": 1.0, "seed": 0,
}  # fmt: skip
DRAWN = {**GREEDY, "temperature": 0.9, "top_k": 50, "top_p": 0.95, "seed": 1}
DTYPES = {
    "max_new_tokens": "int32", "temperature": "float32", "top_k": "int32", "top_p": "float32",
    "seed": "int32",
}  # fmt: skip

# TensorFlow alone: this is all that the program of a user has.
_FRESH = """
import json, sys
import tensorflow as tf
signatures = tf.saved_model.load(sys.argv[1]).signatures
def plain(value):
    return tf.nest.map_structure(
        lambda x: x.decode() if isinstance(x, bytes) else x, value.numpy().tolist())
found = []
for name, inputs in json.load(sys.stdin):
    inputs = {key: tf.constant(value, dtype) for key, (value, dtype) in inputs.items()}
    found.append({key: plain(value) for key, value in signatures[name](**inputs).items()})
print("RESULT" + json.dumps(found))
"""


def verify_saved_model(path, task, mode="quick", texts=None, limits=None) -> Verification:
    """`keraslm.export.verify` for a SavedModel.

    Args:
        path: the folder.
        task: a task; or a `keraslm.models.BERT`, of which only the endpoint on token ids is
            compared.
        mode, limits: of no effect.
        texts: strings to ask a task about, instead of those in `keraslm.export.proof`.
    """
    wrong: tuple[str, ...] = ()
    if is_step_model(getattr(task, "model", task)):
        prompts, equal, number, difference, wrong = _decoder(path, task)
    elif isinstance(task, Task) and task.tokenizer is not None:
        wrong = differing(labels_in(path), {"labels": getattr(task, "labels", None)})
        prompts, equal, number, difference = _asked(path, in_float32_task(task), texts or TEXTS)
    else:
        prompts, equal, number, difference = _on_ids(path, getattr(task, "model", task), task)
    size = sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
    return Verification("saved_model", prompts, equal, number, difference, size, differing=wrong)


def call_fresh(path, calls):
    """Call endpoints in a process that knows nothing of keraslm.

    Args:
        path: the SavedModel.
        calls: ``(endpoint, {input: (value, dtype)})`` each.

    Returns:
        for each a dict of outputs, as lists.

    Raises:
        RuntimeError: the SavedModel does not load, or a call fails.
    """
    process = subprocess.run(
        [sys.executable, "-c", _FRESH, str(path)], input=json.dumps(calls),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = process.stdout.rpartition("RESULT")[2]
    if process.returncode or not found:
        last = (process.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"The SavedModel {path} does not run in a fresh process: {last}")
    return json.loads(found)


# === Decoders ===


def _decoder(path, lm):
    """Greedy texts, drawn ones and those of the defaults, and the scores of what was written."""
    if getattr(lm, "tokenizer", None) is None:
        raise ValueError(
            f"The SavedModel {path} generates text: to verify it, give the "
            f"keraslm.tasks.TextGenerator that it was made from; received {type(lm).__name__}."
        )
    lm = TextGenerator(in_float32(lm.model), lm.tokenizer, lm.generation_config, stated=lm.stated)
    prompts = written_prompts(lm.generator, lm.tokenizer.bos_id or 0, lm.model.max_length - 1)
    texts = [_fitting(lm, lm.tokenizer.decode(ids)) for ids in prompts]
    expected = [lm.generate(text, max_new_tokens=NEW_TOKENS, temperature=0) for text in texts]
    written = [_fitting(lm, text) for text in expected]
    scores = [_score(lm, text) for text in written]
    calls = [_generate(text, GREEDY) for text in texts]
    calls += [_generate(texts[0], DRAWN), ("serving_default", {"text": (texts[:1], "string")})]
    *found, score = call_fresh(path, [*calls, ("score", {"text": (written, "string")})])
    *found, drawn, default = [output["text"][0] for output in found]
    wrong = differing(stated_in(path, lm.model.vocab_size), said_of(lm))
    draws_alike = drawn == lm.generate(texts[0], **DRAWN) or (
        not wrong and _draws_alike(path, lm, texts[0])
    )
    seed = {} if lm.generation_config.seed is not None else {"seed": 0}  # a file has one
    # Where the default is drawn, rounding may decide too; what it is drawn with has been read.
    by_default = default == lm.generate(texts[0], **seed) or (
        lm.generation_config.is_sampled and draws_alike and not wrong
    )
    equal = sum(a == b for a, b in zip(found, expected, strict=True)) + draws_alike + by_default
    pairs = zip(score["log_probs"], score["num_tokens"], scores, strict=True)
    difference = max(largest_difference(row[:count], wanted) for row, count, wanted in pairs)
    return len(texts), equal, len(texts) + 2, difference, wrong


def _draws_alike(path, lm, text):
    """Once more with another seed: rounding decides one draw of very many."""
    settings = {**DRAWN, "seed": DRAWN["seed"] + 1}
    (output,) = call_fresh(path, [_generate(text, settings)])
    return output["text"] == [lm.generate(text, **settings)]


def _generate(text, settings):
    """A call of the endpoint whose settings are inputs."""
    inputs = {name: (value, DTYPES[name]) for name, value in settings.items()}
    return "generate", {"text": ([text], "string"), **inputs}


def _fitting(lm, text):
    """The text, cut until it fits: tokens that are no text decode to signs of several tokens."""
    while len(lm.prompt_ids([text])[0]) >= lm.model.max_length:
        text = text[: len(text) * 3 // 4]
    return text


def _score(lm, text):
    try:
        return lm.score(text).log_probs
    except ValueError:  # fewer than two tokens: nothing to score
        return []


# === Tasks ===


def _asked(path, task, texts):
    """What the task answers, beside what it makes of the numbers in the SavedModel.

    The endpoint on token ids gets the batches that the task runs, that on text the texts.
    """
    samples = task.samples(texts)
    batches: list = []

    def recorded(**inputs):
        batches.append({name: np.asarray(value) for name, value in inputs.items()})
        return task.compute(**inputs)

    task.each(samples, run=recorded)
    expected = list(task.ask(samples))
    name = task.endpoint
    calls = [(f"{name}_ids", {k: _value(k, v) for k, v in given.items()}) for given in batches]
    if not task.is_on_pairs:
        calls.append((name, {"text": (samples, "string")}))
    outputs = [_arrays(output) for output in call_fresh(path, calls)]
    replies = iter(outputs)
    found = list(task.each(samples, run=lambda **_: next(replies)))
    if not task.is_on_pairs:
        on_text = outputs[-1]
        found, expected = found + list(task.answers(on_text, samples)), expected + expected
        if "label" in on_text:  # the names of the numbers beside them, which were compared
            found.append(on_text["label"])
            best = on_text["probabilities"].argmax(-1)
            expected.append(np.array(task.labels)[best].tolist())
    pairs = [compare(a, b) for a, b in zip(found, expected, strict=True)]
    equal = sum(words and distance < LARGEST_DIFFERENCE for words, distance in pairs)
    return len(pairs), equal, len(pairs), max(distance for _, distance in pairs)


def _value(name, array):
    dtype = "bool" if name == "padding_mask" else "int32"
    return (array.astype(dtype).tolist(), dtype)


def _arrays(output):
    """Lists as arrays, strings as they are."""
    return {name: value if _is_text(value) else np.array(value) for name, value in output.items()}


def _is_text(value):
    while isinstance(value, list) and value:
        value = value[0]
    return isinstance(value, str)


# === Bare encoders ===


def _on_ids(path, model, task):
    """Random ids of several lengths in a batch, with padding; Keras runs each row alone."""
    model = in_float32(model)
    task = task if isinstance(task, Task) else task_for(model)
    name = f"{task.endpoint}_ids" if task else "logits"
    lengths = sorted({min(n, model.max_length) for n in (*LENGTHS, model.max_length)})
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, model.vocab_size, n) for n in lengths]
    inputs = _batch(task.input_spec if task else model.input_names, rows)
    output = _arrays(call_fresh(path, [(name, inputs)])[0])
    output.pop("label", None)
    (found,) = output.values()
    distances = []
    for ids, row in zip(rows, found, strict=True):
        if task:
            mask = {n: np.ones((1, len(ids)), "int32") for n in task.input_spec}
            mask = {n: 0 * v if n == "token_types" else v for n, v in mask.items()}
            (wanted,) = task.with_model(model).compute(**{**mask, "token_ids": ids[None]}).values()
        else:
            wanted = model(ids[None].astype("int32"), training=False)
        wanted = keras.ops.convert_to_numpy(wanted)[0]
        row = row[: len(ids)] if wanted.ndim == 2 else row  # without what padding gives
        distances.append(largest_difference(row, wanted))
    equal = sum(distance < LARGEST_DIFFERENCE for distance in distances)
    return len(rows), equal, len(rows), max(distances)


def _batch(names, rows):
    """The inputs of the endpoint on token ids, padded on the right."""
    shape = len(rows), max(map(len, rows))
    values = {name: np.zeros(shape, "int32") for name in names if name not in NOT_EXPORTED}
    values["padding_mask"] = np.zeros(shape, "int32")
    for i, ids in enumerate(rows):
        for name in values:
            if name != "token_types":
                values[name][i, : len(ids)] = ids if name == "token_ids" else 1
    return {name: _value(name, value) for name, value in values.items()}
