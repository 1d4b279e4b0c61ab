"""What every entry point asks of texts, token ids and counts."""

import operator
from collections.abc import Mapping
from typing import Any


def checked_text(text: object, name: str = "text") -> str:
    """The text, if it is one that can be encoded.

    Args:
        text: what was received.
        name: of the argument, for errors.

    Raises:
        ValueError: it is no str, or holds half of a surrogate pair.
    """
    if isinstance(text, bytes):
        raise ValueError(f"{name} must be str; received bytes. Decode it: text.decode('utf-8').")
    if not isinstance(text, str):
        raise ValueError(f"{name} must be str; received {type(text).__name__}.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        half = f"U+{ord(text[error.start]):04X}"
        raise ValueError(
            f"{name} has half of a character, the lone surrogate {half}, at position "
            f"{error.start}. Cut texts between characters, or replace it."
        ) from None
    return text


def checked_texts(texts: Any, name: str = "text") -> list[str]:
    """A text, or several, as a list.

    Args:
        texts: a str, or a list or another iterable of str.
        name: of the argument, for errors.

    Raises:
        ValueError: neither, or a text that `checked_text` refuses.
    """
    if isinstance(texts, str):
        return [checked_text(texts, name)]
    if isinstance(texts, bytes) or not is_iterable(texts):
        raise ValueError(f"{name} must be a str or a list of str; received {type(texts).__name__}.")
    return [checked_text(text, f"{name}[{i}]") for i, text in enumerate(texts)]


def checked_list(values: Any, name: str = "texts", of: str = "str") -> list:
    """What there is in a list or another iterable; each value is left to whoever reads it.

    Args:
        values: what was received.
        name: of the argument, for errors.
        of: what is in the list, for errors.

    Raises:
        ValueError: it is one str, or nothing to go through.
    """
    if isinstance(values, (str, bytes)) or not is_iterable(values):
        raise ValueError(f"{name} must be a list of {of}; received {type(values).__name__}.")
    return list(values)


def is_iterable(values: Any) -> bool:
    """Whether there is a row of values to go through.

    An array without axes only looks so, and of a dict nobody means the keys.
    """
    try:
        iter(values)
    except TypeError:
        return False
    return not isinstance(values, Mapping)


def is_whole(value: Any, least: int = 0) -> bool:
    """Whether a value is a whole number, Python's or NumPy's, and not too small; a bool is none."""
    try:
        return not isinstance(value, bool) and operator.index(value) >= least
    except TypeError:
        return False


def checked_count(value: Any, name: str) -> int:
    """A number of things, as an int.

    Args:
        value: what was received.
        name: of the argument, for errors.

    Raises:
        ValueError: it is no whole number, or less than 1.
    """
    if not is_whole(value, 1):
        raise ValueError(f"{name} must be a positive whole number; received {value!r}.")
    return operator.index(value)


def checked_ids(ids: Any, vocab_size: int | None = None) -> list[int]:
    """Token ids as a list of ints.

    A float is no id, not even ``1.0``: it shows that something was computed of ids. Only arrays
    that a Keras model is called with may be of floats, as everywhere in Keras.

    Args:
        ids: whole numbers, of Python or of NumPy or in an array.
        vocab_size: how many there are; ``None``: that is not asked.

    Raises:
        ValueError: not a list, a value that is not a whole number, or an id out of range.
    """
    if isinstance(ids, (str, bytes)) or not is_iterable(ids):
        raise ValueError(f"token ids must be a list of whole numbers; received {ids!r}.")
    numbers = []
    for value in ids:
        try:
            number = None if isinstance(value, bool) else operator.index(value)
        except TypeError:
            number = None
        if number is None:
            raise ValueError(f"token ids must be whole numbers; received {value!r}.")
        numbers.append(number)
    last = 2**32 - 1 if vocab_size is None else vocab_size - 1
    if numbers and (min(numbers) < 0 or max(numbers) > last):
        wrong = min(numbers) if min(numbers) < 0 else max(numbers)
        raise ValueError(
            f"token ids must be from 0 to {last}; received {wrong}. Was the text encoded with "
            "another tokenizer?"
        )
    return numbers


def checked_rows(rows: Any, name: str, vocab_size: int | None = None) -> list[list[int]]:
    """Several lists of token ids, each as `checked_ids` gives it.

    Args:
        rows: lists of token ids.
        name: of the argument, for errors.
        vocab_size: how many ids there are; ``None``: that is not asked.

    Raises:
        ValueError: not a list, or one in it that `checked_ids` refuses.
    """
    rows = checked_list(rows, name, "lists of token ids")
    return [checked_ids(ids, vocab_size) for ids in rows]
