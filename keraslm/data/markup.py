"""Operations on MediaWiki markup, each in time linear in its length, however it is broken.

A regular expression such as ``<ref>.*?</ref>`` takes quadratic time where nothing is ever closed,
and gensim's ``filter_wiki`` cubic time for links; what is done here gives what it gives.
"""

import re
from collections.abc import Callable
from re import Pattern

_COMMENT = re.compile("<!--"), re.compile("-->")
# A pair of tags, or one that closes itself.
_TAGS = [
    (re.compile(rf"<{tag}[> ]"), re.compile(rf"</{tag}>|/>")) for tag in ("ref", "nowiki", "math")
]
_TAG = re.compile("<"), re.compile(">")
_CATEGORY = re.compile(r"\[\[Category:[^][]*\]\]")
_URL = re.compile(r"\[\w+://"), re.compile(r"[\]\n]")
_BRACKETS = re.compile(r"\[([^][]*)\]")
_FILE = re.compile(r"\[\[(?:[fF]ile:|[iI]mage)"), re.compile(r"\]\]?")
_LANGUAGE = re.compile(r"\[\[[a-z][a-z][\w-]*:[^:\]]+\]\]")
# Lines of tables: their beginnings and ends, rows, attributes; and where their cells begin.
_TABLE_MARK = re.compile(r"^[ \t:*]*\{\||^[ \t]*\|\}", re.MULTILINE)
_ROW = re.compile(r"(?:\{\||\|-(?!\d)|\|\})[^\n]*+")
_ATTRIBUTES = re.compile(
    r"\n.{0,4}(?:bgcolor|\d? ?colspan|rowspan|style=|class=|align=|scope=).*"
    r"|^.{0,2}(?:bgcolor|\d? ?colspan|rowspan|style=|class=|align=).*"
)
_BRACE = re.compile("[{}]")
_INNER_TEMPLATE = re.compile(r"\{\{[^{}]*+\}\}")
_CELL = re.compile(r"(?<=\n |\n\n|  |.\n|.\t)[|!]")
_CELL_END = re.compile(r"[][\n]")

Replacement = str | Callable[[str, int, int], str | None]


def cut(
    text: str, opening: Pattern[str], closing: Pattern[str], replacement: Replacement = ""
) -> str:
    """Replace everything from an opening to the next closing.

    Args:
        text: any text.
        opening, closing: what a part begins and ends with.
        replacement: a str, or a function of the text and the places at which the inside of the part
            begins and ends; where it gives ``None``, the part stays.
    """
    parts, done, start = [], 0, 0
    end = None
    while begin := opening.search(text, start):
        if end is None or end.start() < begin.end():
            end = closing.search(text, begin.end())
            if end is None:
                break
        new = (
            replacement
            if isinstance(replacement, str)
            else replacement(text, begin.end(), end.start())
        )
        if new is None:
            start = begin.start() + 1
            continue
        parts += [text[done : begin.start()], new]
        done = start = end.end()
    return "".join([*parts, text[done:]])


def cut_templates(text: str) -> str:
    """Without templates, those in other templates too; what comes after an unclosed one stays."""
    from gensim.corpora import wikicorpus

    begin = _unclosed_template(text)
    if begin is None:
        return wikicorpus.remove_template(text)
    # gensim would leave out the rest of the article.
    rest = _INNER_TEMPLATE.sub("", text[begin:]).replace("{{", "")
    return wikicorpus.remove_template(text[:begin]) + rest


def _unclosed_template(text):
    """Where a template begins that is never closed, as gensim counts braces; ``None``: nowhere."""
    begin, depth = None, 0
    for brace in _BRACE.finditer(text):
        if begin is None:
            if brace[0] == "{" and text.startswith("{{", brace.start()):
                begin, depth = brace.start(), 1
        else:
            depth += 1 if brace[0] == "{" else -1
            if depth == 0:
                begin = None
    return begin


def cut_tables(text: str) -> str:
    """Without tables, those in other tables too."""
    opened: list[int] = []
    found: list[tuple[int, int]] = []  # disjoint, in order
    for mark in _TABLE_MARK.finditer(text):
        if mark[0].endswith("{|"):
            opened.append(mark.start())
        elif opened:
            begin = opened.pop()
            while found and found[-1][0] > begin:
                found.pop()
            found.append((begin, mark.end()))
    parts, done = [], 0
    for begin, end in found:
        parts.append(text[done:begin])
        done = end
    return "".join([*parts, text[done:]])


def plain(text: str) -> str:
    """What gensim's ``filter_wiki`` leaves: no tags, links as their texts, no lines of tables."""
    from gensim import utils

    text = _without_languages(utils.decode_htmlentities(text))
    text = cut(cut_templates(text), *_FILE, _caption)
    for _ in range(3):  # what is inside other markup shows when that has gone
        before = text
        for pair in (_COMMENT, *_TAGS, _TAG):
            text = cut(text, *pair)
        text = cut(_CATEGORY.sub("", text), *_URL, _description)
        text = _BRACKETS.sub(_link_text, text)
        text = text.replace("!!", "\n|").replace("|-||", "\n|")
        lines, newline, last = text.rpartition("\n")
        text = _ROW.sub("\n", lines + newline) + last if newline else text
        text = text.replace("|||", "|\n|").replace("||", "\n|")
        text = _ATTRIBUTES.sub("\n", _without_cell_marks(text)).replace("[]", "")
        if text == before:
            break
    return text.replace("[", "").replace("]", "")


def heading(line: str) -> tuple[int, str] | None:
    """Level, 2 to 6, and title of a heading; ``None`` of another line."""
    line = line.strip()
    before, after = (len(line) - len(rest) for rest in (line.lstrip("="), line.rstrip("=")))
    level = min(before, after, 6, len(line) // 2)
    return (level, line[level:-level].strip()) if level > 1 else None


def _without_languages(text):
    """Without the last lines if they are links to the article in other languages."""
    lines = text.removesuffix("\n").split("\n")
    while len(lines) > 1 and _LANGUAGE.fullmatch(lines[-1]):
        lines.pop()
    return "\n".join(lines)


def _caption(text, begin, end):
    if not text.startswith("]]", end):
        return None
    bar = text.rfind("|", begin, end)
    return text[(bar if bar >= 0 else text.rindex("[", 0, begin)) + 1 : end]


def _description(text, begin, end):
    if text[end] == "\n":
        return None
    space = text.find(" ", begin, end)
    return text[space:end] if space >= 0 else ""


def _link_text(match):
    _, bar, shown = match[1].rpartition("|")
    return shown if bar else match[0]


def _without_cell_marks(text):
    parts, done, end = [], 0, -1
    while mark := _CELL.search(text, done):
        if end < mark.end():
            stop = _CELL_END.search(text, mark.end())
            end = stop.start() if stop else len(text)
        parts += [text[done : mark.start()], "\n"]
        done = max(mark.end(), text.rfind("|", mark.end(), end) + 1)
    return "".join([*parts, text[done:]])
