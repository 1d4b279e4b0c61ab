"""Word vectors in TensorBoard's projector."""

from pathlib import Path

import numpy as np

from keraslm._files import Writer
from keraslm._types import KeyedVectors, StrPath

FILES = ("vectors.tsv", "words.tsv", "projector_config.pbtxt")
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
    with Writer(folder, FILES, own=FILES) as writer:
        np.savetxt(writer.new / FILES[0], vectors.vectors[:limit], fmt="%.6g", delimiter="\t")
        with open(writer.new / FILES[1], "w", encoding="utf-8") as lines:
            # One column must have no heading, several must.
            if counts is not None:
                lines.write("word\tcount\n")
            for i, word in enumerate(words):
                shown = " ".join(word.split()) or repr(word)
                lines.write(shown if counts is None else f"{shown}\t{counts[i]}")
                lines.write("\n")
        (writer.new / FILES[2]).write_text(CONFIG, encoding="utf-8")
        writer.commit()
    return folder
