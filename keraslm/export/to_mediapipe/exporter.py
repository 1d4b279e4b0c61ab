"""A classifier or sentence encoder that takes raw text on a phone, through MediaPipe Tasks.

The vocabulary and the labels are packed into the ``.tflite`` as metadata, and MediaPipe's
``TextClassifier`` or ``TextEmbedder`` does the rest: in Kotlin and Java on Android, in Swift on
iOS, in JavaScript, and in Python, which is the same code.
"""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keraslm._targets import MEDIAPIPE_FILES
from keraslm._types import StrPath
from keraslm.export.manifest import exported
from keraslm.export.proof import prove
from keraslm.export.to_mediapipe.answers import answer_of
from keraslm.export.to_mediapipe.proof import LABELS, VOCABULARY, compared
from keraslm.litert.conversion import quiet
from keraslm.litert.flatbuffer import LiteRTFile
from keraslm.litert.quantization import check_kind
from keraslm.tokenizers.tokenizer import Tokenizer


def mediapipe(
    model: Any,
    path: StrPath,
    *,
    tokenizer: Tokenizer | None = None,
    labels: Sequence[str] | None = None,
    length: int | None = None,
    quantization: str | None = None,
    verify: str | bool = "quick",
    texts: str | Sequence[str] = (),
) -> Path:
    r"""Export a task that MediaPipe gives raw text.

    The file is for MediaPipe's ``TextClassifier`` or its ``TextEmbedder``, and answers as the
    task's own method does.
    Android: ``TextClassifier.createFromFile(context, name).classify(text)``; iOS:
    ``TextClassifier(modelPath: path).classify(text: text)``; ``embed`` of ``TextEmbedder`` alike.

    Args:
        model: a `keraslm.tasks.TextClassifier` or `keraslm.tasks.SentenceEncoder`. Or a bare model,
            which needs ``tokenizer``: a `keraslm.models.BERT` with the head ``"classifier"``,
            ``"pooled"`` or ``None`` (then the mean over the real tokens is taken), or another
            ``keras.Model`` on int ids ``(batch, seq)`` with an output ``(batch, classes)`` or
            ``(batch, width)``. A model on a dict gets ``token_ids`` and, if it has them,
            ``padding_mask`` and ``token_types``.
        path: the ``.tflite`` file, or a folder for ``classifier.tflite`` or ``embedder.tflite``.
        tokenizer: of a bare model, a `keraslm.tokenizers.Tokenizer`; a task has its own.

            WordPiece that folds case: the model gets ``[CLS] … [SEP]``. MediaPipe folds ASCII
            letters only, keeps accents and control characters, knows ASCII white space only (not
            U+3000) and no word of over 100 bytes. For other languages than English and Chinese
            fold the text in the app: white space to spaces, control characters (``\p{C}``, such as
            U+200B and U+FEFF) and U+FFFD out, NFD, marks (``\p{Mn}``) out, small letters.

            Words: the model gets the words alone. The text must not begin with white space, and
            ends at U+0000. If
            the tokenizer folds case, MediaPipe knows each word in small letters, Capitalized and
            in CAPITALS, without accents; or fold the text: NFD, ``\p{M}`` out, small letters.

            MediaPipe knows no control tokens: ``[MASK]`` or ``<pad>`` in a text is text to it, as
            with ``tokenizer.encode(text, allow_control_tokens=False)``, where a task reads tokens.
        labels: of a bare model, names of the classes; makes a classifier. An output of softmax or
            sigmoid, or one that sums to one, is taken as it is; logits, such as BERT's, get a
            softmax. One output with two labels is the probability of the second.
        length: tokens of a text, ``[CLS]`` and ``[SEP]`` included; longer ones are cut. Default
            the task's ``max_length``, or 128 for a bare model; the file takes time for all of them
            whatever the text, so give what your texts need.
        quantization: as in `keraslm.export.tflite`.
        verify: ``"quick"`` compares the file in MediaPipe with Keras; ``False`` does not.
        texts: more strings to compare: your own show whether MediaPipe reads them as Keras does.

    Returns:
        the file's ``Path``.

    Raises:
        ImportError: mediapipe is not installed.
        ValueError: a task or tokenizer that MediaPipe cannot follow, a model that it cannot run,
            or labels that do not fit.
        RuntimeError: MediaPipe does not answer what Keras answers. The file is not left behind.

    Example:
        >>> tokenizer = keraslm.tokenizers.Tokenizer.train(texts, "wordpiece", 300, lowercase=True)
        >>> bert = keraslm.models.BERT(tokenizer.vocab_size, num_layers=1, d_model=16, num_heads=2,
        ...                            head="classifier", num_classes=2)
        >>> classifier = keraslm.tasks.TextClassifier(bert, tokenizer, ["bad", "good"])
        >>> path = keraslm.export.mediapipe(classifier, "saved_models/mood", length=32)
    """
    check_kind(quantization)
    answer = answer_of(model, tokenizer, labels, length)
    path = Path(path)
    if path.suffix != ".tflite":
        path = path / MEDIAPIPE_FILES["embedder" if answer.labels is None else "classifier"]
    with exported(path, model) as place:
        content = _with_metadata(answer.convert(quantization), answer.reader, answer.labels)
        place.new.write_bytes(content)
        if verify:
            place.keep(prove(compared(place.new, answer, texts), path))
    return path


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
    roles = [n.decode().removeprefix("serving_default_").removesuffix(":0") for n in names]
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
