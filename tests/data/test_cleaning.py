"""Cleaning: rules one by one, and what they make of real articles."""

import bz2
import re
import signal
import unicodedata

import pytest
from gensim.corpora import wikicorpus

from keraslm.data import clean_text, clean_wikitext, wikipedia_sample
from keraslm.data.markup import heading, plain


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("e\u0301", "é"),
        ("a\r\nb\rc\u2028d\x0ce", "a\nb\nc\nd\ne"),
        ("a\x00b\x1b\x7f\x85c\ufeff\xadd", "ab\ncd"),
        ("a \t\xa0\u3000b", "a b"),
        ("a  \n\t b", "a\nb"),
        ("a\n\n\nb\n \n \nc\n\nd", "a\n\nb\n\nc\n\nd"),
        ("  a\n", "a"),
        ("half \ud83d", "half"),
        ("👩\u200d👩 می\u200cخواهم", "👩\u200d👩 می\u200cخواهم"),
        ("", ""),
    ],
)
def test_clean_text(text, cleaned):
    assert clean_text(text) == cleaned


@pytest.mark.parametrize(
    ("markup", "cleaned"),
    [
        ("'''Bold''' and ''italic'' [[page|link]]s.", "Bold and italic links."),
        ("It is {{convert|93|km|mi|abbr=on}} long.", "It is 93 km long."),
        ("From {{convert|4|to|5|m|ft}} up.", "From 4 to 5 m up."),
        ("Greek {{lang|grc|ἀρχός}} and {{lang-el|ναι}}.", "Greek ἀρχός and ναι."),
        ("{{As of|2010}}, it holds; {{chem|H|2|O}} too.", "As of 2010, it holds; H2O too."),
        (
            "'''Achilles''' ({{IPA|x}}; {{x}}, ''Akhilleus'', {{y}}) was.",
            "Achilles (Akhilleus) was.",
        ),
        ("Nothing ({{IPA|x}}, {{y}}) here , or there{{fact}} .", "Nothing here, or there."),
        ("* one\n** two\n*\n:: three\n# four", "one\ntwo\n\nthree\nfour"),
        ("Before.\n{| class=x\n|-\n| cell || {|\n| in\n|}\n|}\nAfter.", "Before.\n\nAfter."),
        ("A.[[File:x.jpg|thumb|Of [[this|that]] and [http://x y].]] B.", "A. B."),
        ("A.<gallery>\nx.jpg|one\n</gallery>B.", "A.B."),
        ('A.<ref name="x">See <br /> B.</ref> C.<ref name=y /> D.<ref name=z>E</ref>', "A. C. D."),
        ("If a < b and p &lt; 0.05 or c > d, so.", "If a < b and p < 0.05 or c > d, so."),
        ("Let <math>x = 1</math> be.", "Let x = 1 be."),
        ("Kept.\nLet <math>\\frac{x}{2}</math> be.\nKept.", "Kept.\nKept."),
        ("one<br/>two", "one\ntwo"),
        ("A.\n[[Category:Things]]\n__TOC__", "A."),
        ("* A book, ISBN 0-14-022697-4.\nA.", "A."),
        ("#REDIRECT [[Other]]", ""),
        ("# Redirecting traffic is one item.", "Redirecting traffic is one item."),
        ("One.\n\nThe set {{ of {{x}} is open.\n\nTwo.", "One.\n\nThe set of is open.\n\nTwo."),
        ("a \ue000 b \ue001 c\n----\nd", "a b c\n\nd"),
        ("", ""),
    ],
)
def test_clean_wikitext(markup, cleaned):
    assert clean_wikitext(markup) == cleaned


def test_sections():
    markup = """Intro.
== Empty ==
== History ==
=== Early ===
Long ago.
== See also ==
* [[Link]]
=== Below it ===
* More
== Late ==
Now.
==''References''==
Gone."""
    expected = "Intro.\n\nHistory\n\nEarly\n\nLong ago.\n\nLate\n\nNow."
    assert clean_wikitext(markup) == expected


def test_real_articles_are_prose(articles):
    text = "\n".join(articles)
    # Markup that is nowhere legitimate in these articles.
    for markup in ("'''", "[[", "]]", "{{", "}}", "{|", "|}", "thumb|", "<ref", "&nbsp;", "()"):
        assert markup not in text, markup
    for pattern in (
        r"^[*#:;|!]",
        r"^=+",
        r"\([ ,;]",
        r"[ ,;]\)",
        r" ,\s",
        "  ",
        "\n{3}",
        r"\d+px\b",
    ):
        found = re.search(pattern, text, re.MULTILINE)
        assert not found, (pattern, text[found.start() - 40 : found.end() + 40])
    headings = set(text.split("\n"))
    assert "Etymology" in headings
    assert headings.isdisjoint({"References", "See also", "External links", "Further reading"})
    assert unicodedata.is_normalized("NFC", text)


def test_real_articles_keep_their_sentences(articles):
    achilles = next(text for text in articles if "Trojan War and the central" in text)
    assert achilles.startswith(
        "In Greek mythology, Achilles (Ἀχιλλεύς, Akhilleus) was a Greek hero"
    )
    long_lines = sum(len(line) for text in articles for line in text.split("\n") if len(line) > 80)
    assert long_lines > 0.85 * sum(map(len, articles))  # sentences, not scraps


def test_cleaning_twice_changes_nothing(articles):
    assert all(clean_text(text) == text for text in articles[:20])


@pytest.mark.parametrize("value", [None, 5, b"x", ["x"], {"x": 1}], ids=str)
def test_what_is_no_text(value):
    with pytest.raises(ValueError, match=f"text must be str; received {type(value).__name__}"):
        clean_text(value)
    with pytest.raises(ValueError, match=f"markup must be str; received {type(value).__name__}"):
        clean_wikitext(value)


def test_real_markup_is_what_gensim_makes_of_it():
    with bz2.open(wikipedia_sample()) as stream:
        pages = [page for _, page, _ in wikicorpus.extract_pages(stream)]
    assert len(pages) == 206
    for page in pages:
        assert plain(page) == wikicorpus.filter_wiki(page)


@pytest.mark.parametrize(
    ("line", "is_heading"),
    [("== a ==", (2, "a")), (" === a == ", (2, "= a")), ("======", (3, "")), ("=a=", None),
     ("========", (4, "")), ("======= a =======", (6, "= a =")), ("a", None)],
)  # fmt: skip
def test_headings(line, is_heading):
    assert heading(line) == is_heading


BROKEN = ["<ref>", "<!--", "<math>", "<gallery>", "</ref ", "[http://a ", "[[File:a|", "[[File:",
          "[[image x] ", "{{a|", "{{lang|", "&", "<", " ", ", ", "=", "= a ", "{|\n", "\n{|\n|}",
          "|", "  !", "\n[[aa:x]]", "[", "(", "''", "\n[[aa:x]]\n{|"]  # fmt: skip


@pytest.mark.parametrize("unit", BROKEN, ids=repr)
def test_markup_that_is_never_closed_takes_no_time(unit):
    """Each took minutes where the time was not linear; one that hangs ends the run."""

    def late(*_):
        raise TimeoutError(f"{unit!r}")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(10)
    try:
        clean_wikitext(unit * (200_000 // len(unit)))
        clean_wikitext(unit * (100_000 // len(unit)) + "|-]]-->}}</ref>|}" + "text " * 9)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
