"""Readers: documents from lists, files, folders, globs, JSON lines, archives, Wikipedia dumps."""

import bz2
import codecs
import glob
import gzip
import io
import json
import lzma
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from keraslm._text import checked_str, each_str
from keraslm._types import StrPath
from keraslm.data.cleaning import clean_wikitext

COMPRESSED: dict[str, Callable] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
JSON_LINES = (".jsonl", ".json", ".ndjson")
# What is read in a folder, compressed or not; MediaWiki's ".xml", ".xml-p1p41242" besides.
TEXT_SUFFIXES = (".txt", ".text", ".md", ".rst", ".tokens", *JSON_LINES)

CHUNK = 1 << 20  # bytes
BAD_ARCHIVE = (EOFError, OSError, zlib.error, lzma.LZMAError)


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
            * ``.jsonl``, ``.json``, ``.ndjson``: one JSON object a line, the text in ``field``;
            * ``.xml``: a MediaWiki dump; its articles (no redirects, no talk pages) through
              `clean_wikitext`;
            * any of these files compressed: ``.gz``, ``.bz2``, ``.xz``;
            * a folder: the files above below it, sorted, hidden ones left out (text files are
              ``.txt .text .md .rst .tokens``);
            * a glob such as ``"corpus/**/*.txt"``: all files it matches, sorted.
        field: key of the text in JSON lines.
        encoding: of the text and JSON files. A byte order mark is dropped; ``\r\n`` becomes ``\n``.
        separator: splits text files in documents: ``"\n"`` (a line each), ``"\n\n"`` (a paragraph).

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
        documents = (text for file in files for text in _read(file, field, encoding, separator))
        return _not_blank(documents, _short(os.fspath(source)))
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
    for file in _files(os.fspath(source)):
        suffix = _suffix(file.name)
        if suffix.startswith(".xml") or suffix in JSON_LINES:
            yield from gathered(_read(file, field, encoding, None))
            continue
        rest = ""
        with _open(file) as stream:
            for chunk in _decode(stream, file, encoding):
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
    if os.path.isdir(source):
        files = sorted(_below(Path(source)))
        if not files:
            raise ValueError(
                f"Folder {_short(source)} holds no text: no {' '.join(TEXT_SUFFIXES)} or .xml file."
                " Use a glob for files with other names."
            )
        return files
    if os.path.exists(source):
        return [Path(source)]
    if not any(sign in source for sign in "*?["):
        raise FileNotFoundError(
            f"No file or folder {_short(source)}. Give an existing path; for a text itself, a list:"
            " [text]."
        )
    files = sorted(Path(name) for name in glob.glob(source, recursive=True) if os.path.isfile(name))
    if not files:
        raise FileNotFoundError(
            f"No file matches {_short(source)}. Check the pattern and the folder it starts from"
            f" ({os.getcwd()})."
        )
    return files


def _below(folder):
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            suffix = _suffix(name)
            if not name.startswith(".") and (suffix in TEXT_SUFFIXES or suffix.startswith(".xml")):
                yield Path(parent, name)


def _suffix(name):
    """Lower-case suffix under the compression: ``.jsonl`` of ``a.jsonl.gz``."""
    path = Path(str(name).lower())
    return Path(path.stem).suffix if path.suffix in COMPRESSED else path.suffix


# === Their documents ===


def _read(file, field, encoding, separator):
    suffix = _suffix(file.name)
    with _open(file) as stream:
        if suffix.startswith(".xml"):
            yield from _articles(stream, file)
        elif suffix in JSON_LINES:
            yield from _fields(_split(_decode(stream, file, encoding), "\n"), file, field)
        else:
            yield from _split(_decode(stream, file, encoding), separator)


def _open(file):
    return COMPRESSED.get(file.suffix.lower(), open)(file, "rb")


def _chunks(stream, file):
    while True:
        try:
            chunk = stream.read(CHUNK)
        except BAD_ARCHIVE as error:
            if file.suffix.lower() not in COMPRESSED:
                raise
            raise ValueError(_damaged(file, error)) from error
        if not chunk:
            return
        yield chunk


def _decode(stream, file, encoding):
    r"""Decoded chunks of a file, newlines as ``\n``; errors name the byte position."""
    wide = codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))  # zero bytes are normal
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)(), translate=True)
    position, first = 0, True
    try:
        for chunk in _chunks(stream, file):
            # UTF-16 read as UTF-8 is better told as a wrong encoding.
            if not wide and b"\0" in chunk and not chunk.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise ValueError(
                    f"{file} is a binary file: zero byte at position"
                    f" {position + chunk.index(0)}. Give text files, or the right encoding=."
                )
            position += len(chunk)
            text = decoder.decode(chunk)
            if text:
                yield text.removeprefix("\ufeff") if first else text
                first = False
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        # error.object is the chunk after the bytes kept back from the one before.
        bad = position - len(error.object) + error.start
        raise ValueError(
            f"{file} is not {encoding} text: {error.reason} at byte position {bad}. Give its"
            " encoding, for example encoding='latin-1' or encoding='utf-16'."
        ) from error


def _split(chunks, separator):
    """Documents of a stream of text; holds no more than a chunk and one document."""
    if separator is None:
        yield "".join(chunks)
        return
    pieces: list[str] = []  # of the document that has not ended
    tail = ""  # which may begin a separator
    for chunk in chunks:
        *ended, rest = (tail + chunk).split(separator)
        for part in ended:
            yield "".join([*pieces, part])
            pieces.clear()
        cut = max(0, len(rest) - len(separator) + 1)
        pieces.append(rest[:cut])
        tail = rest[cut:]
    yield "".join([*pieces, tail])


def _fields(lines, file, field):
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{file}, line {number}"
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{where} is not JSON ({error.msg}). Each line must be one object such as"
                f' {{"{field}": "…"}}.'
            ) from error
        if not isinstance(record, dict):
            raise ValueError(f"{where} is not a JSON object; received {type(record).__name__}.")
        if field not in record:
            raise ValueError(
                f"{where} has no field {field!r}; it has {sorted(record)}. Name the one with the"
                " text: field=."
            )
        if not isinstance(record[field], str):
            raise ValueError(
                f"{where}: field {field!r} must hold a string; received"
                f" {type(record[field]).__name__}."
            )
        # JSON can spell half a character ("\ud83d"), which is in no text.
        yield re.sub("[\ud800-\udfff]", "\ufffd", record[field])


def _articles(stream, file):
    """Articles of a MediaWiki dump: namespace 0, no redirects."""
    from xml.etree.ElementTree import ParseError

    from gensim.corpora import wikicorpus

    def is_article(elem, *, namespace, ns_path, **_):
        number = elem.find(ns_path)  # absent in old dumps
        redirect = elem.find(f"{{{namespace}}}redirect")
        return redirect is None and (number is None or number.text == "0")

    try:
        for _, markup, _ in wikicorpus.extract_pages(stream, filter_articles=is_article):
            if markup:
                yield clean_wikitext(markup)
    except BAD_ARCHIVE as error:
        if file.suffix.lower() not in COMPRESSED:
            raise
        raise ValueError(_damaged(file, error)) from error
    except (ParseError, ValueError, AttributeError, StopIteration) as error:
        raise ValueError(
            f"{file} is not a readable MediaWiki dump ({error}). Give a pages-articles dump."
        ) from error


# === Small parts ===


def _damaged(file, error):
    return f"{file} is a damaged {file.suffix} archive ({error}). Fetch or compress it again."


def _short(source):
    return repr(source if len(source) <= 100 else source[:97] + "...")


def _check_settings(field, encoding, separator):
    checked_str(field, "field")
    if separator is not None and not checked_str(separator, "separator"):
        raise ValueError("separator must not be empty; use None for one document a file.")
    try:
        codecs.lookup(checked_str(encoding, "encoding"))
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
