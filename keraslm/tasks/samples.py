"""The sample of its text that a language model keeps: what its exports are judged on."""

from collections.abc import Sequence
from typing import Any

from keraslm.data.packing import PackedTokens

DOCUMENTS, CHARACTERS = 8, 4000  # at most


def sample_of(texts: Any, rows: PackedTokens, tokenizer: Any) -> list[str] | None:
    """The last documents of a text; of the first of these only the end, if they are long.

    Args:
        texts: documents, or rows packed already, whose tokens are decoded; so are those of an
            iterator, which is read by now.
        rows: the texts, packed.
        tokenizer: a `keraslm.tokenizers.Tokenizer`, or ``None``.

    Returns:
        `DOCUMENTS` texts of together `CHARACTERS` characters at most; ``None`` if there is no text,
        or no tokenizer to decode with.

    Example:
        >>> from keraslm.data import pack
        >>> from keraslm.tokenizers import Tokenizer
        >>> texts = ["to be", "or not"]
        >>> tokenizer = Tokenizer.train(texts, kind="char", vocab_size=None)
        >>> sample_of(texts, pack(texts, tokenizer, length=4), tokenizer)
        ['to be', 'or not']
    """
    if not isinstance(texts, Sequence):
        if tokenizer is None:
            return None
        texts = _Decoded(rows.stream, tokenizer)
    found, left = [], CHARACTERS
    for number in reversed(range(len(texts))):
        if text := texts[number][-left:]:
            found.append(text)
            left -= len(text)
        if not left or len(found) == DOCUMENTS:
            break
    return found[::-1] or None


class _Decoded:
    """Documents of a `TokenStream` by number, as text; of a long one only the end."""

    def __init__(self, stream, tokenizer):
        self.ids, self.tokenizer = stream.ids, tokenizer
        self.bounds = [*stream.starts.tolist(), len(stream.ids)]

    def __len__(self):
        return len(self.bounds) - 1

    def __getitem__(self, number):
        begin, end = self.bounds[number : number + 2]
        return self.tokenizer.decode(self.ids[max(begin, end - CHARACTERS - 8) : end].tolist())
