"""How good word vectors are: analogies and similarity of words, as people judged them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keraslm._types import KeyedVectors, StrPath

BATCH = 512


class Analogies(NamedTuple):
    """Right answers to "a is to b as c is to ?".

    ``sections``: name to ``(right, asked)``. ``unknown``: questions with a word that has no vector.

    Example:
        >>> found = Analogies({"capitals": (3, 4), "plurals": (0, 1)}, unknown=2)
        >>> found.right, found.asked, found.accuracy
        (3, 5, 0.6)
    """

    sections: dict[str, tuple[int, int]]
    unknown: int

    @property
    def right(self) -> int:
        """Right answers in all."""
        return sum(right for right, _ in self.sections.values())

    @property
    def asked(self) -> int:
        """Questions whose words all have vectors."""
        return sum(asked for _, asked in self.sections.values())

    @property
    def accuracy(self) -> float:
        """Share of right answers; NaN if none was asked."""
        return self.right / self.asked if self.asked else float("nan")


class Similarity(NamedTuple):
    """Spearman's rank correlation of cosines with people's judgements, and of how many pairs.

    Example:
        >>> Similarity(spearman=0.61, pairs=320, unknown=33).spearman
        0.61
    """

    spearman: float
    pairs: int
    unknown: int


def analogies(
    vectors: KeyedVectors, questions: StrPath | None = None, *, most_frequent: int = 30_000
) -> Analogies:
    """Answer analogy questions by the nearest vector to ``b - a + c`` (Mikolov et al. 2013).

    Args:
        vectors: ``KeyedVectors``, the most frequent words first.
        questions: file in the format of ``questions-words.txt`` (``: section`` lines, then four
            words a line); default: that one, 19,544 questions, which gensim ships.
        most_frequent: answers, and the words of questions, are among so many.

    Raises:
        ValueError: a line without four words.

    Example:
        >>> found = analogies(vectors)
        >>> found.asked + found.unknown
        19544
    """
    lines = _lines(questions or "questions-words.txt")
    words = vectors.index_to_key[:most_frequent]
    table = _unit(vectors.vectors[:most_frequent])
    index = _index(words)
    sections: dict[str, list] = {}
    section, unknown = "all", 0
    for number, line in enumerate(lines, 1):
        if line.startswith(":"):
            section = line[1:].strip()
            continue
        parts = line.lower().split()
        if len(parts) != 4:
            raise ValueError(f"{questions}, line {number} has {len(parts)} words, not 4: {line!r}.")
        ids = [index.get(word) for word in parts]
        if None in ids:
            unknown += 1
        else:
            sections.setdefault(section, []).append(ids)
    results = {}
    for name, asked in sections.items():
        right = 0
        for start in range(0, len(asked), BATCH):
            a, b, c, answer = np.array(asked[start : start + BATCH]).T
            scores = (table[b] - table[a] + table[c]) @ table.T
            rows = np.arange(len(a))
            for given in (a, b, c):
                scores[rows, given] = -np.inf
            right += int((scores.argmax(axis=1) == answer).sum())
        results[name] = (right, len(asked))
    return Analogies(results, unknown)


def similarity(vectors: KeyedVectors, pairs: StrPath = "wordsim353.tsv") -> Similarity:
    """Compare the cosines of pairs of words with what people say.

    Args:
        vectors: ``KeyedVectors``.
        pairs: file of two words and a number, tab-separated, ``#`` before comments; or the name of
            one that gensim ships: ``"wordsim353.tsv"``, ``"simlex999.txt"``.

    Raises:
        ValueError: no line of that form.

    Example:
        >>> found = similarity(vectors, "simlex999.txt")
        >>> found.pairs + found.unknown
        999
    """
    from scipy.stats import spearmanr

    index = _index(vectors.index_to_key)
    cosines, judged, unknown = [], [], 0
    for line in _lines(pairs):
        parts = line.lower().split("\t")
        try:
            a, b, score = parts[0], parts[1], float(parts[2])
        except (IndexError, ValueError):
            continue  # a heading
        if a in index and b in index:
            one, other = _unit(vectors.vectors[[index[a], index[b]]])
            cosines.append(float(one @ other))
            judged.append(score)
        else:
            unknown += 1
    if not cosines and not unknown:
        raise ValueError(f"{pairs} has no line of two words and a number, separated by tabs.")
    spearman = float(spearmanr(cosines, judged).statistic) if len(cosines) > 1 else float("nan")
    return Similarity(spearman, len(cosines), unknown)


def evaluate(
    vectors: KeyedVectors,
    questions: StrPath | None = None,
    pairs: Sequence[StrPath] = ("wordsim353.tsv", "simlex999.txt"),
) -> dict:
    """All judgements as JSON-ready values.

    Returns:
        ``num_words``, ``vector_size``; ``analogies`` with ``accuracy``, ``right``, ``asked``,
        ``unknown``, ``sections``; for each file of pairs ``spearman``, ``pairs``, ``unknown``.

    Example:
        >>> results = evaluate(vectors)
        >>> sorted(results["wordsim353"])
        ['pairs', 'spearman', 'unknown']
    """
    found = analogies(vectors, questions)
    result = {
        "num_words": len(vectors.index_to_key),
        "vector_size": vectors.vector_size,
        "analogies": {
            "accuracy": _finite(found.accuracy),
            "right": found.right,
            "asked": found.asked,
            "unknown": found.unknown,
            "sections": {name: list(counts) for name, counts in found.sections.items()},
        },
    }
    for file in pairs:
        judged = similarity(vectors, file)
        result[Path(file).stem] = {**judged._asdict(), "spearman": _finite(judged.spearman)}
    return result


def table_of(result) -> str:
    """What `evaluate` gave, as lines for the terminal."""
    found = result["analogies"]
    lines = [f"{result['num_words']:,} words, width {result['vector_size']}", ""]
    for name, (right, asked) in found["sections"].items():
        lines.append(f"{name:<30}{right / asked:>8.1%}  {right:,} of {asked:,}")
    share = "–" if found["accuracy"] is None else f"{found['accuracy']:.1%}"
    lines.append(f"{'analogies':<30}{share:>8}  {found['right']:,} of {found['asked']:,}; "
                 f"{found['unknown']:,} have an unknown word")  # fmt: skip
    for name, judged in result.items():
        if isinstance(judged, dict) and "spearman" in judged:
            rank = "–" if judged["spearman"] is None else f"{judged['spearman']:.3f}"
            lines.append(f"{name:<30}{rank:>8}  Spearman, {judged['pairs']:,} pairs; "
                         f"{judged['unknown']:,} have an unknown word")  # fmt: skip
    return "\n".join(lines)


def _lines(file):
    """Lines with something on them, comments left out, of a file or one that gensim ships."""
    path = Path(file)
    if not path.is_file():
        from gensim.test.utils import datapath

        path = Path(datapath(str(file)))
        if not path.is_file():
            raise FileNotFoundError(f"No file {file}.")
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def _index(words):
    """Lower-cased word to row: the more frequent of two that differ in case."""
    index: dict[str, int] = {}
    for i, word in enumerate(words):
        index.setdefault(word.lower(), i)
    return index


def _unit(rows):
    rows = np.asarray(rows, "float32")
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def _finite(value):
    return value if np.isfinite(value) else None
