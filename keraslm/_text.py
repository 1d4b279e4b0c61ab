"""What every entry point asks of a text."""


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
