"""Cleaning: any text made uniform, and MediaWiki markup turned into prose."""

import re
import unicodedata

from keraslm._text import checked_str
from keraslm.data.markup import cut, cut_tables, cut_templates, heading, plain

# === Any text ===

_NEWLINE = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
# C0 and C1 controls except tab and newline, DEL, soft hyphen, zero-width space, byte order mark.
# Joiners (U+200C, U+200D) stay: Persian, Indic scripts and emoji are spelled with them.
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\xad\u200b\ufeff\ud800-\udfff]")
_BLANKS = re.compile("[ \t\xa0\u1680\u2000-\u200a\u202f\u205f\u3000]+")


def clean_text(text: str) -> str:
    r"""Make a text uniform without changing its words.

    Unicode NFC; ``\n`` as the one newline; control characters and lone surrogates dropped; runs of
    blanks become one space, none at the ends of lines; at most one empty line in a row.

    Args:
        text: any text.

    Returns:
        the cleaned text, possibly empty.

    Raises:
        ValueError: ``text`` is no str.

    Example:
        >>> clean_text("one \t two\r\n\r\n\r\n\r\nthree\x00 ")
        'one two\n\nthree'
    """
    text = unicodedata.normalize("NFC", checked_str(text))
    text = _CONTROL.sub("", _NEWLINE.sub("\n", text))
    text = _BLANKS.sub(" ", text)
    text = re.sub(" ?\n ?", "\n", text)
    return re.sub("\n{3,}", "\n\n", text).strip()


# === MediaWiki markup ===

# Sections at the end of an article that are lists of works and links, not prose.
_BACK_MATTER = frozenset(
    [
        "see also",
        "references",
        "external links",
        "further reading",
        "notes",
        "footnotes",
        "citations",
        "sources",
        "bibliography",
        "notes and references",
        "references and notes",
        "works cited",
        "general references",
        "gallery",
        "参见",
        "參見",
        "参考文献",
        "参考资料",
        "參考資料",
        "參考文獻",
        "外部链接",
        "外部連結",
        "注释",
        "註釋",
        "延伸阅读",
        "延伸閱讀",
    ]
)

# Templates whose text belongs to the sentence; filter_wiki would leave a hole: "walked  from the".
_TEMPLATE = re.compile(
    r"\{\{\s*(lang|transl|nowrap|nihongo|small|smaller|quote|convert|cvt|chem|as of)"
    r"(?:-[a-z]+)?\s*\|([^{}]*)\}\}",
    re.IGNORECASE,
)
_BRACKETED = r"(?:[^\[\]]|\[\[[^\[\]]*\]\]|\[[^\[\]]*\])*"
_IMAGE = re.compile(
    rf"\[\[\s*(?:file|image|media|文件|档案|檔案|图像|圖像)\s*:{_BRACKETED}\]\]", re.IGNORECASE
)
_COMMENT = re.compile("<!--"), re.compile("-->")
_BLOCKS = [
    (re.compile(rf"<{tag}\b[^<>/]*>", re.IGNORECASE), re.compile(rf"</{tag}\s*>", re.IGNORECASE))
    for tag in ("gallery", "timeline", "imagemap", "score", "ref")
]
_MATH = re.compile(r"<math\b[^<>]*>", re.IGNORECASE), re.compile("</math>", re.IGNORECASE)
_MATH_TEMPLATE = re.compile(r"\{\{\s*math\s*\|([^{}]*)\}\}", re.IGNORECASE)
# Private-use characters, which the steps leave alone.
_LESS, _FORMULA = "\ue000", "\ue001"

# At the end, in this order.
_LEFTOVERS = [
    (re.compile("'{2,}"), ""),  # bold and italic marks
    (re.compile(r"__[A-Z]+__"), ""),  # __TOC__
    (re.compile(r"^-{4,}$", re.MULTILINE), ""),  # a line across the page
    (re.compile(r"https?://\S+"), ""),
    (re.compile(r"^[*#:; \t\xa0]+", re.MULTILINE), ""),  # list and indentation marks, lone ones too
    (re.compile(r"^(?:category|file|image):.*$", re.I | re.MULTILINE), ""),
    (re.compile(r"^[|!{}+].*$|^.*\|thumb\b.*$", re.MULTILINE), ""),  # scraps of tables, images
    # "Achilles (; , ''Akhilleus'', )": holes left by pronunciations.
    (re.compile(r"(?<=\()[ \xa0,;:]+"), ""),
    (re.compile(r"(?<![ \xa0,;:])[ \xa0,;:]++(?=\))"), ""),
    (re.compile(r"(?:(?<![ \xa0])[ \xa0]++)?\(\)"), ""),
    (re.compile(r"(?<![ \xa0,;:])[ \xa0,;:]+(?=[,;.](?:\s|$))"), ""),
    (re.compile(r"^[,;.) \t\xa0]+", re.MULTILINE), ""),  # the line began with something removed
]


def clean_wikitext(markup: str) -> str:
    """Turn the MediaWiki markup of an article into prose.

    What gensim's ``filter_wiki`` does, in linear time, is most of it. Before it: tables, image
    captions, galleries and footnotes are cut out and a few templates (measures, foreign words)
    replaced by their text; a paragraph with a formula that has no plain spelling is dropped, as
    sentences with holes teach a model nonsense. After it: list marks, bold marks and empty
    parentheses go, headings become plain lines, and sections without prose (References, See also …
    or empty ones) are dropped.

    Args:
        markup: the source of an article, or what ``filter_wiki`` made of it.

    Returns:
        the prose, paragraphs separated by newlines; empty for a redirect.

    Raises:
        ValueError: ``markup`` is no str.

    Example:
        >>> clean_wikitext("'''Ada''' (; [[Greek language|Greek]]: ) is a name.\\n==Notes==\\n* x")
        'Ada (Greek) is a name.'
    """

    markup = re.sub(f"[{_LESS}{_FORMULA}]", "", checked_str(markup, "markup"))
    if re.match(r"\s*#\s*(?:redirect|重定向)\s*:?\s*\[\[", markup, re.IGNORECASE):
        return ""
    # "p &lt; 0.05" and "a < b" are no tags: filter_wiki would eat the text up to the next ">".
    text = re.sub(r"&lt;|<(?![a-zA-Z/!])", _LESS, markup)
    text = cut(text, *_COMMENT)
    text = re.sub(r"<ref\b[^<>]*/>", "", text, flags=re.IGNORECASE)
    for block in _BLOCKS:
        text = cut(text, *block)
    text = re.sub(r"<br\s*/?>", "\n", text, flags=re.IGNORECASE)
    text = cut(text, *_MATH, lambda text, begin, end: _formula(text[begin:end]))
    text = _MATH_TEMPLATE.sub(lambda match: _formula(match[1]), text)
    text = _TEMPLATE.sub(_template, text)
    text = plain(_IMAGE.sub("", cut_tables(cut_templates(text))))
    # Lines with an ISBN are entries of a book list.
    lines = text.split("\n")
    text = "\n".join(line for line in lines if _FORMULA not in line and "ISBN" not in line)
    text = _prose_sections(text)
    for pattern, replacement in _LEFTOVERS:
        text = pattern.sub(replacement, text)
    return clean_text(text.replace(_LESS, "<"))


def _formula(source):
    """A formula in plain characters (``x``, ``n + 1``) stays; TeX marks its line for removal."""
    source = source.strip()
    return source if re.fullmatch(r"[\w\s+\-=().,/<>]{1,20}", source) else _FORMULA


def _template(match):
    name = match[1].lower()
    values = [value.strip() for value in match[2].split("|") if "=" not in value]
    if not values:
        return ""
    if name in ("lang", "transl"):  # {{lang|grc|ἀρχός}}, {{lang-el|Αχιλλεύς}}
        return values[-1]
    if name in ("convert", "cvt"):  # {{convert|93|km|mi}}, {{convert|4|to|5|m}}
        between = values[1:2] and values[1] in ("to", "and", "or", "by", "x", "-", "–")
        return " ".join(values[: 4 if between else 2])
    if name == "chem":  # {{chem|H|2|O}}
        return "".join(values)
    return f"As of {values[0]}" if name == "as of" else values[0]


def _prose_sections(text):
    """Drop back matter and sections without text; headings become lines of their own."""
    kept: list[str] = []
    waiting: list[tuple[int, str]] = []  # headings that no text has followed yet
    skipping = 0
    for line in text.split("\n"):
        found = heading(line)
        if found:
            level, title = found
            if skipping and level > skipping:
                continue
            skipping = level if title.strip("' ").lower() in _BACK_MATTER else 0
            waiting = [(above, name) for above, name in waiting if above < level]
            if not skipping:
                waiting.append((level, title))
        elif not skipping and line.strip(" *#:;\t\xa0"):
            kept.extend(f"\n{name}\n" for _, name in waiting)
            waiting = []
            kept.append(line)
        elif not skipping:
            kept.append("")
    return "\n".join(kept)
