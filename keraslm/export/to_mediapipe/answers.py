"""What a file for MediaPipe computes: a task, or a bare model with what makes its answer of it."""

from typing import Any

import keras
import numpy as np
from keras import activations, ops

from keraslm._compat import operation_of
from keraslm.export.to_mediapipe.text import TEXTS, reader_of
from keraslm.litert.conversion import to_litert
from keraslm.litert.flatbuffer import LiteRTFile
from keraslm.litert.quantization import quantize_file
from keraslm.litert.rewriting import simplify
from keraslm.models.loading import check_not_quantized
from keraslm.models.pooling import pool
from keraslm.models.precision import in_float32
from keraslm.tasks import SentenceEncoder, Task, TextClassifier
from keraslm.tasks.bundle import check_tokenizer


class Answer:
    """What both kinds share: ``run`` on what a reader puts in, as the bytes of a ``.tflite``.

    Args:
        model: in float32.
        reader: what makes of a text the ids that MediaPipe makes of it.
        labels: names of the classes; ``None`` for a vector.
    """

    def __init__(self, model, reader, labels):
        self.model, self.reader, self.labels = model, reader, labels

    def __call__(self, texts: list[str]) -> list[np.ndarray]:
        """For each text an array ``(width,)``, as the public method says it."""
        raise NotImplementedError

    def run(self, **inputs):
        """The answer to what MediaPipe puts in, as a tensor ``(1, width)``."""
        raise NotImplementedError

    def of_text(self, text: str) -> np.ndarray:
        """The answer to a text that is read as MediaPipe does, ``(width,)``."""
        return ops.convert_to_numpy(self.run(**self.reader(text)))[0]

    def convert(self, quantization):
        """The bytes of the file, without metadata."""
        import tensorflow as tf

        def run(**inputs):
            return {"output": self.run(**inputs)}

        shape = (1, self.reader.length)
        spec = {name: tf.TensorSpec(shape, tf.int32, name) for name in self.reader.inputs}
        function = tf.function(run, autograph=False).get_concrete_function(**spec)
        file = LiteRTFile(to_litert(self.model.weights, {"serving_default": function}))
        if len(file.model.subgraphs) > 1:
            raise ValueError(
                "The model has a loop, which MediaPipe does not run in a text model. Build "
                "recurrent layers with unroll=True."
            )
        simplify(file)
        if quantization is not None:
            quantize_file(file, quantization)
        return file.to_bytes()


class TaskAnswer(Answer):
    """What a `keraslm.tasks.SentenceEncoder` or `keraslm.tasks.TextClassifier` computes.

    Raises:
        ValueError: the task has something that MediaPipe cannot follow.
    """

    def __init__(self, task, reader):
        if getattr(task, "prompt", ""):
            raise ValueError(
                f"The task writes {task.prompt!r} in front of every text, which MediaPipe does "
                "not. Make it with default_prompt_name=None and write the prompt in the app."
            )
        if getattr(task, "problem_type", None) == "regression":
            raise ValueError(
                "MediaPipe's TextClassifier gives probabilities; a TextClassifier with "
                "problem_type='regression' gives numbers. Use keraslm.export.tflite."
            )
        name = task.tokenizer.id_to_token
        added = [[name(i) for i in ids] for ids in task.tokenizer.added_tokens()]
        if added != [list(tokens) for tokens in reader.added]:
            raise ValueError(
                f"tokenizer puts {added[0]} before and {added[1]} after a text; MediaPipe puts "
                f"{list(reader.added[0])} and {list(reader.added[1])}."
            )
        self.task = task
        super().__init__(task.model, reader, getattr(task, "labels", None))

    def __call__(self, texts):
        """What the task's own method gives for texts: arrays ``(width,)``."""
        found = self.task.ask(texts)
        if self.labels is None:
            return list(found)
        return [np.array(list(answer.probabilities.values())) for answer in found]

    def run(self, **inputs):
        ids, mask = self.reader.for_model(**inputs)
        given = {"token_ids": ids, "padding_mask": mask, "pooling_mask": mask}
        given["token_types"] = ops.zeros_like(ids)
        outputs = self.task.compute(**{name: given[name] for name in self.task.input_spec})
        (output,) = outputs.values()
        return output


class ModelAnswer(Answer):
    """A bare model: probabilities where there are labels, or its output, or the mean of it.

    Raises:
        ValueError: a model that does not give one row a text, or labels that do not fit.
    """

    def __init__(self, model, reader, labels, samples):
        super().__init__(model, reader, labels)
        structure = model.input if hasattr(model, "operations") else None
        self.names = tuple(structure) if isinstance(structure, dict) else None
        if len(getattr(model, "inputs", None) or [0]) > 1 and "token_ids" not in (self.names or ()):
            raise ValueError("model must take one array of ids, or a dict with token_ids.")
        self.pools = labels is None and getattr(model, "head", None) is None
        self.finish = None
        rows = np.array(self(samples))
        if rows.ndim != 2:
            raise ValueError(
                "model must give one row a text, (batch, width); received "
                f"{rows.shape[1:]} for one text. Give BERT a head, or pool the sequence."
            )
        if labels is None:
            return
        self.finish = _to_probabilities(model, rows, len(labels))
        width = len(self(samples[:1])[0])
        if len(labels) != width:
            raise ValueError(
                f"labels has {len(labels)} names; the model gives {width} classes. Name each."
            )

    def __call__(self, texts):
        """For each text an array ``(width,)``: a bare model has no method on text."""
        return [self.of_text(text) for text in texts]

    def run(self, **inputs):
        inputs = {name: ops.convert_to_tensor(x) for name, x in inputs.items()}
        ids, mask = self.reader.for_model(**inputs)
        real = ops.cast(mask, "bool")
        if self.names is None:
            y = self.model(ids, training=False)
        else:
            given = {"token_ids": ids, "padding_mask": real, "token_types": ops.zeros_like(ids)}
            y = self.model({k: given[k] for k in given if k in self.names}, training=False)
        y = ops.cast(y, "float32")
        if self.pools and len(y.shape) == 3:  # hidden states
            y = pool(y, real, ("mean",))
        return self.finish(y) if self.finish else y


def _to_probabilities(model, samples, num_labels):
    """The function from outputs ``(batch, width)`` to probabilities; ``None`` if they are."""
    last = _last_activation(model)
    if samples.shape[1] == 1 and num_labels == 2:
        second = (lambda y: y) if last is activations.sigmoid else ops.sigmoid
        return lambda y: ops.concatenate([1 - second(y), second(y)], axis=1)
    is_probable = (samples >= 0).all() and np.allclose(samples.sum(axis=1), 1, atol=1e-3)
    if is_probable or last in (activations.softmax, activations.sigmoid):
        return None
    return ops.softmax


def _last_activation(model):
    """Activation of the last layer, if there is one to be seen."""
    if not getattr(model, "outputs", None):
        return None
    layer = operation_of(model.outputs[0])
    if isinstance(layer, keras.Model):
        return _last_activation(layer)
    if isinstance(layer, keras.layers.Softmax):
        return activations.softmax
    return getattr(layer, "activation", None)


# === Which ===


def answer_of(model: Any, tokenizer: Any, labels: Any, length: int | None) -> Answer:
    """The answer of a task, or of a bare model; arguments as in `keraslm.export.mediapipe`.

    Raises:
        ValueError: arguments that do not fit, or what MediaPipe cannot follow.
    """
    if isinstance(model, Task):
        return _of_task(model, tokenizer, labels, length)
    length = 128 if length is None else length
    reader = reader_of(tokenizer, _checked_length(model, length))
    check_not_quantized(model)
    return ModelAnswer(in_float32(model), reader, _checked_labels(labels), TEXTS)


def _of_task(task, tokenizer, labels, length):
    if not isinstance(task, (TextClassifier, SentenceEncoder)):
        raise ValueError(
            "MediaPipe runs a TextClassifier or a SentenceEncoder; received a "
            f"{type(task).__name__}. Use keraslm.export.tflite or keraslm.export.saved_model."
        )
    if tokenizer is not None or labels is not None:
        raise ValueError(
            f"tokenizer and labels are for a bare model; a {type(task).__name__} has its own. "
            "Leave them out."
        )
    check_tokenizer(task)
    check_not_quantized(task.model)
    length = task.max_length if length is None else length
    if not 3 <= length <= task.max_length:
        raise ValueError(
            f"length must be from 3 to max_length={task.max_length}; received {length}."
        )
    reader = reader_of(task.tokenizer, length)
    settings = {**task.settings, "max_length": length}
    if isinstance(task, TextClassifier):
        settings["labels"] = _checked_labels(task.labels)
    return TaskAnswer(type(task)(in_float32(task.model), task.tokenizer, **settings), reader)


def _checked_length(model, length):
    inputs, longest = getattr(model, "inputs", None), getattr(model, "max_length", None) or length
    fixed: tuple = inputs[0].shape[1:2] if inputs else ()
    if fixed not in ((), (None,), (length,)):
        raise ValueError(f"length must be {fixed[0]}, as the model's input; received {length}.")
    if not 3 <= length <= longest:
        raise ValueError(f"length must be from 3 to max_length={longest}; received {length}.")
    return length


def _checked_labels(labels):
    if labels is None:
        return None
    one_line = [isinstance(x, str) and x.strip() and len(x.splitlines()) == 1 for x in labels]
    if isinstance(labels, str) or not all(one_line) or len(set(labels)) < len(labels):
        raise ValueError(f"labels must be different strings of one line; received {labels!r}.")
    return list(labels)
