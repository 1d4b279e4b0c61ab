"""Readers: documents from lists, files, folders, globs, tables, archives, Wikipedia dumps."""

import glob
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from keraslm import _compressed
from keraslm._text import checked_str, each_str
from keraslm._types import StrPath
from keraslm.data.decoding import CHUNK, decode
from keraslm.data.records import JSON, TABLES, documents, is_lines, suffix

# What is read in a folder, compressed or not; MediaWiki's ".xml", ".xml-p1p41242" besides.
TEXT_SUFFIXES = (".txt", ".text", ".md", ".rst", ".tokens", *JSON)


def read_texts(
    source: StrPath | Iterable[str],
    *,
    field: str = "text",
    encoding: str = "utf-8",
    separator: str | None = None,
) -> Iterator[str]:
    r"""Documents, one string each, read in a stream.

    Args:
        source: one of

            * strings: a list or any iterable of documents;
            * a text file: one document, or several with ``separator``;
            * ``.jsonl``, ``.json``, ``.ndjson``: JSON objects, one a line or in one list, the text
              in ``field``;
            * ``.csv``, ``.tsv``: a table whose first line names the columns, the text in ``field``;
            * ``.xml``: a MediaWiki dump; its articles (no redirects, no talk pages) through
              `clean_wikitext`;
            * any of these files compressed: ``.gz``, ``.bz2``, ``.xz``, ``.zip``;
            * a folder, or a ``.zip`` of several files: the files above below it, sorted, without
              hidden ones and tables (text files are ``.txt .text .md .rst .tokens``);
            * a glob such as ``"corpus/**/*.txt"``: all files it matches, sorted.
        field: key of the text in JSON objects, column of it in tables.
        encoding: of all but dumps. A byte order mark is dropped (that of UTF-16 or UTF-32 counts,
            where UTF-8 is expected); ``\r\n`` becomes ``\n``.
        separator: splits text files in documents: ``"\n"`` (a line each), ``"\n\n"`` (a paragraph:
            lines of blanks count as empty).

    Returns:
        an iterator; blank documents are left out.

    Raises:
        FileNotFoundError: no such path, or a glob that matches nothing (at once).
        ValueError: no text at all, a binary file, the wrong encoding, a damaged archive, a broken
            JSON line or dump (when the iterator meets it).

    Example:
        >>> list(read_texts(["one document", "another"]))
        ['one document', 'another']
    """
    _check_settings(field, encoding, separator)
    if isinstance(source, (str, os.PathLike)):
        files = _files(os.fspath(source))
        texts = (text for file in files for text in documents(file, field, encoding, separator))
        return _not_blank(texts, _short(os.fspath(source)))
    if isinstance(source, (bytes, Mapping)) or not isinstance(source, Iterable):
        raise ValueError(
            f"source must be a path or an iterable of str; received {type(source).__name__}."
        )
    return _not_blank(each_str(source), "the list of texts")


def read_blocks(
    source: StrPath | Iterable[str],
    *,
    field: str = "text",
    encoding: str = "utf-8",
) -> Iterator[str]:
    """The lines of all documents, in blocks of about a megabyte.

    For what looks at lines and not at documents, such as counting words: a text file of one long
    document is not held whole, and many short documents come together. Blank documents count.

    Args:
        source, field, encoding: as in `read_texts`.

    Raises:
        FileNotFoundError, ValueError: as in `read_texts`.

    Example:
        >>> list(read_blocks(["one document", "another"]))
        ['one document\\nanother']
    """
    _check_settings(field, encoding, None)
    if not isinstance(source, (str, os.PathLike)):
        yield from gathered(read_texts(source))
        return
    yield from _not_blank(_blocks(source, field, encoding), _short(os.fspath(source)))


def _blocks(source, field, encoding):
    for file in _files(os.fspath(source)):
        if not is_lines(file):
            yield from gathered(documents(file, field, encoding, None))
            continue
        rest = ""
        with _compressed.opened(file) as stream:
            for chunk in decode(stream, file, encoding):
                lines, newline, end = chunk.rpartition("\n")
                if newline:
                    yield rest + lines
                    rest = end
                else:
                    rest += end
        if rest:
            yield rest


def gathered(texts, size=CHUNK):
    """Texts put together, a line break between them, until they have more characters than that."""
    some, total = [], 0
    for text in texts:
        some.append(text)
        total += len(text)
        if total > size:
            yield "\n".join(some)
            some, total = [], 0
    if some:
        yield "\n".join(some)


def wikipedia_sample() -> str:
    """Path of the real Wikipedia extract inside the gensim package: 106 articles.

    Example:
        >>> next(read_texts(wikipedia_sample()))[:33]
        'Anarchism is a political philosop'
    """
    from gensim.test.utils import datapath

    return datapath("enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2")


# === Which files ===


def _files(source):
    if not source:
        raise FileNotFoundError("The path of the text is empty. Give a file, folder or glob.")
    path = Path(source)
    if os.path.isdir(path):
        return _some(_below(path), source)
    if os.path.isfile(path) and _compressed.kind_of(path) == ".zip":
        inside = _compressed.members(path)
        return _some((p for p in inside if _is_text(p.name)), source) if len(inside) > 1 else [path]
    if _compressed.exists(path):
        return [path]
    if not any(sign in source for sign in "*?["):
        raise FileNotFoundError(
            f"No file or folder {_short(source)}. Give an existing path; for a text itself, a list:"
            " [text]."
        )
    found = [Path(name) for name in glob.glob(source, recursive=True) if os.path.isfile(name)]
    # Each once: a link to a folder above would give its files forty times.
    files = sorted({file.resolve(): file for file in sorted(found, reverse=True)}.values())
    if not files:
        raise FileNotFoundError(
            f"No file matches {_short(source)}. Check the pattern and the folder it starts from"
            f" ({os.getcwd()})."
        )
    return files


def _some(files, source):
    files = sorted(files)
    if not files:
        raise ValueError(
            f"{_short(source)} holds no text: no {' '.join(TEXT_SUFFIXES)} or .xml file. Use a glob"
            f" for files with other names, {' and '.join(TABLES)} among them."
        )
    return files


def _below(folder):
    for parent, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and _is_text(name):
                yield Path(parent, name)


def _refuse(error):
    raise error  # what cannot be read is not left out in silence


def _is_text(name):
    kind = suffix(name)
    return kind in TEXT_SUFFIXES or kind.startswith(".xml")


# === Small parts ===


def _short(source):
    return repr(source if len(source) <= 100 else source[:97] + "...")


def _check_settings(field, encoding, separator):
    checked_str(field, "field")
    if separator is not None and not checked_str(separator, "separator"):
        raise ValueError("separator must not be empty; use None for one document a file.")
    try:
        "a".encode(checked_str(encoding, "encoding"))  # not such as "hex", which is of no text
    except LookupError as error:
        raise ValueError(f"encoding {encoding!r} is unknown; use one such as 'utf-8'.") from error


def _not_blank(texts, source):
    found = False
    for text in texts:
        if text and not text.isspace():
            found = True
            yield text
    if not found:
        raise ValueError(f"There is no text in {source}. Give at least one document.")
