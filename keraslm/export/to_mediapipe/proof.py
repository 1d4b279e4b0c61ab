"""A file for MediaPipe in MediaPipe itself, beside its Keras task: answers, vocabulary, labels."""

import dataclasses
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from keraslm.export.decoder_proof import divergence
from keraslm.export.facts import differing
from keraslm.export.proof import largest_difference
from keraslm.export.to_mediapipe.answers import Answer, answer_of
from keraslm.export.to_tflite.proof import quantization_of
from keraslm.export.verification import Verification, check_limits
from keraslm.litert.conversion import quiet
from keraslm.litert.flatbuffer import LiteRTFile
from keraslm.tasks import Task

VOCABULARY, LABELS = "vocab.txt", "labels.txt"  # in the file, behind its flatbuffer


def verify_mediapipe(
    path: Path,
    model: Any,
    mode: str = "quick",
    texts: Any = None,
    limits: dict[str, float] | None = None,
    *,
    tokenizer: Any = None,
    labels: Any = None,
) -> Verification:
    """`keraslm.export.verify` for a file of `keraslm.export.mediapipe`.

    Args:
        path: the file.
        model: the task; or the bare model, with ``tokenizer``.
        mode: of no effect.
        texts: more strings to ask about.
        limits: as in `keraslm.export.tflite`.
        tokenizer, labels: of a bare model; default of ``labels`` those in the file.

    Raises:
        ValueError: a bare model without its tokenizer, or one that the file cannot be of.
    """
    is_task = isinstance(model, Task)
    if not is_task and tokenizer is None:
        raise ValueError(
            f"{path} takes text: to verify it, give the task that it was made from, or write "
            f"verify(path, model, tokenizer=…); received a {type(model).__name__} alone."
        )
    stated = stated_in(path)[LABELS]
    if not is_task and labels is None:
        labels = stated
    graph = LiteRTFile(path.read_bytes()).model.subgraphs[0]
    length = int(graph.tensors[graph.inputs[0]].shape[1])
    answer = answer_of(model, tokenizer, labels, length)
    if (answer.labels is None) != (stated is None):
        kinds = {True: "TextEmbedder", False: "TextClassifier"}
        raise ValueError(
            f"{path} is for MediaPipe's {kinds[stated is None]}; a {type(model).__name__} is "
            f"exported for its {kinds[answer.labels is None]}."
        )
    texts = [texts] if isinstance(texts, str) else list(texts or ())
    return compared(path, answer, texts, limits)


def stated_in(path: Path) -> dict[str, list[str] | None]:
    """Lines of the vocabulary and of the labels in a file; ``None`` where it has none."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        return {
            name: archive.read(name).decode().split("\n") if name in names else None
            for name in (VOCABULARY, LABELS)
        }


def compared(path: Path, answer: Answer, texts: Any, limits: Any = None) -> Verification:
    """Ask MediaPipe and Keras the same.

    A task is the reference on texts without control tokens. MediaPipe reads these as text, so that
    on a text with some the reference is the task on ids that were read so.
    """
    stated, reader = stated_in(path), answer.reader
    found = {"vocabulary": reader.meaning(stated[VOCABULARY] or ()), "labels": stated[LABELS]}
    expected = {"vocabulary": reader.meaning(reader.vocabulary()), "labels": answer.labels}
    wrong = differing(found, expected)
    names = found["labels"] if wrong else answer.labels
    controls = " ".join(["a", *reader.tokenizer.special_tokens, "b"])
    with quiet():
        theirs = ask(path, [*texts, controls], names)
    ours = [*answer(texts), answer.of_text(controls)]
    texts = (*texts, controls)
    differences = [largest_difference(a, b) for a, b in zip(theirs, ours, strict=True)]
    pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if a.shape == b.shape]
    file = LiteRTFile(path.read_bytes())
    result = Verification(
        "mediapipe", len(texts), sum(int(a.argmax() == b.argmax()) for a, b in pairs), len(texts),
        max(differences), path.stat().st_size, operations=tuple(sorted(file.operations())),
        quantization=quantization_of(file), bytes_by_dtype=file.sizes(),
        kl=float(np.mean([_divergence(a, b, answer.labels) for a, b in pairs])),
        limits=check_limits(limits),
    )  # fmt: skip
    if not result.passed:
        worst = texts[int(np.argmax(differences))]
        wrong = (*wrong, f"the answers differ most on {worst[:80]!r}")
    return dataclasses.replace(result, differing=wrong)


def _divergence(ours, theirs, labels):
    if labels is not None:
        ours, theirs = np.log(ours + 1e-9), np.log(theirs + 1e-9)
    return divergence(ours, theirs)


def ask(path: Path, texts: Any, labels: list[str] | None) -> list[np.ndarray]:
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
