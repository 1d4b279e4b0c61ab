"""A classifier or sentence encoder that takes raw text on a phone, through MediaPipe Tasks.

The vocabulary and the labels are packed into the ``.tflite`` as metadata, and MediaPipe's
``TextClassifier`` or ``TextEmbedder`` does the rest: in Kotlin and Java on Android, in Swift on
iOS, in JavaScript, and in Python, which is the same code.
"""

import io
import re
import zipfile
from pathlib import Path

import numpy as np

from keraslm._files import replaced_file
from keraslm.export.manifest import write_manifest
from keraslm.export.to_mediapipe.text import reader_of
from keraslm.export.to_tflite.verify import divergence, quantization_of
from keraslm.export.verification import Verification
from keraslm.litert.conversion import quiet, to_litert
from keraslm.litert.flatbuffer import LiteRTFile
from keraslm.litert.quantization import check_kind, quantize_file
from keraslm.litert.rewriting import simplify
from keraslm.models.precision import in_float32

VOCABULARY, LABELS = "vocab.txt", "labels.txt"
TEXTS = (
    "This is a good film.",
    "the plot, however, makes NO sense at all; I left after an hour",
    "这部电影很好看。",
    "",
    "word " * 300,
)


def mediapipe(
    model, path, *, tokenizer, labels=None, length=128, quantization=None, verify="quick", texts=()
):
    r"""Export a model that MediaPipe gives raw text.

    With labels the file is for MediaPipe's ``TextClassifier``, without for its ``TextEmbedder``.
    Android: ``TextClassifier.createFromFile(context, name).classify(text)``; iOS:
    ``TextClassifier(modelPath: path).classify(text: text)``; ``embed`` of ``TextEmbedder`` alike.

    Args:
        model: a `keraslm.models.BERT` with the head ``"classifier"``, ``"pooled"`` or ``None``
            (then the mean over the real tokens is taken), or another ``keras.Model`` on int ids
            ``(batch, seq)`` with an output ``(batch, classes)`` or ``(batch, width)``. A model on
            a dict gets ``token_ids`` and, if it has them, ``padding_mask`` and ``token_types``.
        path: the ``.tflite`` file, or a folder for ``classifier.tflite`` or ``embedder.tflite``.
        tokenizer: a `keraslm.tokenizers.Tokenizer`.

            WordPiece that folds case: the model gets ``[CLS] … [SEP]``. MediaPipe folds ASCII
            letters only, keeps accents and control characters, knows ASCII white space only (not
            U+3000), no word of over 100 bytes, and reads ``[MASK]`` as text. For other languages
            than English and Chinese fold the text in the app: white space to spaces, control
            characters (``\p{C}``) out, NFD, marks (``\p{Mn}``) out, small letters.

            Words: the model gets the words alone. The text must not begin with white space. If
            the tokenizer folds case, MediaPipe knows each word in small letters, Capitalized and
            in CAPITALS, without accents; or fold the text: NFD, ``\p{M}`` out, small letters.
        labels: names of the classes; makes a classifier. An output of softmax or sigmoid, or one
            that sums to one, is taken as it is; logits, such as BERT's, get a softmax. One output
            with two labels is the probability of the second.
        length: tokens of a text, ``[CLS]`` and ``[SEP]`` included; longer ones are cut.
        quantization: as in `keraslm.export.tflite`.
        verify: ``"quick"`` compares the file in MediaPipe with Keras; ``False`` does not.
        texts: more strings to compare: your own show whether MediaPipe reads them as Keras does.

    Returns:
        the file's ``Path``.

    Raises:
        ImportError: mediapipe is not installed.
        ValueError: a tokenizer that MediaPipe cannot follow, a model that it cannot run, or
            labels that do not fit.
        RuntimeError: MediaPipe does not answer what Keras answers. The file is not left behind.

    Example:
        >>> path = keraslm.export.mediapipe(bert, "saved_models/mood", tokenizer=tokenizer,
        ...                                 labels=["bad", "good"])
    """
    check_kind(quantization)
    reader = reader_of(tokenizer, _checked_length(model, length))
    answer = _Answer(in_float32(model), reader, _checked_labels(labels))
    path = Path(path)
    if path.suffix != ".tflite":
        path = path / ("embedder.tflite" if labels is None else "classifier.tflite")
    content = _with_metadata(answer.convert(quantization), reader, answer.labels)
    with replaced_file(path) as new:
        new.write_bytes(content)
        result = _prove(new, answer, (*TEXTS, *texts), path) if verify else None
    write_manifest(path, result)
    return path


def _checked_length(model, length):
    inputs, longest = getattr(model, "inputs", None), getattr(model, "max_length", None) or length
    fixed = inputs[0].shape[1:2] if inputs else ()
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


# === What MediaPipe makes of a text ===


class _Answer:
    """The model on what MediaPipe reads: probabilities, or a vector."""

    def __init__(self, model, reader, labels):
        self.model, self.reader, self.labels = model, reader, labels
        structure = getattr(model, "_inputs_struct", None)
        self.names = tuple(structure) if isinstance(structure, dict) else None
        if len(getattr(model, "inputs", None) or [0]) > 1 and "token_ids" not in (self.names or ()):
            raise ValueError("model must take one array of ids, or a dict with token_ids.")
        self.pools = labels is None and getattr(model, "head", None) is None
        self.finish = None
        samples = np.array([self(text) for text in TEXTS])
        if samples.ndim != 2:
            raise ValueError(
                "model must give one row a text, (batch, width); received "
                f"{samples.shape[1:]} for one text. Give BERT a head, or pool the sequence."
            )
        if labels is None:
            return
        self.finish = _to_probabilities(model, samples, len(labels))
        width = len(self(TEXTS[0]))
        if len(labels) != width:
            raise ValueError(
                f"labels has {len(labels)} names; the model gives {width} classes. Name each."
            )

    def __call__(self, text):
        """float32 ``(width,)``."""
        import keras

        return keras.ops.convert_to_numpy(self.run(**self.reader(text)))[0]

    def run(self, **inputs):
        """The answer to what MediaPipe puts in, as a tensor."""
        from keras import ops

        inputs = {name: ops.convert_to_tensor(x) for name, x in inputs.items()}
        ids, mask = self.reader.for_model(**inputs)
        if self.names is None:
            y = self.model(ids, training=False)
        else:
            real, types = ops.cast(mask, "bool"), ops.zeros_like(ids)
            given = {"token_ids": ids, "padding_mask": real, "token_types": types}
            y = self.model({k: given[k] for k in given if k in self.names}, training=False)
        y = ops.cast(y, "float32")
        if self.pools and len(y.shape) == 3:  # hidden states: the mean over the real tokens
            real = ops.expand_dims(ops.cast(mask, y.dtype), -1)
            y = ops.sum(y * real, axis=1) / ops.maximum(ops.sum(real, axis=1), 1.0)
        return self.finish(y) if self.finish else y

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


def _to_probabilities(model, samples, num_labels):
    """The function from outputs ``(batch, width)`` to probabilities; ``None`` if they are."""
    from keras import activations, ops

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
    import keras

    if not getattr(model, "outputs", None):
        return None
    layer = model.outputs[0]._keras_history.operation
    if isinstance(layer, keras.Model):
        return _last_activation(layer)
    if isinstance(layer, keras.layers.Softmax):
        return keras.activations.softmax
    return getattr(layer, "activation", None)


# === Metadata ===


def _with_metadata(content, reader, labels):
    """Pack vocabulary and labels into a file: a description inside, the texts as a zip behind."""
    schema, file = _metadata_schema(), LiteRTFile(content)
    texts = {VOCABULARY: reader.vocabulary()} | ({} if labels is None else {LABELS: labels})
    of = schema.AssociatedFileType
    kinds = {VOCABULARY: of.VOCABULARY, LABELS: of.TENSOR_AXIS_LABELS}
    inside = [_part(schema.AssociatedFileT, name=name, type=kinds[name]) for name in texts]
    unit = _part(
        schema.ProcessUnitT,
        optionsType=getattr(schema.ProcessUnitOptions, reader.options),
        options=_part(getattr(schema, f"{reader.options}T"), vocabFile=inside[:1]),
    )
    unit.options.delimRegexPattern = getattr(reader, "PATTERN", None)
    names = [file.model.subgraphs[0].tensors[i].name for i in file.model.subgraphs[0].inputs]
    roles = [re.fullmatch(r"serving_default_(\w+):0", name.decode())[1] for name in names]
    # The unit twice: word pieces are looked for in the graph, words in the input.
    inputs = [_part(schema.TensorMetadataT, name=role, processUnits=[unit]) for role in roles]
    graph = _part(
        schema.SubGraphMetadataT,
        inputTensorMetadata=inputs,
        inputProcessUnits=[unit],
        outputTensorMetadata=[_part(schema.TensorMetadataT, associatedFiles=inside[1:])],
    )
    whole = _part(schema.ModelMetadataT, name="keraslm", subgraphMetadata=[graph])
    file.add_metadata("TFLITE_METADATA", whole, b"M001")
    stream = io.BytesIO(file.to_bytes())
    with zipfile.ZipFile(stream, "a") as archive:  # stored as they are: the phone maps them
        for name, lines in texts.items():
            archive.writestr(name, "\n".join(lines))
    return stream.getvalue()


def _part(kind, **fields):
    part = kind()
    vars(part).update(fields)
    return part


def _metadata_schema():
    # The schema alone: the writers of mediapipe 1.2 import a module that its wheel lacks.
    try:
        with quiet():
            from mediapipe.tasks.metadata import metadata_schema_py_generated
    except ImportError as error:
        raise ImportError(
            'This export needs mediapipe. Run: pip install "keraslm[mediapipe]"'
        ) from error
    return metadata_schema_py_generated


# === Proof ===


def _prove(path, answer, texts, name):
    """Ask MediaPipe and Keras the same."""
    with quiet():
        found = _ask(path, texts, answer.labels)
    differences, equal, kl = [], 0, []
    for text, theirs in zip(texts, found, strict=True):
        ours = answer(text)
        differences.append(float(np.abs(ours - theirs).max()))
        equal += int(np.argmax(ours) == np.argmax(theirs))
        if answer.labels is not None:
            ours, theirs = np.log(ours + 1e-9), np.log(theirs + 1e-9)
        kl.append(divergence(ours, theirs))
    file = LiteRTFile(path.read_bytes())
    result = Verification(
        "mediapipe", len(texts), equal, len(texts), max(differences), path.stat().st_size,
        operations=tuple(sorted(file.operations())), quantization=quantization_of(file),
        kl=float(np.mean(kl)), bytes_by_dtype=file.sizes(),
    )  # fmt: skip
    if not result.passed:
        worst = texts[int(np.argmax(differences))]
        raise RuntimeError(
            f"MediaPipe does not answer what Keras answers; {name} was not kept: {result}. They "
            f"differ most on {worst[:80]!r}."
        )
    return result


def _ask(path, texts, labels):
    """MediaPipe's answers: probabilities in the order of the labels, or vectors."""
    from mediapipe.tasks.python import BaseOptions, text

    options = {"base_options": BaseOptions(model_asset_path=str(path))}
    if labels is None:
        with text.TextEmbedder.create_from_options(text.TextEmbedderOptions(**options)) as embedder:
            return [np.array(embedder.embed(t).embeddings[0].embedding) for t in texts]
    with text.TextClassifier.create_from_options(text.TextClassifierOptions(**options)) as classify:
        answers = [classify.classify(t).classifications[0].categories for t in texts]
    scores = [{c.category_name: c.score for c in answer} for answer in answers]
    return [np.array([score[label] for label in labels]) for score in scores]
