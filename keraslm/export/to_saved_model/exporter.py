"""A model as a SavedModel that takes and gives text, and token ids beside it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keraslm._types import StrPath
from keraslm._version import __version__
from keraslm.export.manifest import exported
from keraslm.export.proof import in_float32_task, prove
from keraslm.export.to_saved_model.proof import verify_saved_model
from keraslm.generation.cache import is_step_model
from keraslm.litert.conversion import quiet
from keraslm.models import BERT, GPTEncoder
from keraslm.models.precision import in_float32
from keraslm.tasks import Task, TextGenerator
from keraslm.tasks.table import task_for
from keraslm.tokenizers.tokenizer import Tokenizer

# What a SavedModel's folder holds; a folder with anything else is not replaced.
PARTS = ("saved_model.pb", "fingerprint.pb", "variables/", "assets/", "README.md")

README = """# {what} as a TensorFlow SavedModel

Made with keraslm {version}. Weights{tokenizer} are inside; the program that loads it needs
TensorFlow and nothing else, not even `tensorflow_text`.

| signature | inputs | outputs |
|---|---|---|
{rows}

```python
import tensorflow as tf

model = tf.saved_model.load("{name}")
run = model.signatures["serving_default"]
{snippet}
```
"""

SNIPPETS = {
    "generate": """\
text = run(text=tf.constant(["Once upon a time"]))["text"]
print(text[0].numpy().decode())""",
    "embed": """\
a, b = run(text=tf.constant(["One sentence.", "Another one."]))["embedding"].numpy()
print((a @ b) / (a @ a * (b @ b)) ** 0.5)  # cosine similarity""",
    "classify": """\
result = run(text=tf.constant(["One sentence.", "Another one."]))
print(result["label"].numpy(), result["probabilities"].numpy())""",
    "logits": """\
ids = tf.constant([[1, 2, 3]])
result = run({inputs})
print(result["logits"].shape)""",
    # Of every other task.
    "text": """\
print(run(text=tf.constant(["One sentence."])))""",
    "ids": """\
ids = tf.constant([[1, 2, 3]])
print(run({inputs}))""",
}


def saved_model(
    model: Any,
    path: StrPath,
    *,
    tokenizer: Tokenizer | None = None,
    labels: Sequence[str] | None = None,
    length: int | None = None,
    verify: str | bool = "quick",
) -> Path:
    """Export a model as a SavedModel that takes text, in float32.

    The signatures, which the README.md in the folder describes:

    * of a decoder ``serving_default``, ``generate`` and ``score`` on text, ``generate_ids`` and
      ``logits`` on token ids;
    * of a `keraslm.tasks.SentenceEncoder` ``embed`` on text and ``embed_ids``, of a
      `keraslm.tasks.TextClassifier` ``classify`` and ``classify_ids``, and so on: what the task
      computes, and the names of classes as ``label``;
    * of a bare `keraslm.models.BERT` with ``head=None`` or ``"pooled"`` those of a
      `keraslm.tasks.SentenceEncoder` with ``pooling="mean", normalize=False``, with
      ``"classifier"`` those of a `keraslm.tasks.TextClassifier`; with any other head ``logits``,
      on token ids.

    Args:
        model: a task, a model with ``init_cache`` and ``step``, or a `keraslm.models.BERT`.
        path: the folder, replaced if it holds a SavedModel. A bundle's own folder gets
            ``saved_model/``.
        tokenizer: the `keraslm.tokenizers.Tokenizer` of a model; a task has its own.
        labels: of a model with ``head="classifier"``: the name of each class; default ``"0"``,
            ``"1"``, …
        length: of an encoder that is a model: texts are cut to so many tokens, the special ones
            included; default the model's ``max_length``.
        verify: ``"quick"`` loads it in a fresh process and compares it with Keras; ``False``
            does not.

    Returns:
        the folder's ``Path``.

    Raises:
        ValueError: an argument that is missing or does not fit, a tokenizer with a part that
            cannot run inside TensorFlow.
        FileExistsError: the folder holds a SavedModel that keraslm did not write.
        RuntimeError: the SavedModel does not give what Keras gives. It is not left behind.

    Example:
        >>> keraslm.export.saved_model(lm, "saved_models/mine").name
        'mine'
    """
    import tensorflow as tf

    path = Path(path)
    if (path / "config.json").is_file():
        path = path / "saved_model"
    task = _task(model, tokenizer, labels, length)
    with exported(path, model, PARTS, fence="saved_model.pb") as place:
        endpoints = _endpoints(task)
        module = tf.Module()
        # TensorFlow saves only variables that the object holds.
        module.weights = [w.value for w in getattr(task, "model", task).weights]
        functions = {name: endpoint.function for name, endpoint in endpoints.items()}
        with quiet():
            tf.saved_model.save(module, str(place.new), signatures=functions)
        readme = _readme(task, endpoints, path.name)
        (place.new / "README.md").write_text(readme, encoding="utf-8")
        if verify:
            place.keep(prove(verify_saved_model(place.new, task), path))
    return path


# === What to export ===


def _task(model, tokenizer, labels, length):
    """A task or an encoder, in float32; raises unless the arguments fit."""
    task, model = model, getattr(model, "model", model)
    if tokenizer is not None and getattr(task, "tokenizer", tokenizer) is not tokenizer:
        raise ValueError(
            f"tokenizer is for a bare model; a {type(task).__name__} has its own. Leave it out."
        )
    tokenizer = tokenizer or getattr(task, "tokenizer", None)
    if is_step_model(model):
        if labels is not None or length is not None:
            raise ValueError(
                f"labels and length are for an encoder; received a {type(model).__name__}, which "
                "generates. Leave them out."
            )
        _check_tokenizer(tokenizer, model)
        if isinstance(task, TextGenerator) and in_float32(model) is model:
            return task
        config, stated = getattr(task, "generation_config", None), getattr(task, "stated", None)
        return TextGenerator(in_float32(model), tokenizer, config, stated=stated)
    if isinstance(task, Task):
        if labels is not None or length is not None:
            raise ValueError(
                f"labels and length are for a bare model; a {type(task).__name__} has its own "
                "labels and max_length. Leave them out."
            )
        _check_tokenizer(tokenizer, model)
        return in_float32_task(task)
    if not isinstance(model, (BERT, GPTEncoder)):
        raise ValueError(
            "model must be a task of keraslm.tasks, a model with init_cache and step, or a "
            f"keraslm.models.BERT; received {type(model).__name__}. For any other keras.Model "
            "use keraslm.export.tflite, or model.export(path)."
        )
    return _encoder(in_float32(model), tokenizer, labels, length)


def _encoder(model, tokenizer, labels, length):
    """The task of a bare encoder, or the encoder itself if it has another head."""
    if labels is not None and model.head != "classifier":
        raise ValueError(
            f"labels are for head='classifier'; received a BERT with head={model.head!r}."
        )
    if model.head not in (None, "pooled", "classifier"):
        if length is not None:
            raise ValueError(f"length is for text, which head={model.head!r} does not take.")
        return model
    _check_tokenizer(tokenizer, model)
    if labels is not None:
        strings = not isinstance(labels, str) and all(isinstance(x, str) for x in labels)
        if not strings or len(labels) != model.num_classes:
            raise ValueError(
                f"labels must be {model.num_classes} strings, one for each class; received "
                f"{labels!r}."
            )
    least = 1 + sum(map(len, tokenizer.added_tokens()))
    if length is not None and not (isinstance(length, int) and least <= length <= model.max_length):
        raise ValueError(
            f"length must be a whole number from {least} to the model's max_length="
            f"{model.max_length}; received {length!r}."
        )
    return task_for(model, tokenizer, labels, length)


def _check_tokenizer(tokenizer, model):
    if tokenizer is None:
        raise ValueError(
            f"tokenizer is missing: a SavedModel of a {type(model).__name__} takes text. Write "
            "saved_model(model, path, tokenizer=tokenizer)."
        )
    if tokenizer.vocab_size > model.vocab_size:
        raise ValueError(
            f"The tokenizer has {tokenizer.vocab_size} tokens, the model {model.vocab_size}. "
            "Give the tokenizer that the model was trained with."
        )


def _endpoints(task):
    from keraslm.export.to_saved_model import signatures

    if is_step_model(getattr(task, "model", task)):
        return signatures.decoder_endpoints(task)
    return signatures.encoder_endpoints(task)


# === README ===


def _readme(task, endpoints, name):
    names = list(endpoints)
    kind = next((key for key in SNIPPETS if key in endpoints), None)
    given = {"token_ids": "ids", "padding_mask": "ids > 0"}
    spec = endpoints["serving_default"].function.structured_input_signature[1]
    inputs = ", ".join(f"{key}={given.get(key, 'tf.zeros_like(ids)')}" for key in spec)
    snippet = SNIPPETS[kind or ("ids" if "token_ids" in spec else "text")]
    rows = [f"| `{key}` | {e.inputs} | {e.outputs} |" for key, e in endpoints.items()]
    on_text = getattr(task, "tokenizer", None) and "text" in spec
    return README.format(
        what=f"A {type(task).__name__}" if kind != "logits" else f"A BERT with head={task.head!r}",
        version=__version__,
        tokenizer=" and tokenizer" if on_text else "",
        rows="\n".join(rows),
        name=name,
        snippet=snippet.format(inputs=inputs, name=names[-1]),
    )
