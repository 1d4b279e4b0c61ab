"""A SavedModel in a fresh process beside its Keras model: texts, scores, embeddings, classes."""

import json
import subprocess
import sys

import keras
import numpy as np
import tokenizers

from keraslm.export.proof import NEW_TOKENS, written_prompts
from keraslm.export.to_saved_model.signatures import Encoder
from keraslm.export.to_tflite.signatures import NOT_EXPORTED
from keraslm.export.verification import Verification
from keraslm.generation.cache import is_step_model
from keraslm.models.precision import in_float32
from keraslm.tasks import TextGenerator

LARGEST_DIFFERENCE = 1e-4
LENGTHS = (2, 9, 30)  # in tokens, of the inputs for an encoder

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


def verify_saved_model(path, task, mode="quick", texts=None) -> Verification:
    """`keraslm.export.verify` for a SavedModel.

    Args:
        path: the folder.
        task: a `keraslm.tasks.TextGenerator`; or a `keraslm.models.BERT`, of which only the
            endpoint on token ids is compared, or something with it as ``model`` and with a
            ``tokenizer``.
    """
    compare = _decoder if is_step_model(getattr(task, "model", task)) else _encoder
    prompts, equal, number, difference = compare(path, task)
    size = sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
    return Verification("saved_model", prompts, equal, number, difference, size)


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
    """Greedy texts, and the scores of what was written."""
    if getattr(lm, "tokenizer", None) is None:
        raise ValueError(
            f"The SavedModel {path} generates text: to verify it, give the "
            f"keraslm.tasks.TextGenerator that it was made from; received {type(lm).__name__}."
        )
    lm = TextGenerator(in_float32(lm.model), lm.tokenizer, lm.generation_config)
    prompts = written_prompts(lm.generator, lm.tokenizer.bos_id or 0, lm.model.max_length - 1)
    texts = [_fitting(lm, lm.tokenizer.decode(ids)) for ids in prompts]
    expected = [lm.generate(text, max_new_tokens=NEW_TOKENS, temperature=0) for text in texts]
    written = [_fitting(lm, text) for text in expected]
    scores = [_score(lm, text) for text in written]
    settings = {
        "max_new_tokens": (NEW_TOKENS, "int32"), "temperature": (0.0, "float32"),
        "top_k": (1, "int32"), "top_p": (1.0, "float32"), "seed": (0, "int32"),
    }  # fmt: skip
    calls = [("generate", {"text": ([text], "string"), **settings}) for text in texts]
    *found, score = call_fresh(path, [*calls, ("score", {"text": (written, "string")})])
    equal = sum(x["text"] == [text] for x, text in zip(found, expected, strict=True))
    pairs = zip(score["log_probs"], score["num_tokens"], scores, strict=True)
    difference = max(_difference(row[:count], wanted) for row, count, wanted in pairs)
    return len(texts), equal, len(texts), difference


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


def _difference(found, wanted):
    """The largest, infinite if the shapes differ."""
    if np.shape(found) != np.shape(wanted):
        return np.inf
    return float(np.abs(np.subtract(found, wanted)).max(initial=0.0))


# === Encoders ===


def _encoder(path, task):
    """Random ids and texts of several lengths, in a batch; Keras runs each alone."""
    task = task if hasattr(task, "model") else Encoder(task)
    model = in_float32(task.model)
    rows = _random_ids(model, task.tokenizer)
    verb = {None: "embed", "pooled": "embed", "classifier": "classify"}.get(model.head)
    calls = [(f"{verb}_ids" if verb else "logits", _batch(model, rows))]
    if verb and task.tokenizer is not None:
        texts = task.tokenizer.decode_batch(rows)
        calls.append((verb, {"text": (texts, "string")}))
        rows = rows + _encoded(texts, task.tokenizer, getattr(task, "length", None), model)
    output = {"embed": "embedding", "classify": "probabilities", None: "logits"}[verb]
    found = [row for outputs in call_fresh(path, calls) for row in outputs[output]]
    differences = []
    for ids, row in zip(rows, found, strict=True):
        wanted = _expected(model, ids)
        row = row[: len(ids)] if wanted.ndim == 2 else row  # without what padding gives
        differences.append(_difference(row, wanted))
    close = sum(d < LARGEST_DIFFERENCE for d in differences)
    return len(rows), close, len(rows), max(differences)


def _random_ids(model, tokenizer):
    """Lists of ids that are no special tokens; the last is too long for a text."""
    special = [] if tokenizer is None else list(tokenizer.special_tokens.values())
    size = model.vocab_size if tokenizer is None else tokenizer.vocab_size
    ids = np.setdiff1d(np.arange(size), special)
    lengths = [min(n, model.max_length) for n in (*LENGTHS, model.max_length)]
    return [np.random.default_rng(n).choice(ids, n).tolist() for n in lengths]


def _batch(model, rows):
    """The inputs of the endpoint on token ids, padded on the right."""
    longest = max(map(len, rows))
    values = {
        key: ([[0] * longest for _ in rows], "int32")
        for key in model.input_names
        if key not in NOT_EXPORTED
    }
    values["token_ids"] = ([ids + [0] * (longest - len(ids)) for ids in rows], "int32")
    mask = [[i < len(ids) for i in range(longest)] for ids in rows]
    return {**values, "padding_mask": (mask, "bool")}


def _encoded(texts, tokenizer, length, model):
    """Ids as the engine of the tokenizer cuts them."""
    engine = tokenizers.Tokenizer.from_str(tokenizer.to_json())
    engine.enable_truncation(length or model.max_length)
    return [encoding.ids for encoding in engine.encode_batch(texts)]


def _expected(model, ids):
    y = keras.ops.convert_to_numpy(model(np.array([ids], "int32"), training=False))[0]
    if model.head is None:
        return y.mean(axis=0)
    if model.head == "classifier":
        return keras.ops.convert_to_numpy(keras.ops.softmax(y))
    return y
