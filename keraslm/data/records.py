"""The documents of one file: lines of JSON, columns of a table, articles of a MediaWiki dump."""

import csv
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from keraslm import _compressed
from keraslm.data.cleaning import clean_wikitext
from keraslm.data.decoding import decode, split

JSON = (".jsonl", ".json", ".ndjson")
TABLES = {".csv": ",", ".tsv": "\t"}


def documents(file: Path, field: str, encoding: str, separator: str | None) -> Iterator[str]:
    """The documents of a file of any kind, told from its name."""
    kind = suffix(_compressed.plain_name(file))
    with _compressed.opened(file) as stream:
        if kind.startswith(".xml"):
            yield from _articles(stream, file)
            return
        chunks = decode(stream, file, encoding)
        if kind in TABLES:
            yield from _column(split(chunks, "\n"), file, field, TABLES[kind])
        elif kind in JSON:
            yield from _objects(split(chunks, "\n"), file, field)
        else:
            yield from split(chunks, separator)


def suffix(name: str) -> str:
    """Lower-case suffix under the compression: ``.jsonl`` of ``a.jsonl.gz``."""
    path = Path(name.lower())
    return Path(path.stem).suffix if path.suffix in _compressed.KINDS else path.suffix


def is_lines(file: Path) -> bool:
    """Whether a file is plain text, whose lines can be read without its documents."""
    kind = suffix(_compressed.plain_name(file))
    return not kind.startswith(".xml") and kind not in (*JSON, *TABLES)


# === JSON ===


def _objects(lines, file, field):
    """The field of each object: one a line, or a list of them, or one over several lines."""
    lines = iter(lines)
    begin, first = next(((n, line) for n, line in enumerate(lines, 1) if line.strip()), (1, ""))
    whole = first.lstrip().startswith("[")
    if not whole and suffix(_compressed.plain_name(file)) == ".json":
        whole = first.strip() == "{" or _is_begun(first)
    if whole:
        value = _parsed("\n".join([first, *lines]), f"{file}, line {begin}", field)
        for number, record in enumerate(value if isinstance(value, list) else [value], 1):
            where = f"{file}, object {number}" if isinstance(value, list) else str(file)
            yield _text(record, where, field)
        return
    for number, line in enumerate(itertools.chain([first], lines), begin):
        if line.strip():
            where = f"{file}, line {number}"
            yield _text(_parsed(line, where, field), where, field)


def _is_begun(line):
    """Whether a line is the beginning of a value that goes on in the next ones."""
    try:
        json.loads(line)
    except json.JSONDecodeError as error:
        return error.pos >= len(line.rstrip())
    except (ValueError, RecursionError):
        return False
    return False


def _parsed(text, where, field):
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{where} is not JSON ({error.msg}). Each line must be one object such as"
            f' {{"{field}": "…"}}, or the file one list of them.'
        ) from error
    except RecursionError as error:
        raise ValueError(f"{where} is nested too deeply to be read.") from error
    except ValueError as error:  # a number of thousands of digits
        raise ValueError(f"{where} cannot be read: {error}.") from error


def _text(record: Any, where: str, field: str) -> str:
    if not isinstance(record, dict):
        raise ValueError(f"{where} is not a JSON object; received {type(record).__name__}.")
    if field not in record:
        raise ValueError(
            f"{where} has no field {field!r}; it has {sorted(record)}. Name the one with the"
            " text: field=, or --field."
        )
    if not isinstance(record[field], str):
        raise ValueError(
            f"{where}: field {field!r} must hold a string; received {type(record[field]).__name__}."
        )
    # JSON can spell half a character ("\ud83d"), which is in no text.
    return re.sub("[\ud800-\udfff]", "\ufffd", record[field])


# === Tables ===


def _column(lines: Iterable[str], file: Path, field: str, delimiter: str) -> Iterator[str]:
    csv.field_size_limit(max(csv.field_size_limit(), 1 << 30))  # a field is a whole document
    rows = csv.reader((f"{line}\n" for line in lines), delimiter=delimiter, strict=True)
    begin = 1
    try:
        header = next((row for row in rows if row), [])
        if field not in header:
            raise ValueError(
                f"{file} has no column {field!r}; its first line has {header}. Name the one with "
                "the text: field=, or --field."
            )
        place = header.index(field)
        begin = rows.line_num + 1
        for row in rows:
            if row and len(row) != len(header):
                raise ValueError(
                    f"{file}, line {begin} has {len(row)} columns, the first line {len(header)}. "
                    'Write texts with commas or line breaks in quotation marks: "a, b".'
                )
            if row:
                yield row[place].removesuffix("\n")
            begin = rows.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f"{file}, line {begin} begins no row of a table ({error}). Fields with quotation "
            'marks are written "so ""quoted"" here".'
        ) from error


# === MediaWiki ===


def _articles(stream: BinaryIO, file: Path) -> Iterator[str]:
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
    except _compressed.BAD:
        raise
    except (ParseError, ValueError, AttributeError, StopIteration) as error:
        raise ValueError(
            f"{file} is not a readable MediaWiki dump ({error}). Give a pages-articles dump."
        ) from error
