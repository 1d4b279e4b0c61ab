"""Vectors on disk: ``vectors.npy``, ``vocabulary.txt`` and a JSON recipe; never pickle."""

import json
from pathlib import Path

import numpy as np

from keraslm._files import replaced_folder


def save_vectors(vectors, folder, recipe=None):
    """Write gensim ``KeyedVectors`` to a folder, whole or not at all.

    Args:
        vectors: ``KeyedVectors``.
        folder: replaced if it is there.
        recipe: JSON-ready facts on how they were made.

    Returns:
        the folder's ``Path``.
    """
    words = vectors.index_to_key
    if any("\n" in word for word in words):
        raise ValueError("A word holds a line break, which vocabulary.txt cannot keep.")
    with replaced_folder(folder) as new:
        np.save(new / "vectors.npy", vectors.vectors.astype("float32"), allow_pickle=False)
        (new / "vocabulary.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
        facts = {"num_words": len(words), "vector_size": vectors.vector_size, **(recipe or {})}
        (new / "recipe.json").write_text(
            json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    return Path(folder)


def load_vectors(folder):
    """Read what `save_vectors` wrote, as gensim ``KeyedVectors``.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the files do not belong together.
    """
    from gensim.models import KeyedVectors

    folder = Path(folder)
    for name in ("vectors.npy", "vocabulary.txt"):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"No vectors in {folder}: {name} is missing. Train some with 'keraslm embed'."
            )
    words = (folder / "vocabulary.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    try:
        table = np.load(folder / "vectors.npy", allow_pickle=False)
    except ValueError as error:
        raise ValueError(f"{folder / 'vectors.npy'} is not a readable array: {error}") from error
    if table.ndim != 2 or len(table) != len(words):
        raise ValueError(
            f"{folder} is damaged: {len(words)} words, vectors of shape {table.shape}."
        )
    vectors = KeyedVectors(table.shape[1], count=0)
    vectors.add_vectors(words, table)
    return vectors
