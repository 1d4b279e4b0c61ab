"""Whether a binary file of vectors is whole; gensim, which reads them, believes what they say.

On fastText's ``.bin``, see its ``args.cc``, ``dictionary.cc`` and ``densematrix.cc``.
"""

import struct
from pathlib import Path

MAGIC = 793712314
VERSION = 12
SUPERVISED = 3
LONGEST = 1 << 16  # bytes of a word
AGAIN = ". Fetch it again"


def check_fasttext(path: Path) -> None:
    """Raise a ValueError if a fastText ``.bin`` is cut, of another kind, or contradicts itself."""
    size = path.stat().st_size
    with open(path, "rb") as stream:

        def numbers(form):
            data = stream.read(struct.calcsize(form))
            if len(data) != struct.calcsize(form):
                raise ValueError(f"its end is missing{AGAIN}")
            return struct.unpack(form, data)

        magic, version, width, *settings = numbers("=14i")
        model, bucket = settings[6:8]
        if magic != MAGIC or version > VERSION:
            raise ValueError("it is of another version of fastText")
        numbers("=d")
        num_words, num_plain, labels, _, pruned = numbers("=3i2q")
        if model == SUPERVISED or labels:
            raise ValueError(
                "it is a classifier of fastText's supervised mode, not word vectors; write those "
                "with 'fasttext print-word-vectors'"
            )
        if pruned > 0 or num_words != num_plain or not 0 < num_words < size:
            raise ValueError(f"it says that of {num_words:,} words {num_plain:,} are plain{AGAIN}")
        for i in range(num_words):
            _skip_word(stream, i)
        for rows in (num_words + bucket, None):
            (quantized,) = numbers("=?")
            if quantized:
                raise ValueError("it is quantised (.ftz), which nothing here reads")
            height, across = numbers("=2q")
            if across != width or width < 1 or height < 0 or rows not in (height, None):
                raise ValueError(
                    f"its width is {width:,}, and a table in it is {height:,} x {across:,}{AGAIN}"
                )
            stream.seek(4 * height * width, 1)
        if stream.tell() != size:
            raise ValueError(f"it should have {stream.tell():,} bytes and has {size:,}{AGAIN}")


def _skip_word(stream, number):
    place = stream.tell()
    data = b""
    while b"\0" not in data:
        more = stream.read(64 if not data else LONGEST)
        data += more
        if not more or len(data) > 2 * LONGEST:
            raise ValueError(f"it ends in the vocabulary, at word {number:,}{AGAIN}")
    stream.seek(place + data.index(b"\0") + 1 + 9)  # its frequency and kind


def check_word2vec(path: Path) -> None:
    """Raise a ValueError if the first line of a binary word2vec file is none, or says too much."""
    with open(path, "rb") as stream:
        line = stream.readline(100)
    try:
        num_words, width = map(int, line.split())
    except ValueError:
        num_words = width = 0
    if num_words < 1 or width < 1:
        raise ValueError("its first line does not say how many vectors there are and how wide")
    if num_words * (4 * width + 1) > path.stat().st_size:
        raise ValueError(
            f"it says that it has {num_words:,} vectors of width {width:,}; it is cut{AGAIN}"
        )
