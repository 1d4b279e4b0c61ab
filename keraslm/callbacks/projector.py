"""Files for TensorBoard's projector: vectors and their names."""

from pathlib import Path

import numpy as np


def token_labels(tokenizer) -> list[str]:
    """A readable name for every token of a tokenizer.

    Chinese and other scripts as the token decodes, where it is whole characters: a byte-level
    vocabulary spells them byte by byte.
    """
    names = list(tokenizer.vocabulary)
    for i, name in enumerate(names):
        text = "" if name.isascii() else tokenizer.decode([i]).strip()
        if text and not text.isascii() and "\ufffd" not in text:
            names[i] = text
    return names


def write_projector(log_dir, vectors, names=None, title="token_embedding"):
    """Write vectors where TensorBoard's projector finds them.

    Args:
        log_dir: the folder that TensorBoard is started on.
        vectors: float ``(number, width)``.
        names: of the vectors, in order; those without one, such as the rows that a padded
            vocabulary has more than tokens, get their numbers.
        title: name of the set.

    Raises:
        ValueError: more names than vectors.
    """
    names = [] if names is None else list(names)
    if len(names) > len(vectors):
        raise ValueError(
            f"names has {len(names)} entries for {len(vectors)} vectors; give one for each."
        )
    names += [str(i) for i in range(len(names), len(vectors))]
    folder = Path(log_dir)
    folder.mkdir(parents=True, exist_ok=True)
    np.savetxt(folder / f"{title}.tsv", vectors, fmt="%.5f", delimiter="\t")
    lines = "".join(f"{_one_line(name)}\n" for name in names)
    (folder / f"{title}_names.tsv").write_text(lines, encoding="utf-8", newline="\n")
    (folder / "projector_config.pbtxt").write_text(
        "embeddings {\n"
        f'  tensor_name: "{title}"\n'
        f'  tensor_path: "{title}.tsv"\n'
        f'  metadata_path: "{title}_names.tsv"\n'
        "}\n",
        encoding="utf-8",
    )


def _one_line(name):
    """The name with tabs, line breaks and what else cannot be seen written as escapes."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
    return shown if shown.strip() else repr(shown)
