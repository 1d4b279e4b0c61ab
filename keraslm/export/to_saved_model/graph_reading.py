"""What every reader of the tokenizer's parts says when it meets one that is not reproduced."""


def unsupported(what: str, received) -> ValueError:
    """The error for a part of a tokenizer that has no twin inside TensorFlow."""
    return ValueError(
        f"A SavedModel with strings cannot reproduce {what}; received {received!r}. Use a "
        "tokenizer without it, or export a model that takes and gives ids."
    )


def byte_token(token: str) -> int | None:
    """The byte that a token such as ``<0x0A>`` stands for, or ``None``."""
    if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        digits = token[3:5]
        return int(digits, 16) if all(c in "0123456789abcdefABCDEF" for c in digits) else None
    return None
