"""Letters as bytes, and scripts that put no blanks between words, where a run is a clause."""

import re
import warnings
from collections.abc import Callable, Sequence

# Runs that are longer than nearly any word. Katakana does not count: it writes foreign words, which
# are long. In the others a letter takes one to three characters.
CHINESE = "\u3041-\u3096\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
OTHERS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17d3\uaa60-\uaa7f"  # Thai, Lao, Burmese, Khmer
CLAUSE = re.compile(f"[{CHINESE}]{{5,}}|[{OTHERS}]{{20,}}")
UNSPACED = re.compile(f"[{CHINESE}\u30a1-\u30ff{OTHERS}]")
SHOWN = 20  # characters
ENOUGH = 0.2  # of all words; in segmented Chinese some 1 % are so long


def clause_in(text: str) -> str | None:
    """The beginning of a clause without blanks, if many of the words of a text are such; else None.

    Example:
        >>> clause_in("我们爱北京天安门"), clause_in("我们 爱 北京 天安门")
        ('我们爱北京天安门', None)
    """
    if text.isascii():
        return None
    clauses = CLAUSE.findall(text)
    return clauses[0][:SHOWN] if len(clauses) > ENOUGH * len(text.split()) else None


def warn_of_clauses(text: str, message: str) -> bool:
    """Warn if a split at blanks would make words of clauses, and tell whether it was so.

    Args:
        text: of which words are made.
        message: one sentence with ``{clause!r}`` in it, and what to do.
    """
    clause = clause_in(text)
    if clause is not None:
        warnings.warn(message.format(clause=clause), stacklevel=3)
    return clause is not None


def beginnings(texts: Sequence[str], number: int = 3) -> list[str]:
    """Prompts: the first words of some texts, or of Chinese the first characters.

    Example:
        >>> beginnings(["Once upon a time there was a king.", "人生若只如初见，何事秋风悲画扇。"])
        ['Once upon a', '人生若只']
    """
    return [
        text[:4] if UNSPACED.match(text) else " ".join(text.split(maxsplit=3)[:3])
        for text in texts[:number]
    ]


def byte_alphabet() -> dict[str, int]:
    """GPT-2's visible character for each byte: {character: byte}."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [b for b in range(256) if b not in visible]
    return {chr(b): b for b in visible} | {chr(256 + i): b for i, b in enumerate(hidden)}


def jieba_words(option: str, instead: str) -> Callable[[str], list[str]]:
    """The function from a text to its words and what is between them, by jieba.

    Args:
        option: what was asked for, for the error.
        instead: what does without jieba, for the error.

    Raises:
        ImportError: jieba is not installed.
    """
    try:
        import jieba
    except ImportError as error:
        raise ImportError(f"{option} needs jieba: pip install jieba. Or take {instead}.") from error
    jieba.setLogLevel("WARNING")
    return jieba.lcut
