"""The ``.tflite`` of an encoder or of a task in LiteRT beside Keras: texts, ids, padding."""

from typing import Any, NamedTuple

import keras
import numpy as np

from keraslm._compat import operation_of
from keraslm.export.proof import TEXTS, compare
from keraslm.export.to_tflite.encoders import Encoder, named_outputs, own_length
from keraslm.export.to_tflite.padding import arrays, random_inputs
from keraslm.export.verification import LIMITS, Verification
from keraslm.runtimes.litert_encoder import LiteRTEncoder

ROWS = 6  # of each length
OPERATIONS = 1e11  # about what a proof may cost
MOST_RUNS = 400
BATCH = 32  # of Keras
TIE = 0.01  # two classes this near in probability have no order
# Outputs and heads whose last axis is classes.
CLASS_OUTPUTS = ("logits", "probabilities", "scores")
CLASS_HEADS = ("masked_lm", "next_sentence", "classifier", "token_classifier")


class Example(NamedTuple):
    """What is put into both.

    Args:
        file: inputs of the file.
        keras: inputs of the model, with the batch.
    """

    file: dict[str, np.ndarray]
    keras: dict[str, np.ndarray]


def verify_encoder(
    path: Any, encoder: Encoder, facts: dict[str, Any], limits: dict[str, float]
) -> Verification:
    """Compare a file with the model.

    A task is compared on texts, English, Chinese, an empty and an overlong one among them, and
    what the file gives must lead to the answers of its public method. A model is compared on ids
    of several lengths, padded where the file pads, on the right and on the left, and, as far as
    the time allows, on every id of its vocabulary.

    Args:
        path: the ``.tflite``.
        encoder: the model.
        facts: fields of the `Verification` that are read from the file.
        limits: those that are not the usual ones.

    Raises:
        ValueError: Keras itself gives NaN or infinity.
    """
    litert = LiteRTEncoder(path)
    tally = _Tally(encoder, {**LIMITS[facts["quantization"]], **limits})
    if encoder.task is None:
        examples = list(_examples(encoder, litert))
    else:
        examples = _ask_both(encoder, litert, tally)
    for example, expected in _with_expected(encoder, examples):
        tally.add(example, _outputs(litert, example.file, expected), expected)
    return tally.result(facts, limits)


# === Examples ===


def _outputs(litert, inputs, names):
    """The outputs of a file, by name even if there is one."""
    found = litert(inputs)
    return found if isinstance(found, dict) else {min(names): found}


def _ask_both(encoder, litert, tally):
    """Ask a task and its file about texts; the examples that the file was given."""
    task = _as_long_as(encoder.task, litert.max_length)
    examples: list[Example] = []
    if hasattr(task, "ask"):
        names = list(encoder(**random_inputs(encoder, 2, 1)))  # Keras warns of a softmax of one

        def run(**inputs):
            inputs = {name: np.asarray(x) for name, x in inputs.items()}
            real = inputs["padding_mask"].sum(axis=1)
            examples.extend(_without_padding(inputs, i) for i in range(len(real)))
            return _outputs(litert, {n: x[:, : real.max()] for n, x in inputs.items()}, names)

        samples = task.samples(TEXTS)
        tally.add_answers(task.ask(samples), task.each(samples, run=run))
    elif getattr(task, "tokenizer", None) is not None:
        for text in TEXTS:
            examples.append(_without_padding(task.inputs([text], litert.max_length), 0))
    if set(encoder.inputs) <= {"token_ids", "padding_mask", "token_types"}:
        examples += _examples(encoder, litert)
    return examples


def _as_long_as(task, length):
    """The task that cuts texts where the file does."""
    if length is None or length >= task.max_length or not hasattr(task, "settings"):
        return task
    settings = {**task.settings, "max_length": length}
    if "stride" in settings:
        settings["stride"] = min(settings["stride"], length // 2)
    return type(task)(task.model, task.tokenizer, **settings)


def _without_padding(inputs, i):
    """One row of a batch, as long as its mask says."""
    real = int(inputs["padding_mask"][i].sum())
    row = {name: x[i : i + 1, :real] for name, x in inputs.items()}
    return Example(row, row)


def _examples(encoder, litert):
    longest = litert.max_length or min(64, encoder.max_length or 64, encoder.default_length)
    is_free = own_length(encoder) is None
    padded = set(litert.note.padded)
    if not padded and is_free and litert.lengths:
        lengths = list(litert.lengths)
    elif is_free:
        lengths = sorted({1, 2, max(1, longest // 3), max(1, longest - 1), longest})
    else:
        lengths = [longest]
    positive = not _is_finite(arrays(encoder(**random_inputs(encoder, lengths[0], 1))))
    rows = []
    for i, length in enumerate(lengths):
        plain = random_inputs(encoder, length, ROWS, seed=i, positive=positive)
        rows += [_row(plain, j) for j in range(ROWS)]
        rows += _patterns(encoder, plain, padded, is_free)
        if not litert.lengths:
            rows.append(Example(plain, plain))  # a batch
    cost = 2 * encoder.model.count_params() * max(longest, 1)
    runs = int(np.clip(OPERATIONS / max(cost, 1), len(lengths) * ROWS // 2, MOST_RUNS))
    spread = max(1, -(-len(rows) // runs))
    yield from rows[::spread]
    yield from _whole_vocabulary(encoder, lengths[-1], positive, runs)


def _row(inputs, i, kept=None):
    """One example; ``kept``: how many positions of which inputs the file is given."""
    row = {name: x[i : i + 1] for name, x in inputs.items()}
    short = {n: x[:, : kept[n]] if kept and n in kept else x for n, x in row.items()}
    return Example(short, row)


def _patterns(encoder, plain, padded, is_free):
    """Padding on the right, which the file makes, and on the left, which it is given."""
    texts = [name for name in plain if name in padded and name != "padding_mask"]
    if not texts:
        return
    has_mask = "padding_mask" in plain
    for i in range(ROWS):
        full = plain[texts[0]].shape[1]
        real = max(1, full * (i + 1) // (ROWS + 1))
        if full < 2 or (not has_mask and is_free):
            continue
        for left in (False, True):
            inputs = {name: x.copy() for name, x in plain.items()}
            for name in [*texts, *(["padding_mask"] if has_mask else [])]:
                part = slice(0, full - real) if left else slice(real, None)
                if inputs[name].shape[1:2] == (full,):
                    inputs[name][i, part] = 0
            is_short = not left and not has_mask
            yield _row(inputs, i, dict.fromkeys(texts, real) if is_short else None)


def _whole_vocabulary(encoder, length, positive, runs):
    """Every id once, as far as the runs go."""
    names = [name for name, x in encoder.inputs.items() if x.tables and len(x.shape) == 1]
    for name in names:
        x = encoder.inputs[name]
        width = length if x.is_free else x.shape[0]
        ids = np.random.default_rng(0).permutation(x.vocabulary)
        ids = ids[ids > 0] if any(getattr(t, "mask_zero", False) for t in x.tables) else ids
        ids = np.resize(ids, -(-max(len(ids), 1) // width) * width).reshape(-1, width)
        for i, row in enumerate(ids[: runs // len(names)].astype("int32")):
            inputs = random_inputs(encoder, length, 1, seed=i, positive=positive)
            yield _row({**inputs, name: row[None]}, 0)


def _with_expected(encoder, examples):
    """Each example with the outputs of Keras, which runs those of one shape as a batch."""
    alike: dict[tuple, list[Example]] = {}
    for example in examples:
        alike.setdefault(tuple(x.shape for x in example.keras.values()), []).append(example)
    for some in alike.values():
        for start in range(0, len(some), BATCH):
            part = some[start : start + BATCH]
            inputs = {n: np.concatenate([e.keras[n] for e in part]) for n in part[0].keras}
            found = arrays(encoder(**inputs))
            rows = len(next(iter(inputs.values()))) // len(part)
            for i, example in enumerate(part):
                yield example, {n: y[i * rows : (i + 1) * rows] for n, y in found.items()}


# === Comparison ===


class _Tally:
    """What was compared so far."""

    def __init__(self, encoder, limits):
        self.encoder, self.limits = encoder, limits
        self.count = self.close = 0
        self.counts = {"answers": [0, 0], "labels": [0, 0]}  # equal, of how many
        self.differences, self.cosines, self.kl = [0.0], [], []
        self.narrow = {}  # outputs of one number a text, whose cosine says nothing: all texts'
        self.meanings = {} if encoder.task else meanings(encoder.model)

    def add(self, example, found, expected):
        """Compare the outputs of one example, the file's with Keras'."""
        if not _is_finite(expected):
            raise ValueError(
                f"{self.encoder.model.name} gives NaN or infinity in Keras, for inputs such as "
                f"{ {n: x.ravel()[:8].tolist() for n, x in example.keras.items()} }: there is "
                "nothing to compare with. Mend the model, or export with verify=False."
            )
        differences, cosines = [0.0], [1.0]
        for name, wanted in expected.items():
            value = found[name][tuple(slice(n) for n in wanted.shape)]
            if value.shape != wanted.shape:
                raise RuntimeError(
                    f"The output {name} has the shape {value.shape} in the file and "
                    f"{wanted.shape} in Keras."
                )
            if value.dtype.kind == "i":  # labels themselves
                self._count("labels", value == wanted, np.ones(wanted.shape, bool))
                continue
            differences.append(float(np.abs(value - wanted).max(initial=0.0)))
            if wanted[0].size == 1:
                pairs = zip(value.ravel(), wanted.ravel(), strict=True)
                self.narrow.setdefault(name, []).extend(pairs)
            else:
                cosines.append(cosine(wanted, value))
            classes = self._classes(name, wanted)
            if classes is not None:
                self._compare_labels(classes, wanted, value)
        self.differences.append(float(np.max(differences)))
        self.cosines.append(float(np.min(cosines)))
        self.count += 1
        near = self.differences[-1] <= self.limits.get("difference", np.inf)
        self.close += bool(near and self.cosines[-1] >= self.limits["least_cosine"])

    def _classes(self, name, y):
        """How an output is made a distribution over its last axis; ``None``: it has no classes."""
        if name in self.meanings:
            return self.meanings[name]
        if self.encoder.task is None or name not in CLASS_OUTPUTS:
            return None
        return "probabilities" if (y >= 0).all() and (y <= 1).all() else "logits"

    def _compare_labels(self, kind, expected, found):
        p, q = (_distribution(kind, y) for y in (expected, found))
        first = np.sort(p, axis=-1)
        decided = first[..., -1] - first[..., -2] > TIE
        self._count("labels", p.argmax(-1) == q.argmax(-1), decided)
        p, q = np.log(p + 1e-9), np.log(q + 1e-9)
        self.kl.append(float((np.exp(p) * (p - q)).sum(-1).mean()))

    def _count(self, what, equal, decided):
        self.counts[what][0] += int((equal & decided).sum())
        self.counts[what][1] += int(decided.sum())

    def add_answers(self, expected, found):
        """Compare what a task answers with what it makes of the numbers of its file.

        With weights of fewer bits only the number of answers is: their labels are counted.
        """
        pairs = [compare(a, b) for a, b in zip(found, expected, strict=True)]
        limit = self.limits.get("difference")
        for words, difference in pairs if limit is not None else ():
            equal = np.array([words and difference <= limit])
            self._count("answers", equal, np.ones(1, bool))

    def result(self, facts, limits):
        """The record."""
        for pairs in self.narrow.values():
            value, wanted = np.array(pairs).T
            self.cosines.append(cosine(wanted, value))
        counts = {**self.counts, "outputs": [self.close, self.count]}
        compared = next(name for name, (_, number) in counts.items() if number)
        equal, number = counts[compared]
        return Verification(
            "tflite",
            self.count,
            equal,
            number,
            float(np.max(self.differences)),
            kl=float(np.mean(self.kl)) if self.kl else None,
            compared=compared,
            cosine=float(np.mean(self.cosines)),
            least_cosine=float(np.min(self.cosines)),
            limits=limits,
            **facts,
        )


def meanings(model: Any) -> dict[str, str]:
    """Which outputs of a model are over classes: name → logits, probabilities or sigmoid.

    The model says so by its head, by the activation of its last layer, or by its loss.
    """
    if hasattr(model, "operations"):
        structure = model.output
    else:
        outputs = getattr(model, "outputs", None) or []
        structure = outputs[0] if len(outputs) == 1 else outputs
    loss = str(getattr(model, "loss", None) or "")
    loss = getattr(getattr(model, "loss", None), "name", loss)
    found = {}
    for name, y in named_outputs(structure).items():
        last = _last_activation(y)
        if last in ("softmax", "sigmoid"):
            found[name] = {"softmax": "probabilities"}.get(last, last)
        elif getattr(model, "head", None) in CLASS_HEADS or "crossentropy" in loss:
            found[name] = "logits"
    return found


def _last_activation(tensor):
    """Name of the activation that made a symbolic output, or ``None``."""
    layer = operation_of(tensor)
    if isinstance(layer, keras.Model) and getattr(layer, "outputs", None):
        return _last_activation(layer.outputs[0])
    if isinstance(layer, (keras.layers.Softmax, keras.layers.Activation)):
        activation = getattr(layer, "activation", keras.activations.softmax)
    else:
        activation = getattr(layer, "activation", None)
    return getattr(activation, "__name__", None) or layer.name.rstrip("_0123456789")


def _distribution(kind, y):
    """Probabilities over the last axis, float64."""
    y = np.asarray(y, "float64")
    if kind == "logits" and y.shape[-1] > 1:
        y = np.exp(y - y.max(axis=-1, keepdims=True))
        return y / y.sum(axis=-1, keepdims=True)
    if kind == "logits":
        kind, y = "sigmoid", 1 / (1 + np.exp(-np.clip(y, -60, 60)))
    return np.stack([1 - y, y], axis=-1) if kind == "sigmoid" else y


def _is_finite(outputs):
    return all(np.isfinite(y).all() for y in outputs.values())


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Cosine of two arrays as vectors; 1 if they are equal, NaN if one holds a NaN."""
    a, b = (np.asarray(x, "float64").ravel() for x in (a, b))
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    if np.linalg.norm(a - b) <= 1e-7 * max(1.0, np.sqrt(a.size)):
        return 1.0
    return float(a @ b / lengths) if lengths else 0.0
