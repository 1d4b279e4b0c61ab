"""What a word is, in every script, and which words are left out as too frequent to mean much."""

import functools
import json
import re
import sys
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from keraslm._text import checked_texts

STOP_WORDS = Path(__file__).parent / "stop_words.json"

# What joins letters to one word, as in Unicode's UAX 29: apostrophes, the Catalan point, the Hebrew
# signs of numbers and abbreviations. A plain quotation mark does so between Hebrew letters only.
JOINERS = "'’‘＇·‧\u05f3\u05f4"
HEBREW_QUOTE = r"(?<=[\u05d0-\u05ea])\"(?=[\u05d0-\u05ea])"

FLAG = "[\U0001f1e6-\U0001f1ff]{2}"
PICTURE = "[\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff]"
SKIN = "[\U0001f3fb-\U0001f3ff]"
ZWJ = "\u200d"


@functools.cache
def word_pattern(also: str = "") -> re.Pattern[str]:
    """A regular expression that finds the words of a text.

    A word is letters and digits with all that belongs to them: combining marks (the vowel signs of
    Hindi, Thai, Tamil, Arabic and Hebrew, accents apart from their letters) and invisible joiners
    (U+200C and U+200D). An emoji is a word, with what it is composed of. Punctuation is none.

    Args:
        also: a character that is a word of its own.

    Example:
        >>> word_pattern().findall("Don't stop, हिन्दी!")
        ["Don't", 'stop', 'हिन्दी']
    """
    marks = f"[{_marks()}]"
    parts = rf"(?:{marks}+\w*|(?:[{JOINERS}]|{HEBREW_QUOTE})\w+)"
    emoji = rf"{PICTURE}{SKIN}?{marks}*"  # a ZWJ is one of the marks
    emoji = rf"{emoji}(?:(?<={ZWJ}){emoji})*"
    # Most words are a run of \w before a blank: what else there is, is looked for only where it
    # can be, which makes this as fast as \w+ alone.
    word = rf"\w++(?:(?=['\"\x80-\U0010ffff]){parts})*+"
    emoji = rf"(?=[\u2600-\U0010ffff])(?:{FLAG}|{emoji})"
    return re.compile("|".join([word, *map(re.escape, also), emoji]))


@functools.cache
def _marks() -> str:
    """What belongs to the character before it, as a set for ``re``: marks and format characters.

    Of the latter not U+200B, with which Thai and Khmer texts part words.
    """
    is_mark = [
        unicodedata.category(chr(code)) in ("Mn", "Mc", "Me", "Cf") and code != 0x200B
        for code in range(sys.maxunicode + 1)
    ]
    starts = [i for i, mark in enumerate(is_mark) if mark and not is_mark[i - 1]]
    ends = [i for i, mark in enumerate(is_mark) if mark and not is_mark[i + 1]]
    return "".join(rf"\U{a:08x}-\U{b:08x}" for a, b in zip(starts, ends, strict=True))


def stop_words_of(stop_words: str | Iterable[str]) -> frozenset[str]:
    """The words to leave out.

    Args:
        stop_words: ``"english"`` or ``"chinese"``, for frequent words that have a grammatical
            function only (of English also with a capital); or a list of words, taken as they are.

    Raises:
        ValueError: another name, or no list of str.

    Example:
        >>> "the" in stop_words_of("english"), "king" in stop_words_of("english")
        (True, False)
    """
    if not isinstance(stop_words, str):
        return frozenset(checked_texts(stop_words, "stop_words"))
    lists = json.loads(STOP_WORDS.read_text(encoding="utf-8"))
    if stop_words not in lists:
        raise ValueError(
            f"stop_words must be one of {sorted(lists)} or a list of words; received "
            f"{stop_words!r}."
        )
    words = lists[stop_words].split()
    return frozenset([*words, *map(str.capitalize, words)])
