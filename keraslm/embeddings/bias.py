"""Bias in word vectors: the Word Embedding Association Test."""

import json
from collections.abc import Iterable
from importlib import resources
from typing import Any, NamedTuple

import numpy as np

from keraslm._types import KeyedVectors


class Association(NamedTuple):
    """How much more ``targets[0]`` than ``targets[1]`` is near ``attributes[0]``.

    ``effect`` is Cohen's d, from -2 to 2: 0 is no bias; ``p`` the share of random splits of the
    targets that are at least as biased. Both are None where too few words have vectors;
    ``used`` of ``total`` words have.

    Example:
        >>> pleasant = ("pleasant", "unpleasant")
        >>> print(Association(("flowers", "insects"), pleasant, 1.5, 0.0, used=90, total=100))
        flowers / insects: pleasant / unpleasant    d +1.50, p 0.000 (90 of 100 words)
    """

    targets: tuple[str, str]
    attributes: tuple[str, str]
    effect: float | None
    p: float | None
    used: int
    total: int

    def __str__(self):
        what = f"{self.targets[0]} / {self.targets[1]}: {self.attributes[0]} / {self.attributes[1]}"
        if self.effect is None:
            return f"{what:<92} too few words are known ({self.used} of {self.total})"
        return (
            f"{what:<92} d {self.effect:+.2f}, p {self.p:.3f} ({self.used} of {self.total} words)"
        )


def weat(
    vectors: KeyedVectors,
    tests: Iterable[Any] | None = None,
    *,
    permutations: int = 10_000,
    seed: int = 0,
) -> list[Association]:
    """The Word Embedding Association Test (Caliskan, Bryson, Narayanan 2017).

    Vectors take over what the text they were trained on associates, prejudice included; a model
    that starts from them does too. The first two tests, flowers and instruments against insects and
    weapons, are harmless and show that the test works.

    Args:
        vectors: ``KeyedVectors``; words are looked up as they are, then in lower case.
        tests: ``(name, words)`` four times each, two targets and two attributes; default: the ten
            published tests.
        permutations: random splits for ``p``.
        seed: of the splits.

    Example:
        >>> for result in weat(vectors):
        ...     print(result)
        flowers / insects...
    """
    if tests is None:
        file = resources.files("keraslm.embeddings").joinpath("weat.json")
        data = json.loads(file.read_text(encoding="utf-8"))
        tests = [[(name, data["words"][name]) for name in test] for test in data["tests"]]
    return [_associate(vectors, test, permutations, seed) for test in tests]


def _associate(vectors, test, permutations, seed):
    if len(test) != 4:
        raise ValueError(f"A test has two targets and two attributes; received {len(test)} sets.")
    names = [name for name, _ in test]
    x, y, a, b = (_known(vectors, words) for _, words in test)
    used, total = sum(map(len, (x, y, a, b))), sum(len(words) for _, words in test)
    effect = p = None
    # With fewer than half of the words of a set it is another test.
    if all(
        2 * len(k) >= len(w) and len(k) > 1 for k, (_, w) in zip((x, y, a, b), test, strict=True)
    ):
        targets = np.concatenate([x, y])
        association = (targets @ a.T).mean(axis=1) - (targets @ b.T).mean(axis=1)
        spread = association.std(ddof=1)
        difference = association[: len(x)].mean() - association[len(x) :].mean()
        effect = float(difference / spread) if spread else 0.0
        rng = np.random.default_rng(seed)
        splits = rng.permuted(np.tile(association, (permutations, 1)), axis=1)
        drawn = splits[:, : len(x)].mean(axis=1) - splits[:, len(x) :].mean(axis=1)
        p = float((drawn >= difference).mean())
    return Association((names[0], names[1]), (names[2], names[3]), effect, p, used, total)


def _known(vectors, words):
    """Unit vectors ``(n, width)`` of the words that have one."""
    keys = [next((k for k in (w, w.lower()) if k in vectors.key_to_index), None) for w in words]
    rows = np.array([vectors[key] for key in keys if key is not None], "float32")
    rows = rows.reshape(-1, vectors.vector_size)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
