"""What every entry point asks of texts, token ids and numbers."""

import math
import numbers
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any


def checked_text(text: object, name: str = "text") -> str:
    """The text, if it is one that can be encoded.

    Args:
        text: what was received.
        name: of the argument, for errors.

    Raises:
        ValueError: it is no str, or holds half of a surrogate pair.
    """
    text = checked_str(text, name)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        half = f"U+{ord(text[error.start]):04X}"
        raise ValueError(
            f"{name} has half of a character, the lone surrogate {half}, at position "
            f"{error.start}. Cut texts between characters, or replace it."
        ) from None
    return text


def checked_str(text: object, name: str = "text") -> str:
    """The text, if it is one; whether it can be encoded is not asked.

    Raises:
        ValueError: it is no str.
    """
    if isinstance(text, bytes):
        raise ValueError(f"{name} must be str; received bytes. Decode it: text.decode('utf-8').")
    if not isinstance(text, str):
        raise ValueError(f"{name} must be str; received {type(text).__name__}.")
    return text


def each_str(texts: Any, name: str = "texts") -> Iterator[str]:
    """The texts of a list or another iterable, one after the other, as `checked_str` gives them.

    Raises:
        ValueError: it is one str, nothing to go through, or a text is none.
    """
    for i, text in enumerate(checked_iterable(texts, name)):
        yield checked_str(text, f"{name}[{i}]")


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
    return list(checked_iterable(values, name, of))


def checked_iterable(values: Any, name: str = "texts", of: str = "str") -> Iterable:
    """What `checked_list` takes, as it is: a corpus may be read in a stream."""
    if isinstance(values, (str, bytes)) or not is_iterable(values):
        raise ValueError(f"{name} must be a list of {of}; received {type(values).__name__}.")
    return values


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


def checked_count(value: Any, name: str, least: int = 1) -> int:
    """A number of things, as an int.

    Args:
        value: what was received.
        name: of the argument, for errors.
        least: the smallest that there may be.

    Raises:
        ValueError: it is no whole number, or too small.
    """
    if not is_whole(value, least):
        words = "a positive whole number" if least == 1 else f"a whole number, {least} or more"
        raise ValueError(f"{name} must be {words}; received {value!r}.")
    return operator.index(value)


def checked_number(value: Any, name: str, is_right: Callable[[Any], bool], words: str) -> Any:
    """A finite number, as Python's int or float.

    Args:
        value: what was received.
        name: of the argument, for errors.
        is_right: whether a number will do.
        words: what it must be, for errors.

    Raises:
        ValueError: it is no number, NaN, infinite, or one that will not do.
    """
    if not (_is_finite(value) and is_right(value)):
        raise ValueError(f"{name} must be {words}; received {value!r}.")
    if isinstance(value, (int, float)):
        return value
    return int(value) if isinstance(value, numbers.Integral) else float(value)


def _is_finite(value):
    try:
        is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        return is_number and math.isfinite(value)
    except OverflowError:  # a whole number larger than any float
        return False


def checked_share(value: Any, name: str) -> float:
    """A number between 0 and 1, neither of them.

    Raises:
        ValueError: it is something else.
    """
    return checked_number(value, name, lambda x: 0 < x < 1, "between 0 and 1")


def checked_seed(value: Any, name: str = "seed") -> int:
    """A seed as TensorFlow takes it, an int of 64 bits.

    Raises:
        ValueError: it is no whole number, or has more bits.
    """
    if not (is_whole(value, -(2**63)) and operator.index(value) < 2**63):
        raise ValueError(f"{name} must be a whole number of 64 bits; received {value!r}.")
    return operator.index(value)


def checked_flag(value: Any, name: str) -> bool:
    """``True`` or ``False``, Python's or NumPy's.

    Raises:
        ValueError: it is something else, such as ``"no"``, which would count as True.
    """
    if not isinstance(value, bool) and type(value).__name__ not in ("bool", "bool_"):
        raise ValueError(f"{name} must be True or False; received {value!r}.")
    return bool(value)


def checked_tokenizer(value: Any, name: str = "tokenizer") -> Any:
    """What encodes texts.

    Raises:
        ValueError: it is something else, such as the name of a file.
    """
    if not (hasattr(value, "encode_batch") and hasattr(value, "special_id")):
        raise ValueError(
            f"{name} must be a keraslm.tokenizers.Tokenizer; received {type(value).__name__}."
        )
    return value


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
