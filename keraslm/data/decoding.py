"""From bytes to text: encodings, byte order marks, newlines, and what else a file may be."""

import codecs
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

CHUNK = 1 << 20  # bytes

MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
         codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}  # fmt: skip
# First bytes of the characters in daily use, level 1 of each set; the second is 0xA1 or more in GB.
DAILY = {"gb18030": (range(0xB0, 0xD8), 0xA1), "big5": (range(0xA4, 0xC7), 0x40)}


def decode(stream: BinaryIO, file: Path, encoding: str) -> Iterator[str]:
    r"""Decoded chunks of a file, newlines as ``\n``; errors name the byte position.

    A file with the byte order mark of UTF-8 is UTF-8; one that is to be UTF-8 and has the mark of
    UTF-16 or UTF-32 is read as that.
    """
    position, seen = 0, ""
    decoder = None
    chunks = _chunks(stream)
    try:
        for chunk in chunks:
            if decoder is None:
                while len(chunk) < 4 and (more := stream.read(4 - len(chunk))):
                    chunk += more  # a byte order mark is up to four bytes long
                encoding = _stated(chunk, encoding)
                wide = codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))
                decoder = io.IncrementalNewlineDecoder(
                    codecs.getincrementaldecoder(encoding)(), translate=True
                )
            if not wide and b"\0" in chunk:  # in wide encodings zero bytes are normal
                raise ValueError(_binary(file, chunk, position))
            position += len(chunk)
            text = decoder.decode(chunk)
            if text:
                yield text if seen else text.removeprefix("\ufeff")
                seen = text if not seen or seen.isascii() else seen
        if decoder is not None:
            yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        # error.object is the chunk after the bytes kept back from the one before.
        bad = position - len(error.object) + error.start
        before = seen + error.object[: error.start].decode(encoding, "replace")
        raise ValueError(
            f"{file} is not {encoding} text: {error.reason} at byte position {bad}. "
            f"{_cure(encoding, error.object[error.start :], before)}"
        ) from error


def split(chunks: Iterable[str], separator: str | None) -> Iterator[str]:
    """Documents of a stream of text; holds no more than a chunk and one document."""
    if separator is not None:  # as the newlines of the text were read
        separator = separator.replace("\r\n", "\n").replace("\r", "\n")
    if separator is None:
        yield "".join(chunks)
    elif separator == "\n\n":
        yield from _paragraphs(chunks)
    else:
        yield from _split(chunks, separator)


def _split(chunks, separator):
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


def _paragraphs(chunks):
    """Lines up to an empty one; one of blanks looks empty, and is."""
    lines: list[str] = []
    for line in _split(chunks, "\n"):
        if line.strip():
            lines.append(line)
        elif lines:
            yield "\n".join(lines)
            lines.clear()
    yield "\n".join(lines)


def _chunks(stream):
    while chunk := stream.read(CHUNK):
        yield chunk


def _stated(chunk, encoding):
    if chunk.startswith(codecs.BOM_UTF8):
        return "utf-8"
    if codecs.lookup(encoding).name not in ("utf-8", "utf-8-sig"):
        return encoding
    return next((name for mark, name in MARKS.items() if chunk.startswith(mark)), encoding)


def _binary(file, chunk, position):
    """What to do with a file that has zero bytes."""
    if position == 0 and chunk.startswith(b"PAR1"):
        return f"{file} is a Parquet file. Write its texts to a .jsonl file, an object a line."
    if position == 0 and chunk.startswith(b"%PDF"):
        return f"{file} is a PDF. Extract its text, for example with pdftotext."
    if position == 0 and chunk[257:262] == b"ustar":
        return f"{file} is a .tar archive. Unpack it, and give the folder."
    if position == 0 and (wide := _wide_encoding(chunk[:2000])):
        return f"{file} is not utf-8 text. It looks like encoding={wide!r}."
    return (
        f"{file} is a binary file: zero byte at position {position + chunk.index(0)}. Give text "
        "files, or the right encoding=."
    )


def _wide_encoding(sample):
    """UTF-16, in the order of bytes that gives letters; ``None``: neither does."""
    for name, zeros in (("utf-16-le", sample[1::2]), ("utf-16-be", sample[::2])):
        if zeros.count(0) > 0.7 * len(zeros) and len(sample) > 2:
            return name  # a text in Latin letters
    for name in ("utf-16-le", "utf-16-be"):
        text = codecs.getincrementaldecoder(name)("replace").decode(sample)
        if _daily(text.encode("gb18030", "replace"), "gb18030") > 0.5:
            return name
    return None


def _cure(encoding, sample, before):
    if codecs.lookup(encoding).name == "utf-8" and not before.isascii():
        return (
            "The text before it is utf-8, so the file is damaged there. Drop what is broken, for "
            "example with 'iconv -c -f utf-8 -t utf-8'."
        )
    shares = {name: _daily(sample[:2000], name) for name in DAILY}
    best, other = sorted(shares, key=lambda name: -shares[name])
    if shares[best] > 0.5:
        return (
            f"It looks like Chinese in {best} (or {other}): give encoding={best!r}, or --encoding "
            f"{best}."
        )
    return (
        "Give its encoding, encoding= or --encoding: Chinese text is often 'gb18030' or 'big5', "
        "that of Western Europe 'cp1252'."
    )


def _daily(sample, encoding):
    """Share of Chinese characters in daily use among those that are not ASCII."""
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(sample)
    except UnicodeDecodeError:
        return 0.0
    first, least = DAILY[encoding]
    wide = [pair for c in text if not c.isascii() and len(pair := c.encode(encoding)) == 2]
    daily = sum(pair[0] in first and pair[1] >= least for pair in wide)
    return daily / len(wide) if wide else 0.0
