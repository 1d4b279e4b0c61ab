"""Texts as lists of tokens: what word vectors are trained on."""

import collections
import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from keraslm._scripts import jieba_words, warn_of_clauses
from keraslm._types import StrPath
from keraslm.data.readers import gathered, read_blocks
from keraslm.embeddings.words import stop_words_of, word_pattern

END = "\0"  # stands after each sentence in a block of tokens; no text file holds it
CLAUSES = (
    "unit='words' makes one word of whole clauses such as {clause!r}: this script puts no blanks "
    "between words. Take unit='jieba' (Chinese words), unit='characters', a tokenizer, or a "
    "function that splits a line."
)
WIDE_SPACE = re.compile(r"[^\S\x00-\x7f]")  # white space that is not a byte


def tokenizing(unit, lower=None) -> Callable[[str], list[str]]:
    """The function from some lines to their tokens, `END` after each line.

    Args:
        unit, lower: see `Sentences`.

    Raises:
        ValueError: an unknown unit, or ``lower`` with a tokenizer, which lower-cases by itself.
        ImportError: jieba is not installed.
    """
    if hasattr(unit, "encode_batch") and hasattr(unit, "vocabulary"):
        if lower:
            raise ValueError("lower=True is for words: a tokenizer lower-cases by itself or not.")
        names = unit.vocabulary
        split = _by_line(lambda line: [names[i] for i in unit.encode(line)])
    elif callable(unit):
        split = _by_line(unit)
    elif unit == "words":
        lower = True if lower is None else lower
        split = _words()
    elif unit == "whitespace":
        split = lambda lines: (lines.replace("\n", f" {END} ") + f" {END}").split()  # noqa: E731
    elif unit == "characters":
        split = lambda lines: list("".join((lines.replace("\n", END) + END).split()))  # noqa: E731
    elif unit == "jieba":
        split = _by_line(_jieba())
    else:
        raise ValueError(
            "unit must be 'words', 'whitespace', 'characters', 'jieba', a tokenizer or a function; "
            f"received {unit!r}."
        )
    return (lambda lines: split(lines.lower())) if lower else split


def _words():
    pattern, is_checked = word_pattern(END), False

    def words(lines):
        nonlocal is_checked
        is_checked = is_checked or warn_of_clauses(lines, CLAUSES)  # once is enough
        return pattern.findall(lines.replace("\n", END) + END)

    return words


def _kernel():
    """What splits bytes without Python, if numba is installed."""
    try:
        from keraslm.embeddings.glove_kernels import split_words
    except ImportError:
        return None
    return split_words


def _by_line(split):
    def tokens(lines):
        found = []
        for line in lines.split("\n"):
            found += split(line)
            found.append(END)
        return found

    return tokens


def _jieba():
    cut = jieba_words("unit='jieba'", "unit='characters'")
    return lambda text: [word for word in cut(text) if not word.isspace()]


class Sentences:
    """A corpus as token lists, one a line of text, read again for each pass and never held whole.

    Args:
        corpus: a path that `keraslm.data.read_texts` takes, or an iterable of texts, or of token
            lists, which are taken as they are.
        unit: ``"words"`` (letters and digits with their marks, in any script that puts blanks
            between words, and emoji; no punctuation), ``"whitespace"`` (text that is tokenised
            already), ``"characters"``, ``"jieba"`` (Chinese words, if jieba is installed), a
            `keraslm.tokenizers.Tokenizer`, or a function from a line to its tokens.
        lower: lower-case first; default: for ``"words"`` only. Accents and marks stay.
        stop_words: tokens to leave out: ``"english"``, ``"chinese"``, or a list. Those around them
            move together.

    Warns:
        UserWarning: ``"words"`` on Chinese, Japanese, Thai, Lao, Khmer or Burmese, which make
            words of whole clauses.

    Raises:
        ValueError: a corpus, unit or ``stop_words`` that is none of these.

    Example:
        >>> list(Sentences(["To be, or not to be."]))
        [['to', 'be', 'or', 'not', 'to', 'be']]
    """

    def __init__(
        self,
        corpus: StrPath | Iterable[Any],
        unit: Any = "words",
        lower: bool | None = None,
        stop_words: str | Iterable[str] = (),
    ) -> None:
        if not isinstance(corpus, (str, os.PathLike)):
            if not isinstance(corpus, Iterable) or isinstance(corpus, (bytes, dict)):
                raise ValueError(
                    "corpus must be a path or an iterable of texts or token lists; received "
                    f"{type(corpus).__name__}."
                )
            if isinstance(corpus, Iterator):  # it can be read once only
                corpus = list(corpus)
        self.corpus: Any = corpus
        self.tokens = tokenizing(unit, lower)
        self.stop_words = stop_words_of(stop_words)
        self.is_split = unit == "whitespace" and not lower and not self.stop_words

    def __iter__(self) -> Iterator[list[str]]:
        for block in self.blocks():
            start = 0
            while start < len(block):
                end = block.index(END, start)
                if end > start:
                    yield block[start:end]
                start = end + 1

    def blocks(self) -> Iterator[list[str]]:
        """Token lists of about a megabyte of text, `END` after each sentence: the fast way."""
        stop = self.stop_words
        for block in self._blocks():
            yield [token for token in block if token not in stop] if stop else block

    def _blocks(self):
        texts = self._texts()
        if texts is not None:
            yield from map(self.tokens, texts)
            return
        for sentence in self.corpus:
            if isinstance(sentence, str):
                raise ValueError("The corpus mixes token lists with texts. Give one or the other.")
            yield [*sentence, END]

    def numbered(self, number: Callable[[str], int]) -> Iterator[np.ndarray]:
        """What `blocks` gives as int32 arrays, by a function from a token to its number."""
        texts = self._texts() if self.is_split else None
        kernel = None if texts is None else _kernel()
        if texts is None or kernel is None:
            for block in self.blocks():
                yield np.fromiter(map(number, block), np.int32, len(block))
            return
        for text in gathered(texts, 1 << 23):
            if not text.isascii() and WIDE_SPACE.search(text):
                block = self.tokens(text)
                yield np.fromiter(map(number, block), np.int32, len(block))
                continue
            # Python sees each word of a block once, however often it stands there.
            data = text.encode()
            ids, starts, ends = kernel(np.frombuffer(data, np.uint8))
            words = [data[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]
            table = np.fromiter(map(number, [*map(bytes.decode, words), END]), np.int32)
            yield table[ids]

    def _texts(self):
        """Blocks of text, or None if the corpus is token lists."""
        if isinstance(self.corpus, (str, os.PathLike)):
            return read_blocks(self.corpus)
        first = next(iter(self.corpus), None)
        if first is None:
            return ()
        return read_blocks(self.corpus) if isinstance(first, str) else None


class Encoded:
    """A corpus as numbers.

    Args:
        ids: int32, the words in the order of the text; -1 ends a sentence.
        words: by id, the most frequent first.
        counts: int64, by id.
    """

    def __init__(self, ids, words, counts):
        self.ids, self.words, self.counts = ids, words, counts


def encode(
    sentences: Sentences,
    min_count: int = 5,
    max_size: int | None = None,
    stop_words: str | Iterable[str] = (),
    path=None,
) -> Encoded:
    """Count the words, prune the vocabulary, and give the corpus as ids, reading it once.

    Words that are pruned vanish: those around them move together, as in Stanford's tools.

    Args:
        sentences: the corpus.
        min_count: rarer words are dropped.
        max_size: the most frequent words are kept.
        stop_words: dropped; as in `Sentences`.
        path: keep the ids in this file instead of memory.

    Raises:
        ValueError: no word is left.
    """
    numbers: collections.defaultdict[str, int] = collections.defaultdict()
    numbers.default_factory = numbers.__len__  # an unseen word takes the next number
    number = numbers.__getitem__
    number(END)
    pieces: list[np.ndarray] = []
    file = open(path, "wb") if path else None
    try:
        for piece in sentences.numbered(number):
            if file:
                piece.tofile(file)
            else:
                pieces.append(piece)
    finally:
        if file:
            file.close()
    ids: np.ndarray = np.concatenate([np.empty(0, np.int32), *pieces])
    pieces.clear()
    if path and os.path.getsize(path):
        ids = np.memmap(path, np.int32, "r+")
    starts = range(0, len(ids), 1 << 22)
    counts = np.zeros(len(numbers), np.int64)
    for start in starts:
        counts += np.bincount(ids[start : start + (1 << 22)], minlength=len(numbers))
    words = np.array(list(numbers), object)
    keep = counts >= min_count
    keep[0] = False  # the end of a sentence is no word
    for word in stop_words_of(stop_words):
        if word in numbers:
            keep[numbers[word]] = False
    order = np.lexsort((np.arange(len(words)), -counts))  # ties: the first seen first
    order = order[keep[order]][:max_size]
    if not len(order):
        raise ValueError(
            f"No word occurs min_count={min_count} times: nothing to train vectors on. Give more "
            "text or a smaller min_count."
        )
    gone = np.int32(-2)
    new = np.full(len(words), gone)
    new[0] = -1
    new[order] = np.arange(len(order), dtype=np.int32)
    end = 0
    for start in starts:
        kept = new[ids[start : start + (1 << 22)]]
        kept = kept[kept != gone]
        ids[end : end + len(kept)] = kept
        end += len(kept)
    return Encoded(ids[:end], words[order].tolist(), counts[order])
