"""GloVe: count who stands near whom, then factor the logarithms of the counts."""

import contextlib
import hashlib
import os
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keraslm._files import replaced_file, reserved_file
from keraslm._text import checked_number
from keraslm._types import KeyedVectors, StrPath
from keraslm.embeddings.sentences import Sentences, encode
from keraslm.embeddings.word2vec import check_settings

BLOCK = 8_000_000  # counts that a thread holds before it hands them over
BUCKET = 65_536  # pairs shuffled at once


class Rows(NamedTuple):
    """How much the words stand near one another, word after word.

    ``lengths`` int64, how many neighbours each word has; then ``columns``, int32 word numbers of
    the neighbours, and ``values`` float32.
    """

    lengths: np.ndarray
    columns: np.ndarray
    values: np.ndarray


class Counts(NamedTuple):
    """The same as triples in random order: ``rows`` and ``columns`` int32, ``values`` float32."""

    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray


def train_glove(
    corpus: StrPath | Iterable[Any],
    vector_size: int = 100,
    *,
    unit: Any = "words",
    lower: bool | None = None,
    epochs: int = 15,
    window: int = 10,
    min_count: int = 5,
    max_size: int | None = None,
    stop_words: str | Iterable[str] = (),
    symmetric: bool = True,
    distance_weighting: bool = True,
    x_max: float = 100.0,
    alpha: float = 0.75,
    learning_rate: float = 0.05,
    workers: int | None = None,
    seed: int = 0,
    folder: StrPath | None = None,
    checkpoint: StrPath | None = None,
    report: Callable[[str], object] | None = None,
) -> KeyedVectors:
    """Train GloVe (Pennington et al. 2014) and return gensim ``KeyedVectors``.

    As in Stanford's tools, a vector is the sum of the word's vector and its context vector. Needs
    numba: ``pip install "keraslm[glove]"``.

    Args:
        corpus: a path, texts, or token lists: see `Sentences`.
        vector_size: width; a model's ``d_model`` if the vectors are to start its token table.
        unit: ``"words"``, ``"whitespace"``, ``"characters"``, ``"jieba"``, or a tokenizer.
        lower: lower-case first; default: for words only.
        epochs: passes over the counts.
        window: words looked at on each side.
        min_count, max_size, stop_words: what gets no vector: rarer words, all but so many of the
            most frequent, these (``"english"``, ``"chinese"`` or a list).
        symmetric: count the words on the right too, not on the left only.
        distance_weighting: a word at distance ``d`` counts ``1 / d`` instead of 1.
        x_max, alpha: a count ``x`` weighs ``min(1, (x / x_max) ** alpha)``. For a corpus of less
            than some ten million words an ``x_max`` of 10 does better.
        learning_rate: of AdaGrad.
        workers: threads; default all cores. With more than one, two runs differ slightly.
        seed: of the starting vectors and the order of the pairs.
        folder: keep the corpus and the counts in files there, not in memory: 8 bytes a word and 20
            a count. They are removed at the end.
        checkpoint: file that keeps the state after each epoch. If it is there and belongs to the
            same corpus and settings, training goes on from it, also to more epochs.
        report: called with lines of text on the progress.

    Raises:
        ImportError: numba is not installed.
        ValueError: no word is left, the training diverged, or the checkpoint is of another
            training.

    Example:
        >>> vectors = train_glove(["to be or not to be"] * 20, 16, x_max=10)
        >>> vectors.most_similar("be", topn=1)
        [(..., ...)]
    """
    _numba()
    check_settings(vector_size=vector_size, epochs=epochs, window=window, min_count=min_count,
                   max_size=max_size, workers=workers, seed=seed)  # fmt: skip
    for name, value in (("x_max", x_max), ("alpha", alpha), ("learning_rate", learning_rate)):
        checked_number(value, name, lambda value: value > 0, "a number above 0")
    report = report or (lambda line: None)
    workers = workers or os.cpu_count() or 1
    with contextlib.ExitStack() as stack:
        if checkpoint is not None:  # that it can be written is known before hours of counting
            stack.enter_context(reserved_file(checkpoint))
        if folder is not None:
            Path(folder).mkdir(parents=True, exist_ok=True)
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
        started = time.perf_counter()
        sentences = Sentences(corpus, unit, lower)
        text = encode(sentences, min_count, max_size, stop_words, folder and folder / "ids")
        report(
            f"{len(text.words):,} words, {text.counts.sum():,} tokens "
            f"({time.perf_counter() - started:.1f} s)"
        )
        started = time.perf_counter()
        near = cooccurrences(
            text.ids, len(text.words), window, symmetric=symmetric,
            distance_weighting=distance_weighting, workers=workers, folder=folder,
        )  # fmt: skip
        counts = shuffled(near, seed, folder)
        del near
        report(f"{len(counts.rows):,} pairs ({time.perf_counter() - started:.1f} s)")
        state = factor(
            counts, len(text.words), vector_size, epochs=epochs, x_max=x_max, alpha=alpha,
            learning_rate=learning_rate, workers=workers, seed=seed, checkpoint=checkpoint,
            report=report,
        )  # fmt: skip
        words, frequencies = text.words, text.counts
        del text, counts  # before their files go
    return _keyed(words, frequencies, state)


def _keyed(words, frequencies, state):
    from gensim.models import KeyedVectors

    width = state["main"].shape[1] // 2
    vectors = KeyedVectors(width, count=0)
    vectors.add_vectors(words, state["main"][:, :width] + state["context"][:, :width])
    for word, frequency in zip(words, frequencies.tolist(), strict=True):
        vectors.set_vecattr(word, "count", frequency)
    return vectors


def _numba():
    try:
        import numba
    except ImportError as error:
        raise ImportError('GloVe needs numba: pip install "keraslm[glove]".') from error
    return numba


# === Counting ===


def cooccurrences(
    ids,
    num_words: int,
    window: int = 10,
    *,
    symmetric: bool = True,
    distance_weighting: bool = True,
    workers: int = 1,
    folder: Path | None = None,
) -> Rows:
    """Count which words stand near which.

    Args:
        ids: int32, the corpus; -1 ends a sentence.
        num_words: size of the vocabulary.
        window, symmetric, distance_weighting, workers: see `train_glove`.
        folder: keep the counts in files there.

    Raises:
        ValueError: no two words stand near one another.
    """
    numba = _numba()
    from keraslm.embeddings import glove_kernels

    workers = min(workers, numba.config.NUMBA_NUM_THREADS)
    numba.set_num_threads(workers)
    distances = np.arange(1, window + 1)
    weights = np.concatenate([[0.0], 1 / distances if distance_weighting else np.ones(window)])
    start = np.zeros(num_words + 1, np.int64)
    for first in range(0, len(ids), BLOCK):
        some = ids[first : first + BLOCK]
        start[1:] += np.bincount(some[some >= 0], minlength=num_words)
    start = np.cumsum(start)
    place = np.int32 if len(ids) < 2**31 else np.int64
    positions = _new(max(1, start[-1]), place, folder)  # a file is never empty
    glove_kernels.fill_positions(ids, start, positions)
    most = np.minimum(np.diff(start) * window * (2 if symmetric else 1), num_words)
    bounds = _blocks(most)
    room = max(BLOCK, int(most.max(initial=0)))
    sums, seen = np.zeros((workers, num_words)), np.empty((workers, num_words), np.int32)
    columns = np.empty((workers, room), np.int32)
    values = np.empty((workers, room), np.float32)
    lengths = np.zeros(num_words, np.int64)
    kept_columns, kept_values = _Growing(np.int32, folder), _Growing(np.float32, folder)
    for first in range(0, len(bounds) - 1, workers):
        some = bounds[first : first + workers + 1]
        glove_kernels.count_rows(
            ids, start, positions, some, weights, symmetric, sums, seen, columns, values, lengths
        )
        for t in range(len(some) - 1):
            size = lengths[some[t] : some[t + 1]].sum()
            kept_columns.add(columns[t, :size])
            kept_values.add(values[t, :size])
    if not lengths.any():
        raise ValueError("No two words stand near one another: nothing to train on.")
    return Rows(lengths, kept_columns.array(), kept_values.array())


def shuffled(rows: Rows, seed: int = 0, folder: Path | None = None) -> Counts:
    """The counts in random order, kept in files of a folder if one is given."""
    from keraslm.embeddings import glove_kernels

    total = len(rows.columns)
    counts = Counts(*(_new(total, dtype, folder) for dtype in (np.int32, np.int32, np.float32)))
    glove_kernels.shuffle(*rows, seed, BUCKET, *counts)
    return counts


def _blocks(most):
    """Bounds of blocks of words that have at most `BLOCK` counts together, or one word."""
    bounds, total = [0], 0
    for word, size in enumerate(most.tolist()):
        if total + size > BLOCK and total:
            bounds.append(word)
            total = 0
        total += size
    return np.array([*bounds, len(most)], np.int64)


class _Growing:
    """An array that grows at its end, in memory or in a file."""

    def __init__(self, dtype, folder):
        self.dtype, self.parts = dtype, []
        self.file = folder and tempfile.NamedTemporaryFile(dir=folder)  # noqa: SIM115

    def add(self, part):
        if self.file:
            part.tofile(self.file)
        else:
            self.parts.append(part.copy())

    def array(self):
        if self.file:
            self.file.flush()
            return np.memmap(self.file.name, self.dtype, "r")
        return np.concatenate(self.parts)


def _new(size, dtype, folder):
    if folder is None:
        return np.empty(size, dtype)
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        return np.memmap(file, dtype, "w+", shape=(size,))


# === Factoring ===


def factor(
    counts: Counts,
    num_words: int,
    width: int,
    *,
    epochs: int,
    x_max: float = 100.0,
    alpha: float = 0.75,
    learning_rate: float = 0.05,
    workers: int = 1,
    seed: int = 0,
    checkpoint=None,
    report=lambda line: None,
) -> dict[str, np.ndarray]:
    """Vectors and biases whose products are near the logarithms of the counts.

    Returns:
        ``main`` and ``context``, float32 ``(num_words, 2 * width)``: a vector and the sums of its
        squared gradients; ``main_bias`` and ``context_bias``, float32 ``(num_words, 2)``;
        ``epoch``; ``cost``, that of the last epoch per pair.
    """
    numba = _numba()
    from keraslm.embeddings import glove_kernels

    workers = min(workers, numba.config.NUMBA_NUM_THREADS)
    numba.set_num_threads(workers)
    marks = (num_words, width, len(counts.rows), x_max, alpha, learning_rate, seed)
    digest = hashlib.sha256(repr(marks).encode())
    for array in counts:
        digest.update(array[:BUCKET].tobytes())
    fingerprint = digest.hexdigest()
    state = _start(num_words, width, seed)
    state |= _resume(checkpoint, fingerprint, state)
    if state["epoch"]:
        report(f"going on after epoch {int(state['epoch'])}")
    for epoch in range(int(state["epoch"]) + 1, epochs + 1):
        started = time.perf_counter()
        cost = glove_kernels.train(
            *counts, state["main"], state["context"], state["main_bias"], state["context_bias"],
            learning_rate, x_max, alpha, workers,
        ) / len(counts.rows)  # fmt: skip
        if not np.isfinite(cost):
            raise ValueError(
                f"The training diverged in epoch {epoch} (cost {cost}). Take a smaller "
                f"learning_rate than {learning_rate}."
            )
        state |= {"epoch": np.int64(epoch), "cost": np.float64(cost)}
        speed = len(counts.rows) / (time.perf_counter() - started)
        report(f"epoch {epoch}/{epochs}: cost {cost:.5f}, {speed:,.0f} pairs/s")
        if checkpoint is not None:
            with replaced_file(checkpoint) as new, open(new, "wb") as file:
                np.savez(file, allow_pickle=False, fingerprint=np.array(fingerprint), **state)
    return state


def _start(num_words, width, seed):
    rng = np.random.default_rng(seed)

    def with_ones(columns):
        values = (rng.random((num_words, columns), np.float32) - 0.5) / (width + 1)
        return np.concatenate([values, np.ones_like(values)], axis=1)

    return {
        "main": with_ones(width),
        "context": with_ones(width),
        "main_bias": with_ones(1),
        "context_bias": with_ones(1),
        "epoch": np.int64(0),
        "cost": np.float64(np.nan),
    }


def _resume(checkpoint, fingerprint, start):
    """The state that was saved; nothing if there is none."""
    if checkpoint is None or not Path(checkpoint).exists():
        return {}
    try:
        with np.load(checkpoint, allow_pickle=False) as file:
            state = dict(file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, TypeError) as error:
        raise ValueError(f"{checkpoint} is not a checkpoint of GloVe: {error}") from error
    if str(state.pop("fingerprint", None)) != fingerprint:
        raise ValueError(
            f"{checkpoint} is of another corpus or other settings. Give another checkpoint file, "
            "or remove it to start anew."
        )
    for name, value in start.items():
        found = state.get(name, np.empty(0))
        if found.shape != value.shape or found.dtype != value.dtype:
            raise ValueError(
                f"{checkpoint} is damaged: {name} must be {value.dtype} {value.shape}; it is "
                f"{found.dtype} {found.shape}. Remove it to start anew."
            )
    return state
