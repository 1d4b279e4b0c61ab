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
from keraslm.export import proof
from keraslm.export.decoder_proof import divergence
from keraslm.export.manifest import write_manifest
from keraslm.export.proof import largest_difference
from keraslm.export.to_mediapipe.answers import ModelAnswer, TaskAnswer
from keraslm.export.to_mediapipe.text import reader_of
from keraslm.export.to_tflite.proof import quantization_of
from keraslm.export.verification import Verification
from keraslm.litert.conversion import quiet
from keraslm.litert.flatbuffer import LiteRTFile
from keraslm.litert.quantization import check_kind
from keraslm.models.precision import in_float32
from keraslm.tasks import SentenceEncoder, Task, TextClassifier
from keraslm.tasks.bundle import check_tokenizer

VOCABULARY, LABELS = "vocab.txt", "labels.txt"
# Of those for all proofs, the texts whose letters MediaPipe folds as our tokenizers do.
TEXTS = tuple(text for text in proof.TEXTS if "Umlaut" not in text)


def mediapipe(
    model,
    path,
    *,
    tokenizer=None,
    labels=None,
    length=None,
    quantization=None,
    verify="quick",
    texts=(),
):
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
            U+3000), no word of over 100 bytes, and reads ``[MASK]`` as text. For other languages
            than English and Chinese fold the text in the app: white space to spaces, control
            characters (``\p{C}``) out, NFD, marks (``\p{Mn}``) out, small letters.

            Words: the model gets the words alone. The text must not begin with white space. If
            the tokenizer folds case, MediaPipe knows each word in small letters, Capitalized and
            in CAPITALS, without accents; or fold the text: NFD, ``\p{M}`` out, small letters.
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
    if isinstance(model, Task):
        answer = _of_task(model, tokenizer, labels, length)
    else:
        length = 128 if length is None else length
        reader = reader_of(tokenizer, _checked_length(model, length))
        answer = ModelAnswer(in_float32(model), reader, _checked_labels(labels), TEXTS)
    path = Path(path)
    if path.suffix != ".tflite":
        path = path / ("embedder.tflite" if answer.labels is None else "classifier.tflite")
    content = _with_metadata(answer.convert(quantization), answer.reader, answer.labels)
    with replaced_file(path) as new:
        new.write_bytes(content)
        result = _prove(new, answer, (*TEXTS, *texts), path) if verify else None
    write_manifest(path, result)
    return path


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


# === Proof ===


def _prove(path, answer, texts, name):
    """Ask MediaPipe and Keras the same."""
    with quiet():
        found = _ask(path, texts, answer.labels)
    differences, equal, kl = [], 0, []
    for ours, theirs in zip(answer(texts), found, strict=True):
        differences.append(largest_difference(theirs, ours))
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
