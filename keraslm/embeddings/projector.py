"""Word vectors in TensorBoard's projector."""

from pathlib import Path

import numpy as np

from keraslm._files import replaced_file
from keraslm._types import KeyedVectors, StrPath

CONFIG = """embeddings {
  tensor_name: "vectors"
  tensor_path: "vectors.tsv"
  metadata_path: "words.tsv"
}
"""


def write_projector(vectors: KeyedVectors, log_dir: StrPath, limit: int = 10_000) -> Path:
    """Write the most frequent words for the projector of TensorBoard (``tensorboard --logdir …``).

    Args:
        vectors: ``KeyedVectors``.
        log_dir: folder for ``vectors.tsv``, ``words.tsv`` and ``projector_config.pbtxt``.
        limit: how many words; the projector draws in the browser.

    Returns:
        the folder's ``Path``.

    Example:
        >>> folder = write_projector(vectors, "logs/vectors")
    """
    folder = Path(log_dir)
    words = vectors.index_to_key[:limit]
    counts = vectors.expandos.get("count")
    with replaced_file(folder / "vectors.tsv") as file:
        np.savetxt(file, vectors.vectors[:limit], fmt="%.6g", delimiter="\t")
    with replaced_file(folder / "words.tsv") as file, open(file, "w", encoding="utf-8") as lines:
        # One column must have no heading, several must.
        if counts is not None:
            lines.write("word\tcount\n")
        for i, word in enumerate(words):
            shown = " ".join(word.split()) or repr(word)
            lines.write(shown if counts is None else f"{shown}\t{counts[i]}")
            lines.write("\n")
    with replaced_file(folder / "projector_config.pbtxt") as file:
        file.write_text(CONFIG, encoding="utf-8")
    return folder
