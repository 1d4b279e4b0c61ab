"""The files that others keep vectors in: word2vec, GloVe, fastText, compressed or not."""

import codecs
import collections
import gzip
import hashlib
import itertools
import math
import os
import unicodedata
from pathlib import Path

import numpy as np

from keraslm import _compressed
from keraslm._files import replaced_file
from keraslm._text import checked_count
from keraslm._types import KeyedVectors, StrPath
from keraslm.embeddings.binary import MAGIC, check_fasttext, check_word2vec
from keraslm.embeddings.storage import check_vectors, keyed, load_folder, save_vectors

FORMATS = ("folder", "word2vec", "word2vec-binary", "glove", "fasttext")
LINES = 2000  # parsed at once


def load_vectors(
    path: StrPath,
    format: str | None = None,
    *,
    limit: int | None = None,
    mmap: bool = False,
    cache: bool | StrPath = False,
) -> KeyedVectors:
    """Read word vectors, as gensim ``KeyedVectors``.

    Args:
        path: a folder from `save_vectors`; or a file, compressed or not (``.gz``, ``.bz2``,
            ``.xz``, ``.zip``). In a ``.zip`` of several: ``"glove.6B.zip/glove.6B.50d.txt"``.
        format: ``"folder"``; ``"word2vec"`` (text, the first line has the sizes; fastText's
            ``.vec`` too); ``"glove"`` (the same without that line); ``"word2vec-binary"``;
            ``"fasttext"`` (fastText's ``.bin``); ``"pickle"`` (what gensim's own ``save`` wrote:
            only from someone you trust, for a pickle may run any program). Default: told from the
            file, never a pickle.
        limit: read the first words only: the most frequent, as these files are sorted. Not of
            fastText's ``.bin`` and pickles, which are read whole.
        mmap: leave a folder's vectors on disk until they are used.
        cache: keep a fast copy of a text file in ``~/.cache/keraslm`` (or ``KERASLM_CACHE``) and
            read that from the second time on. ``True``, or a folder.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: an unknown format, a damaged file, NaN, a word twice.

    Example:
        >>> path = write_vectors(vectors, "glove.16d.txt")
        >>> len(load_vectors(path, limit=50))
        50
    """
    path = Path(path)
    if not _compressed.exists(path):
        raise FileNotFoundError(f"No file or folder {path}. Train vectors with 'keraslm embed'.")
    if limit is not None:
        limit = checked_count(limit, "limit")
    format = _format(path) if format is None else format
    if format == "folder":
        return load_folder(path, limit, mmap)
    if format in ("word2vec", "glove"):
        return _cached(path, format, limit, cache) if cache else _read_text(path, format, limit)
    if format in ("word2vec-binary", "fasttext", "pickle"):
        return _through_gensim(path, format, limit)
    raise ValueError(f"format must be one of {', '.join(FORMATS)}; received {format!r}.")


def write_vectors(vectors: KeyedVectors, path: StrPath, format: str | None = None) -> Path:
    """Write vectors for other programs.

    Args:
        vectors: ``KeyedVectors``.
        path: the file, gzipped if it ends in ``.gz``; or a folder.
        format: ``"folder"``, ``"word2vec"``, ``"word2vec-binary"``, ``"glove"``, ``"fasttext"``
            (``.bin``, of ``FastTextKeyedVectors``). Default: ``.vec`` word2vec, ``.bin`` fastText
            if they are that, else binary word2vec, ``.txt`` GloVe, without a suffix a folder.

    Returns:
        the ``Path``.

    Raises:
        ValueError: an unknown format; a word with white space, which that format cannot keep.

    Example:
        >>> write_vectors(vectors, "vectors.txt").read_text(encoding="utf-8").split()[0]
        'the'
    """
    path = Path(path)
    is_fasttext = hasattr(vectors, "vectors_ngrams")
    if format is None:
        suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
        binary = "fasttext" if is_fasttext else "word2vec-binary"
        by_suffix = {".vec": "word2vec", ".bin": binary, ".txt": "glove", "": "folder"}
        format = by_suffix.get(suffix)
    if format not in FORMATS:
        raise ValueError(
            f"format must be one of {', '.join(FORMATS)}; received {format!r} for {path.name}."
        )
    if format == "folder":
        return save_vectors(vectors, path)
    if format == "fasttext" and not is_fasttext:
        raise ValueError("These vectors have no n-grams, so there is no fastText .bin of them.")
    if format == "fasttext" and path.suffix == ".gz":
        raise ValueError(f"fastText reads no compressed file. Write {path.stem}, then compress it.")
    check_vectors(vectors.vectors, vectors.index_to_key, "The vectors")
    # GloVe's own vectors have words with spaces in them, but no other program reads them.
    bad = next((w for w in vectors.index_to_key if w.split() != [w]), None)
    if bad is not None:
        raise ValueError(f"The word {bad!r} has white space. Save the vectors to a folder.")
    with replaced_file(path) as new:
        _write(vectors, new, format, gzip.open if path.suffix == ".gz" else open)
    return path


def _write(vectors, file, format, open_file):
    if format == "fasttext":
        _write_fasttext(vectors, file)
        return
    with open_file(file, "wb") as stream:
        if format != "glove":
            stream.write(f"{len(vectors.vectors)} {vectors.vector_size}\n".encode())
        for word, row in zip(vectors.index_to_key, vectors.vectors, strict=True):
            stream.write(word.encode() + b" ")
            if format == "word2vec-binary":
                stream.write(row.astype("<f4").tobytes() + b"\n")
            else:
                # The shortest digits that give the same float32 back.
                stream.write(" ".join(map(str, row.astype("f4"))).encode() + b"\n")


def _write_fasttext(vectors, file):
    """fastText's own format keeps a whole model; the part that is not vectors is left at zero."""
    from gensim.models import FastText
    from gensim.models.fasttext import save_facebook_model

    model = FastText(
        vector_size=vectors.vector_size, min_n=vectors.min_n, max_n=vectors.max_n,
        bucket=vectors.bucket,
    )  # fmt: skip
    model.wv = vectors
    model.syn1neg = np.zeros_like(vectors.vectors)
    model.corpus_total_words = int(vectors.expandos["count"].sum())
    save_facebook_model(model, str(file))


# === Which format ===


def _format(path):
    if path.is_dir():
        return "folder"
    with _compressed.opened(path) as stream:
        head = stream.read(4096)
    if head.startswith(codecs.BOM_UTF8):
        head = head[len(codecs.BOM_UTF8) :]
    first = head.split(b"\n", 1)[0].split()
    sizes = len(first) == 2 and all(part.isdigit() for part in first)
    if head[:1] == b"\x80":
        raise ValueError(
            f"{path} is a pickle, which may run any program when it is read. If you trust where "
            "it comes from, say format='pickle'."
        )
    if int.from_bytes(head[:4], "little") == MAGIC:
        return "fasttext"
    if sizes:
        rest = head.partition(b"\n")[2]
        return "word2vec" if _is_row(rest, int(first[1])) or _is_text(rest) else "word2vec-binary"
    if _is_binary(head) or not first:
        raise ValueError(
            f"{path} holds no word vectors in a known format ({', '.join(FORMATS)}). Say which "
            "with format=."
        )
    return "glove"


def _is_row(part, width):
    """Whether bytes begin with a line that ends in so many numbers."""
    parts = part.partition(b"\n")[0].split()
    try:
        return len(parts) > width and all(map(math.isfinite, map(float, parts[-width:])))
    except ValueError:
        return False


def _is_text(part):
    """Whether bytes, the last of which may be cut off, are UTF-8 without control characters."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(part)
    except UnicodeDecodeError:
        return False
    return not any(unicodedata.category(c) == "Cc" and c not in "\t\r\n" for c in text)


def _is_binary(part):
    """Whether bytes after a header are not lines of a word and decimal numbers."""
    line = part.split(b"\n", 1)[0]
    try:
        for number in line.split(b" ")[1:-1]:  # the last may be cut off
            float(number)
    except ValueError:
        # A word of several parts, or not text at all.
        return bool(line.translate(None, bytes(range(32, 127)) + b"\t\r")) and b"\0" in part
    return b"\0" in part


# === Text ===


def _read_text(path, format, limit):
    """Lines of a word and numbers, many at a time."""
    words: list[str] = []
    tables: list[np.ndarray] = []
    declared = None
    width = 0
    with _compressed.opened(path) as stream:
        first = stream.readline().removeprefix(codecs.BOM_UTF8)
        if format == "word2vec":
            declared, width = _sizes(first, path)
            first = b""
        while limit is None or len(words) < limit:
            room = LINES if limit is None else min(LINES, limit - len(words))
            lines = [*itertools.islice(filter(bytes.strip, _after(first, stream)), room)]
            first = b""
            if not lines:
                break
            width = width or _width(lines, path)
            some, table = _parse(lines, width, path, len(words) + 1)
            words += some
            tables.append(table)
    if not words:
        raise ValueError(f"{path} holds no vectors.")
    if declared is not None and len(words) != min(declared, limit or declared):
        raise ValueError(
            f"{path} says that it has {declared:,} vectors, but {len(words):,} are there. Fetch it "
            "again."
        )
    table = np.concatenate(tables)
    check_vectors(table, words, f"The vectors of {path}")
    return keyed(words, table)


def _after(first, lines):
    """The lines, after one that was read before, if it was."""
    return itertools.chain([first], lines) if first else lines


def _sizes(line, path):
    """How many vectors of which width the first line says there are."""
    try:
        number, width = (int(n) for n in line.split())
    except ValueError:
        number = width = 0
    if number < 1 or width < 1:
        raise ValueError(
            f"{path}: the first line must say how many vectors there are and how wide they are, "
            f"such as '400000 50'; it is {line[:60].decode(errors='replace')!r}."
        )
    return number, width


def _width(lines, path):
    """How many numbers end each of the lines: as many as end most of them.

    A line that is cut, and a heading, have fewer; a word with a space in it has as many.
    """
    counts = collections.Counter(map(_numbers_at_end, lines[:1000]))
    width = max(counts, key=lambda count: (counts[count], count))
    if width < 1:
        raise ValueError(
            f"{path} holds no vectors: most lines are not a word and numbers, such as "
            f"{lines[0][:60].decode(errors='replace')!r}."
        )
    return width


def _numbers_at_end(line):
    """How many numbers a line ends with; its first part is the word, whatever it is."""
    parts = line.split()
    count = 0
    for part in reversed(parts[1:]):
        try:
            float(part)
        except ValueError:
            break
        count += 1
    return count


def _parse(lines, width, path, number):
    """Words and float32 ``(len(lines), width)``."""
    words, numbers = [], []
    for line in lines:
        word, _, rest = line.partition(b" ")
        words.append(word)
        numbers.append(rest)
    try:
        table = np.fromstring(b" ".join(numbers), "float32", sep=" ")
    except ValueError:
        table = np.empty(0)
    even = all(part.strip().count(b" ") == width - 1 for part in numbers)
    if not even or len(table) != len(lines) * width:  # words with spaces in them, a damaged line
        words, numbers = [], []
        for i, line in enumerate(lines):
            word, *values = line.rstrip().rsplit(None, width)
            try:
                row = np.array(values, "float32")
            except ValueError:
                row = np.empty(0)
            if len(row) != width:
                raise ValueError(
                    f"{path}: vector {number + i} is not a word and {width} numbers: "
                    f"{line[:60].decode(errors='replace')!r}."
                )
            words.append(word)
            numbers.append(row)
        table = np.stack(numbers)
    # Bytes that are no UTF-8 stay apart from one another: as "\\xff".
    texts = [word.decode(errors="backslashreplace") for word in words]
    return texts, table.reshape(len(lines), width)


def _cached(path, format, limit, cache):
    """Read a text file once and its copy, a folder, from then on."""
    home = os.environ.get("KERASLM_CACHE", Path.home() / ".cache" / "keraslm")
    state = (_compressed.archive_of(path) or path).stat()
    key = f"{path.resolve()} {state.st_size} {state.st_mtime_ns} {limit} {format}"
    name = f"{path.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    folder = (Path(home) / "vectors" if cache is True else Path(cache)) / name
    if not folder.is_dir():
        save_vectors(_read_text(path, format, limit), folder, {"source": str(path.resolve())})
    return load_folder(folder, mmap=True)


# === What gensim reads ===


def _through_gensim(path, format, limit):
    from gensim.models import KeyedVectors
    from gensim.models.fasttext import load_facebook_vectors

    if limit is not None and format != "word2vec-binary":
        raise ValueError(
            f"limit={limit} is not for {path}: a {format} file is read whole. Leave limit out."
        )
    try:
        if format == "pickle":
            vectors = KeyedVectors.load(str(path))  # beside which there may be files of arrays
            vectors = getattr(vectors, "wv", vectors)
        else:
            with _compressed.decompressed(path) as file:
                if format == "fasttext":
                    check_fasttext(file)
                    vectors = load_facebook_vectors(str(file))
                else:
                    check_word2vec(file)
                    vectors = KeyedVectors.load_word2vec_format(str(file), binary=True, limit=limit)
                    if len(vectors.key_to_index) != len(vectors.index_to_key):
                        raise ValueError("a word has two vectors")
    except FileNotFoundError:
        raise
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as {format}: {error}.") from error
    except Exception as error:
        raise ValueError(
            f"{path} is damaged or not {format} ({type(error).__name__}: {error}). Fetch it again."
        ) from error
    check_vectors(vectors.vectors, vectors.index_to_key, f"The vectors of {path}")
    return vectors
