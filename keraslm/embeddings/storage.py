"""Vectors on disk: ``vectors.npy``, ``vocabulary.txt`` and a JSON recipe; never pickle."""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keraslm._files import Writer, read_whole, warn_of
from keraslm._files.facts import read_dict
from keraslm._text import is_whole
from keraslm._types import KeyedVectors, StrPath

NGRAMS = ("min_n", "max_n", "bucket")
FILES = ("vectors.npy", "vocabulary.txt", "recipe.json", "README.md", "counts.npy",
         "vectors_vocab.npy", "vectors_ngrams.npy")  # fmt: skip
CARD = "README.md"
RESULTS = "results.json"  # of an evaluation, which is of older vectors then


def save_vectors(
    vectors: KeyedVectors,
    folder: StrPath,
    recipe: Mapping[str, Any] | None = None,
    *,
    card: str | None = None,
    dtype: str = "float32",
) -> Path:
    """Write gensim ``KeyedVectors`` to a folder, whole or not at all.

    Vectors that keraslm wrote there are replaced, an edited ``README.md`` and all other files stay.

    The n-gram vectors of FastText and the frequencies of the words are kept too.

    Args:
        vectors: ``KeyedVectors``.
        folder: a new one, or one with vectors that keraslm wrote, which are replaced.
        recipe: JSON-ready facts on how they were made.
        card: text of a ``README.md``.
        dtype: ``"float32"``, or ``"float16"`` for half the size.

    Returns:
        the folder's ``Path``.

    Raises:
        ValueError: a word with a line break, or vectors that are not finite.

    Example:
        >>> folder = save_vectors(vectors, "embeddings/mine", {"corpus": "my letters"})
        >>> len(load_vectors(folder)) == len(vectors)
        True
    """
    words = vectors.index_to_key
    for word in words:
        if not isinstance(word, str) or "\n" in word or "\r" in word:
            raise ValueError(f"The word {word!r} is no str, or has a line break, which "
                             "vocabulary.txt cannot keep.")  # fmt: skip
    check_vectors(vectors.vectors, words, "The vectors")
    with Writer(folder, FILES, fences=FILES[:1]) as writer:
        new = writer.new
        facts = {"num_words": len(words), "vector_size": vectors.vector_size, **(recipe or {})}
        np.save(new / "vectors.npy", np.asarray(vectors.vectors, dtype), allow_pickle=False)
        (new / "vocabulary.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
        if "count" in vectors.expandos:
            np.save(new / "counts.npy", vectors.expandos["count"], allow_pickle=False)
        if hasattr(vectors, "vectors_ngrams"):
            facts["fasttext"] = {name: getattr(vectors, name) for name in NGRAMS}
            for name in ("vectors_vocab", "vectors_ngrams"):
                np.save(new / f"{name}.npy", getattr(vectors, name).astype(dtype))
        (new / "recipe.json").write_text(
            json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        if card is not None:
            (new / "README.md").write_text(card, encoding="utf-8")
        report = writer.commit(stale=[*(name for name in FILES if name != CARD), RESULTS])
    warn_of(report._replace(removed=[]), folder)
    return Path(folder)


def load_folder(folder, limit=None, mmap=False):
    """Read what `save_vectors` wrote; see `load_vectors`."""
    return read_whole(folder, functools.partial(_load, limit=limit, mmap=mmap))


def _load(folder, limit, mmap):
    for name in ("vectors.npy", "vocabulary.txt"):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"No vectors in {folder}: {name} is missing. Train some with 'keraslm embed train'."
            )
    try:
        text = (folder / "vocabulary.txt").read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{folder / 'vocabulary.txt'} is damaged: {error}.") from error
    words = text.removesuffix("\n").split("\n")
    table = _array(folder / "vectors.npy", mmap)
    if table.ndim != 2 or len(table) != len(words):
        raise ValueError(
            f"{folder} is damaged: {len(words)} words, vectors of shape {table.shape}."
        )
    facts = _recipe(folder)
    counts, fasttext = None, facts.get("fasttext")
    if (folder / "counts.npy").is_file():
        counts = _of_shape(_array(folder / "counts.npy", False), folder, (len(words),))[:limit]
    if fasttext is not None:
        right = isinstance(fasttext, dict) and set(fasttext) == set(NGRAMS)
        if not right or not all(is_whole(value) for value in fasttext.values()):
            raise ValueError(f"{folder / 'recipe.json'} is damaged: 'fasttext' is {fasttext!r}.")
    vectors = keyed(words[:limit], table[:limit], counts, fasttext)
    if fasttext is not None:
        width = table.shape[1]
        of_words = _array(folder / "vectors_vocab.npy", mmap)
        of_parts = _array(folder / "vectors_ngrams.npy", mmap)
        vectors.vectors_vocab = _of_shape(of_words, folder, table.shape)[:limit]
        vectors.vectors_ngrams = _of_shape(of_parts, folder, (fasttext["bucket"], width))
        vectors.recalc_char_ngram_buckets()
    return vectors


def _of_shape(table, folder, shape):
    if table.shape != shape:
        raise ValueError(f"{folder} is damaged: an array of {table.shape} should be {shape}.")
    return table


def _recipe(folder):
    file = folder / "recipe.json"
    if not file.is_file():
        return {}
    return read_dict(file)


def _array(path, mmap):
    try:
        table = np.load(path, allow_pickle=False, mmap_mode="r" if mmap else None)
    except OSError:
        raise
    except Exception as error:  # NumPy reads the header as Python, which may fail in any way
        raise ValueError(f"{path} is not a readable array: {error}") from error
    if table.dtype.kind not in "fiu":
        raise ValueError(f"{path} holds {table.dtype}, not numbers.")
    # gensim computes in float32.
    return table if table.dtype in (np.float32, np.int64) else table.astype("float32")


def keyed(words, table, counts=None, fasttext=None):
    """gensim ``KeyedVectors`` around a table, which is not copied.

    Args:
        words: in the order of the rows; none twice.
        table: float32 ``(num_words, vector_size)``.
        counts: int64 ``(num_words,)``, how frequent they are.
        fasttext: ``min_n``, ``max_n`` and ``bucket``, for ``FastTextKeyedVectors``.
    """
    from gensim.models import KeyedVectors
    from gensim.models.fasttext import FastTextKeyedVectors

    width = table.shape[1]
    vectors = FastTextKeyedVectors(width, **fasttext) if fasttext else KeyedVectors(width, count=0)
    vectors.index_to_key = list(words)
    vectors.key_to_index = {word: i for i, word in enumerate(vectors.index_to_key)}
    if len(vectors.key_to_index) != len(words):
        seen: set[str] = set()
        for word in words:
            if word in seen:
                raise ValueError(f"The word {word!r} has two vectors. Remove one.")
            seen.add(word)
    vectors.vectors = table
    vectors.next_index = len(words)
    if counts is not None:
        vectors.expandos["count"] = np.asarray(counts, np.int64)
    return vectors


def check_vectors(table, words, name):
    """Raise a ValueError for a table with NaN or infinity, naming the first word."""
    # The sum of a row is finite if its values are (unless it overflows, which no vector does).
    with np.errstate(invalid="ignore", over="ignore"):
        bad = ~np.isfinite(np.asarray(table).sum(axis=1, dtype=np.float64))
    if bad.any():
        word = words[int(bad.argmax())]
        raise ValueError(
            f"{name} have NaN or infinite values, first for the word {word!r}. Train again with a "
            "smaller learning_rate, or remove those words."
        )
