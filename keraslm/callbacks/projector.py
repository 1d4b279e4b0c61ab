"""Files for TensorBoard's projector: vectors and their names."""

from pathlib import Path

import numpy as np

from keraslm._files import Writer, checked_path
from keraslm._text import checked_list, checked_str


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
        ValueError: what are no vectors, more names than vectors, or names that are no str.
    """
    folder = checked_path(log_dir, "log_dir")
    vectors = _checked_vectors(vectors)
    names = [] if names is None else checked_list(names, "names")
    names = [checked_str(name, f"names[{i}]") for i, name in enumerate(names)]
    if not checked_str(title, "title") or Path(title).name != title:
        raise ValueError(f"title must be the beginning of a file's name; received {title!r}.")
    if len(names) > len(vectors):
        raise ValueError(
            f"names has {len(names)} entries for {len(vectors)} vectors; give one for each."
        )
    names += [str(i) for i in range(len(names), len(vectors))]
    lines = "".join(f"{_one_line(name)}\n" for name in names)
    config = (
        "embeddings {\n"
        f'  tensor_name: "{title}"\n'
        f'  tensor_path: "{title}.tsv"\n'
        f'  metadata_path: "{title}_names.tsv"\n'
        "}\n"
    )
    files = [f"{title}.tsv", f"{title}_names.tsv", "projector_config.pbtxt"]
    with Writer(folder, files, own=files) as writer:
        np.savetxt(writer.new / files[0], vectors, fmt="%.5f", delimiter="\t")
        (writer.new / files[1]).write_text(lines, encoding="utf-8", newline="\n")
        (writer.new / files[2]).write_text(config, encoding="utf-8", newline="\n")
        writer.commit()


def _checked_vectors(vectors):
    try:
        array = np.asarray(vectors)
        numbers = array.astype("float64") if array.dtype.kind not in "USO" else None
    except (TypeError, ValueError):  # rows of several lengths
        array, numbers = np.asarray(None), None
    if numbers is None or numbers.ndim != 2:
        received = f"{array.dtype} {array.shape}" if array.ndim else type(vectors).__name__
        raise ValueError(f"vectors must be numbers (number, width); received {received}.")
    return numbers


def _one_line(name):
    """The name with tabs, line breaks and what else cannot be seen written as escapes."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
    return shown if shown.strip() else repr(shown)
