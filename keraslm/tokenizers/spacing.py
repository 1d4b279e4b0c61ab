"""Blanks that decoders write and that do not belong into the text."""

import re

# What clean_up_tokenization_spaces changes, in the order of `transformers`.
CLEAN_UP = (
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"),
    (" 'm", "'m"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
)  # fmt: skip

# What becomes one of these on the way, and what may follow a change.
_PATTERNS = (*(before for before, _ in CLEAN_UP), " n ' t", " ' \0")

# Chinese characters, their punctuation and full-width forms.
_CHINESE = (
    "\u3000-\u303f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uff60"
    "\U00020000-\U0002fa1f\U00030000-\U000323af"
)
BETWEEN_CHINESE = f"(?<=[{_CHINESE}]) (?=[{_CHINESE}])"


def is_chinese(character: str) -> bool:
    """Whether no blank is written between this character and another such."""
    return re.fullmatch(f"[{_CHINESE}]", character) is not None


def join_chinese(text: str) -> str:
    """The text without blanks between Chinese characters.

    Example:
        >>> join_chinese("\\u4f60 \\u597d GPT \\u4f60 \\uff0c")
        '\u4f60\u597d GPT \u4f60\uff0c'
    """
    return re.sub(BETWEEN_CHINESE, "", text)


def clean_up(text: str) -> str:
    """The text without blanks before English punctuation and contractions.

    Example:
        >>> clean_up("it 's here , I do n't know .")
        "it's here, I don't know."
    """
    for before, after in CLEAN_UP:
        text = text.replace(before, after)
    return text


def could_change(text: str) -> int:
    """How many characters at the end of a text `clean_up` could change once more text follows."""
    return max(
        (n for pattern in _PATTERNS for n in range(1, len(pattern)) if text.endswith(pattern[:n])),
        default=0,
    )
