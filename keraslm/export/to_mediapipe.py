"""A classifier or sentence encoder that takes raw text on a phone, through MediaPipe Tasks.

The vocabulary and the labels are packed into the ``.tflite`` as metadata, and MediaPipe's
``TextClassifier`` or ``TextEmbedder`` does the rest: in Kotlin and Java on Android, in Swift on
iOS, in JavaScript, and in Python, which is the same code.
"""

import io
import zipfile
from pathlib import Path

import numpy as np

from keraslm._files import replaced_file
from keraslm.export.conversion import in_float32, quiet, to_litert
from keraslm.export.flatbuffer import LiteRTFile
from keraslm.export.quantization import check_kind, quantize_file
from keraslm.export.rewriting import simplify
from keraslm.export.verification import Verification, write_manifest
from keraslm.export.verify_tflite import divergence, quantization_of

VOCABULARY, LABELS = "vocab.txt", "labels.txt"
INPUTS = ("ids", "mask", "segment_ids")
SPECIAL = ("[CLS]", "[SEP]", "[UNK]")
TEXTS = (
    "This is a good film.",
    "the plot, however, makes NO sense at all; I left after an hour",
    "这部电影很好看。",
    "",
    "word " * 300,
)


def mediapipe(
    model, path, *, tokenizer, labels=None, length=128, quantization=None, verify="quick"
):
    """Export a model that MediaPipe gives raw text.

    Args:
        model: a `keraslm.models.BERT` with the head ``"classifier"``, ``"pooled"`` or ``None``
            (then the mean over the real tokens is taken), or another ``keras.Model`` on ids
            ``(batch, seq)`` with an output ``(batch, classes)`` or ``(batch, width)``.
        path: the ``.tflite`` file, or a folder, which then gets ``classifier.tflite`` or
            ``embedder.tflite``.
        tokenizer: a WordPiece `keraslm.tokenizers.Tokenizer` that folds case, as MediaPipe does.
            MediaPipe folds ASCII letters only, keeps accents, and splits what looks like a
            special token, such as ``[MASK]``: words with accents or capitals outside ASCII may
            get other tokens there.
        labels: names of the classes; makes a classifier. Without them, an embedder.
        length: tokens of a text, ``[CLS]`` and ``[SEP]`` included; longer ones are cut.
        quantization: as in `keraslm.export.tflite`.
        verify: ``"quick"`` runs the file in MediaPipe, if it is installed, and compares it with
            Keras; ``False`` does not.

    Returns:
        the file's ``Path``.

    Raises:
        ImportError: mediapipe is not installed.
        ValueError: a tokenizer that MediaPipe cannot follow, or labels that do not fit.
        RuntimeError: MediaPipe does not answer what Keras answers. The file is not left behind.

    Example:
        >>> path = keraslm.export.mediapipe(bert, "saved_models/mood", tokenizer=tokenizer,
        ...                                 labels=["bad", "good"])
    """
    check_kind(quantization)
    _check_tokenizer(tokenizer)
    longest = getattr(model, "max_length", None) or length
    if not 3 <= length <= longest:
        raise ValueError(f"length must be from 3 to max_length={longest}; received {length}.")
    answer = _Answer(in_float32(model), tokenizer, length, is_classifier=labels is not None)
    if labels is not None and len(labels) != answer.width:
        raise ValueError(
            f"labels has {len(labels)} names; the model gives {answer.width} classes. Name each."
        )
    path = Path(path)
    if path.suffix != ".tflite":
        path = path / ("classifier.tflite" if labels is not None else "embedder.tflite")
    content = _with_metadata(answer.convert(quantization), tokenizer, labels)
    with replaced_file(path) as new:
        new.write_bytes(content)
        result = _prove(new, answer, labels, path) if verify else None
    write_manifest(path, result)
    return path


def _check_tokenizer(tokenizer):
    if tokenizer is None or tokenizer.kind != "wordpiece":
        received = "none" if tokenizer is None else f"kind={tokenizer.kind!r}"
        raise ValueError(
            "tokenizer must be WordPiece: MediaPipe has no other that splits as ours do; received "
            f"{received}. Write Tokenizer.train(texts, 'wordpiece', lowercase=True)."
        )
    missing = [token for token in SPECIAL if tokenizer.token_to_id(token) is None]
    if missing:
        raise ValueError(f"tokenizer has no {missing[0]}, which MediaPipe needs.")
    if tokenizer.encode("MEDIA") != tokenizer.encode("media"):
        raise ValueError(
            "tokenizer tells capitals from small letters, which MediaPipe does not. Train it with "
            "lowercase=True."
        )


class _Answer:
    """What the model makes of a text: probabilities, or a vector."""

    def __init__(self, model, tokenizer, length, is_classifier):
        self.model, self.tokenizer, self.length = model, tokenizer, length
        self.by_name = isinstance(getattr(model, "_inputs_struct", None), dict)
        self.needs_softmax = False
        sample = self(TEXTS[0])
        if sample.ndim != 1:
            raise ValueError(
                f"model must give one row a text, (batch, width); received {sample.shape} for one "
                "text. Give BERT a head, or pool the sequence."
            )
        is_probable = (sample >= 0).all() and abs(sample.sum() - 1) < 1e-3
        self.needs_softmax = is_classifier and not is_probable
        self.width = len(sample)

    def ids(self, text):
        """Ids and mask as MediaPipe makes them, each int32 ``(1, length)``."""
        ids = self.tokenizer.encode(text)[: self.length - 2]
        ids = [self.tokenizer.token_to_id("[CLS]"), *ids, self.tokenizer.token_to_id("[SEP]")]
        padding = [0] * (self.length - len(ids))
        return np.array([ids + padding], "int32"), np.array([[1] * len(ids) + padding], "int32")

    def __call__(self, text):
        """float32 ``(width,)``."""
        import keras

        ids, mask = self.ids(text)
        return keras.ops.convert_to_numpy(self.run(ids, mask, np.zeros_like(ids)))[0]

    def run(self, ids, mask, segment_ids):
        """The answer to a batch of ids, as a tensor."""
        from keras import ops

        ids, mask, segment_ids = map(ops.convert_to_tensor, (ids, mask, segment_ids))
        if self.by_name:
            inputs = {"token_ids": ids, "padding_mask": ops.cast(mask, "bool")}
            if "token_types" in self.model._inputs_struct:
                inputs["token_types"] = segment_ids
            y = self.model(inputs, training=False)
        else:
            y = self.model(ids, training=False)
        if len(y.shape) == 3:  # hidden states: the mean over the real tokens
            real = ops.expand_dims(ops.cast(mask, y.dtype), -1)
            y = ops.sum(y * real, axis=1) / ops.sum(real, axis=1)
        return ops.softmax(y) if self.needs_softmax else y

    def convert(self, quantization):
        """The bytes of the file, without metadata."""
        import tensorflow as tf

        def run(ids, mask, segment_ids):
            return {"output": self.run(ids, mask, segment_ids)}

        spec = {name: tf.TensorSpec((1, self.length), tf.int32, name) for name in INPUTS}
        function = tf.function(run, autograph=False).get_concrete_function(**spec)
        file = LiteRTFile(to_litert(self.model.weights, {"serving_default": function}))
        simplify(file)
        if quantization is not None:
            quantize_file(file, quantization)
        return file.to_bytes()


def _with_metadata(content, tokenizer, labels):
    """Pack vocabulary and labels into a file: a description inside, the texts as a zip behind."""
    schema = _metadata_schema()
    file = LiteRTFile(content)
    graph = schema.SubGraphMetadataT()
    names = [
        file.model.subgraphs[0].tensors[i].name.decode() for i in file.model.subgraphs[0].inputs
    ]
    graph.inputTensorMetadata = [_tensor(schema, _role(name)) for name in names]
    unit = schema.ProcessUnitT()
    unit.optionsType = schema.ProcessUnitOptions.BertTokenizerOptions
    unit.options = schema.BertTokenizerOptionsT()
    unit.options.vocabFile = [_file(schema, VOCABULARY, schema.AssociatedFileType.VOCABULARY)]
    graph.inputProcessUnits = [unit]
    output = _tensor(schema, "embedding" if labels is None else "probability")
    texts = {VOCABULARY: tokenizer.vocabulary}
    if labels is not None:
        kind = schema.AssociatedFileType.TENSOR_AXIS_LABELS
        output.associatedFiles = [_file(schema, LABELS, kind)]
        texts[LABELS] = labels
    graph.outputTensorMetadata = [output]
    whole = schema.ModelMetadataT()
    whole.name = "TextEmbedder" if labels is None else "TextClassifier"
    whole.description, whole.subgraphMetadata = "Made with keraslm.", [graph]
    file.add_metadata("TFLITE_METADATA", whole, b"M001")
    stream = io.BytesIO(file.to_bytes())
    with zipfile.ZipFile(stream, "a") as archive:  # stored as they are: the phone maps them
        for name, lines in texts.items():
            archive.writestr(name, "\n".join(map(str, lines)))
    return stream.getvalue()


def _role(name):
    """``"ids"``, ``"mask"`` or ``"segment_ids"`` of a tensor such as ``serving_default_ids:0``."""
    return next(role for role in sorted(INPUTS, key=len)[::-1] if name.endswith(f"_{role}:0"))


def _tensor(schema, name):
    tensor = schema.TensorMetadataT()
    tensor.name, tensor.content = name, schema.ContentT()
    tensor.content.contentPropertiesType = schema.ContentProperties.FeatureProperties
    tensor.content.contentProperties = schema.FeaturePropertiesT()
    return tensor


def _file(schema, name, kind):
    file = schema.AssociatedFileT()
    file.name, file.type = name, kind
    return file


def _metadata_schema():
    try:
        with quiet():
            from mediapipe.tasks.metadata import metadata_schema_py_generated
    except ImportError as error:
        raise ImportError(
            'This export needs mediapipe. Run: pip install "keraslm[mediapipe]"'
        ) from error
    return metadata_schema_py_generated


# === Proof ===


def _prove(path, answer, labels, name):
    """Ask MediaPipe and Keras the same."""
    off, equal, kl = 0.0, 0, []
    with quiet():
        found = _ask(path, TEXTS, labels)
    for text, theirs in zip(TEXTS, found, strict=True):
        ours = answer(text)
        off = max(off, float(np.abs(ours - theirs).max()))
        equal += int(np.argmax(ours) == np.argmax(theirs))
        if labels is not None:
            ours, theirs = np.log(ours + 1e-9), np.log(theirs + 1e-9)
        kl.append(divergence(ours, theirs))
    file = LiteRTFile(path.read_bytes())
    result = Verification(
        "mediapipe",
        len(TEXTS),
        equal,
        len(TEXTS),
        off,
        path.stat().st_size,
        operations=tuple(sorted(file.operations())),
        quantization=quantization_of(file),
        kl=float(np.mean(kl)),
        bytes_by_dtype=file.sizes(),
    )
    if not result.passed:
        raise RuntimeError(
            f"MediaPipe does not answer what Keras answers; {name} was not kept: {result}."
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
