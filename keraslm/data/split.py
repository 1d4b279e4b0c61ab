"""Split: which documents train and which validate, decided by their content."""

import hashlib
from collections.abc import Iterable

from keraslm._text import checked_seed, checked_share, each_str


def split_texts(
    texts: Iterable[str], validation: float = 0.1, seed: int = 0
) -> tuple[list[str], list[str]]:
    """Split documents in a training and a validation set.

    The side of a document depends on the set of documents and the seed, not on their order; copies
    of a document stay on one side, so that none is trained on and validated with. Blank documents
    are left out.

    Args:
        texts: documents; at least two different ones.
        validation: share of the characters to validate with, between 0 and 1, met as closely as
            whole documents taken in a random order allow.
        seed: another seed, another split.

    Returns:
        ``(train, validation)``: lists, neither empty, in the order of ``texts``.

    Raises:
        ValueError: fewer than two different documents, ``validation`` outside (0, 1), or another
            argument that cannot be.

    Example:
        >>> train, held_out = split_texts([f"document {i}" for i in range(10)], validation=0.2)
        >>> len(train), len(held_out)
        (8, 2)
    """
    validation, seed = checked_share(validation, "validation"), checked_seed(seed)
    texts = [text for text in each_str(texts) if text.strip()]
    lengths: dict[str, int] = {}  # characters by document, copies added up
    for text in texts:
        lengths[text] = lengths.get(text, 0) + len(text)
    if len(lengths) < 2:
        raise ValueError(
            f"Splitting needs at least 2 different documents; received {len(lengths)}. Split the"
            " text in documents (read_texts has separator=) or give validation texts of your own."
        )

    order = sorted(lengths, key=lambda text: _hash(text, seed))
    wanted, taken = validation * sum(lengths.values()), 0
    chosen: set[str] = set()
    for text in order:
        # A document comes in if that brings the sum nearer, and never the last one left to train.
        if lengths[text] < 2 * (wanted - taken) and len(chosen) < len(order) - 1:
            chosen.add(text)
            taken += lengths[text]
    if not chosen:  # all are longer than twice the share
        chosen.add(min(order, key=lambda text: lengths[text]))
    return (
        [text for text in texts if text not in chosen],
        [text for text in texts if text in chosen],
    )


def _hash(text, seed):
    content = f"{seed}\n{text}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(content, digest_size=16).digest()
