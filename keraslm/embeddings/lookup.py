"""Which vector belongs to which token of a vocabulary."""

import functools
import operator
from array import array
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from keraslm._scripts import UNSPACED, byte_alphabet
from keraslm.embeddings.words import word_pattern

MARKERS = "Ġ▁"  # of byte-level BPE and of SentencePiece, at the start of a word


# === Vocabularies ===


class Vocabulary(NamedTuple):
    """Tokens by id.

    ``tokens`` has None where no token has the id; ``special`` are ids of tokens that are no text;
    ``is_bytes`` says that the tokens are spelled in the alphabet of byte-level BPE; ``is_open``
    that a table may have more rows than there are tokens.
    """

    tokens: list[str | None]
    special: set[int]
    is_bytes: bool
    is_open: bool = False


def read_vocabulary(vocabulary: Any) -> Vocabulary:
    """The tokens of whatever has some.

    Args:
        vocabulary: see `VectorInitializer`.

    Raises:
        ValueError: it is empty, or no vocabulary; two tokens have one id.
    """
    engine = getattr(vocabulary, "engine", None)  # of a keraslm.tokenizers.Tokenizer
    for name in ("get_vocabulary", "get_vocab"):  # of a Keras layer, of Hugging Face
        if engine is None and callable(method := getattr(vocabulary, name, None)):
            vocabulary = method()
    tokens: list[str | None]
    if engine is not None:
        ids = engine.get_vocab(with_added_tokens=True)
        tokens, special = _by_id(ids), set(vocabulary.special_tokens.values())
    elif isinstance(vocabulary, Mapping):
        tokens, special = _by_id(vocabulary), set()
    elif isinstance(vocabulary, (str, bytes)):
        raise ValueError(
            f"vocabulary must be a tokenizer, a list of tokens or a dict of their ids; received "
            f"the string {vocabulary!r}."
        )
    else:
        tokens, special = [str(token) for token in vocabulary or ()], set()
    if not tokens:
        raise ValueError("vocabulary is empty: give a tokenizer or the list of tokens.")
    pairs = {"[": "]", "<": ">"}  # [UNK], <s>, <|endoftext|>
    special |= {i for i, t in enumerate(tokens) if t and len(t) > 2 and t[-1] == pairs.get(t[0])}
    is_bytes = _is_byte_level(engine) if engine is not None else _alphabet().keys() <= set(tokens)
    return Vocabulary(tokens, special, is_bytes, isinstance(vocabulary, Mapping))


def _by_id(ids):
    tokens: dict[int, str] = {}
    for token, i in ids.items():
        try:
            i = operator.index(i)
        except TypeError:
            i = -1
        if i < 0 or not isinstance(token, str):
            raise ValueError(
                "vocabulary must be a dict from tokens to ids, which are whole numbers from 0 on; "
                f"received {token!r}: {ids[token]!r}."
            )
        if i in tokens:
            raise ValueError(
                f"vocabulary gives the id {i} to two tokens, {tokens[i]!r} and {token!r}. Are "
                "these numbers counts? Give ids."
            )
        tokens[i] = token
    return [tokens.get(i) for i in range(1 + max(tokens, default=-1))]


def _is_byte_level(engine):
    parts = (engine.pre_tokenizer, engine.decoder)
    return any(b'"ByteLevel"' in part.__getstate__() for part in parts if part is not None)


# === Byte-level spelling ===


@functools.cache
def _alphabet():
    return byte_alphabet()


def _to_bytes(token):
    """The bytes of a token of byte-level BPE, or None if it is spelled otherwise."""
    alphabet = _alphabet()
    return bytes(alphabet[c] for c in token) if alphabet.keys() >= set(token) else None


def _decoded(data):
    try:
        return None if data is None else data.decode("utf-8")
    except UnicodeDecodeError:  # a part of a character
        return None


def _are_bytes(keys):
    """Whether vectors were trained on the tokens of a byte-level BPE.

    French words are in that alphabet, too, but make no UTF-8.
    """
    return all(_alphabet().keys() >= set(key) for key in keys) and any(
        not key.isascii() and _decoded(_to_bytes(key)) is not None for key in keys
    )


# === From tokens to vectors ===


class Lookup:
    """Finds a vector for each token, one way after another.

    Args:
        vectors: gensim ``KeyedVectors`` or a dict of arrays.
        vocabulary: of `read_vocabulary`.
        subwords: whether a token takes the mean of the words that it is a part of.
        special: ids of the tokens that take a vector of their very name only.
    """

    def __init__(self, vectors, vocabulary: Vocabulary, subwords: bool, special: set[int]):
        self.vectors, self.vocabulary, self.special = vectors, vocabulary, special
        self.known = getattr(vectors, "key_to_index", vectors)
        self.guesses = hasattr(vectors, "vectors_ngrams")
        self.subwords = subwords
        self.keys_are_bytes = _are_bytes(self.known)
        self.longest = max(map(len, self.known), default=0)
        self.by_text: dict[str, str] = {}  # a key by what it says, where its spelling says more
        for key in self.known:
            text = self._text_of_key(key)
            if text != key:
                self.by_text.setdefault(text, key)

    def _text_of_key(self, key):
        if self.keys_are_bytes:
            return (_decoded(_to_bytes(key)) or key).removeprefix(" ")
        return key.lstrip(MARKERS)

    def _text_of_token(self, token):
        """What a token says, without the marks of its place in a word; None of half a character."""
        if self.vocabulary.is_bytes:
            data = _to_bytes(token)
            return token if data is None else _decoded(data.removeprefix(b" "))
        return token.removeprefix("##").lstrip(MARKERS)

    def is_word(self, i: int) -> bool:
        """Whether the token with an id has a letter or a digit, and so could have a vector."""
        token = self.vocabulary.tokens[i]
        text = None if token is None or i in self.special else self._text_of_token(token)
        return text is not None and any(c.isalnum() for c in text)

    def all(self) -> tuple[list[str | None], list[np.ndarray | None]]:
        """For each token how it was found, or None, and its vector."""
        ways: list[str | None] = []
        found: list[np.ndarray | None] = []
        for i, token in enumerate(self.vocabulary.tokens):
            way, key = (None, None) if token is None else self._key(token, i in self.special)
            ways.append(way)
            found.append(None if way is None else np.asarray(self.vectors[key], "float32"))
        if self.subwords:
            for exact in (True, False):
                self._from_words(ways, found, exact)
            self._from_own_words(ways, found)
        return ways, found

    def _key(self, token, special):
        if special:  # "[SEP]" is not about the word "sep"
            return ("by name", token) if token in self.known else (None, None)
        # "é" in bytes is half a character, not the word.
        is_name = token.isascii() or not self.vocabulary.is_bytes or self.keys_are_bytes
        text = self._text_of_token(token)
        for way, key in (
            ("by name", token if is_name else None),
            ("in lower case", token.lower() if is_name else None),
            ("without a mark", text and self._key_of(text)),
        ):
            if key and key in self.known:
                return way, key
        if self.guesses and text and not text.isspace():
            return "from letters", text
        return None, None

    # === The mean of words ===

    def _spelled(self, text):
        """A text so that its parts are parts of the string: by bytes, where tokens are bytes."""
        text = text.lower()
        return text.encode("utf-8").decode("latin-1") if self.vocabulary.is_bytes else text

    def _piece(self, token):
        text = self._text_of_token(token)
        if text is None:  # a part of a character
            return _to_bytes(token).removeprefix(b" ").decode("latin-1")
        return "" if text.isspace() else self._spelled(text)

    def _from_words(self, ways, found, exact):
        """Give tokens the mean of the words that have them where their spelling says, or anywhere.

        ``##x`` stands inside a word, ``Ġx`` and ``▁x`` at its start; so does ``x`` where others
        have ``##``. A single character, and ``x`` where others have ``Ġ`` or ``▁``, stand anywhere.
        """
        marked = any(token and token[0] in MARKERS for token in self.vocabulary.tokens)
        wanted: dict[str, dict[str, list[int]]] = {"start": {}, "inside": {}, "anywhere": {}}
        for i, token in enumerate(self.vocabulary.tokens):
            if token is None or ways[i] is not None or i in self.special:
                continue
            place = "start"
            if token.startswith("##"):
                place = "inside"
            elif token[:1] not in MARKERS and (marked or len(token) == 1) or not exact:
                place = "anywhere"
            if piece := self._piece(token):
                wanted[place].setdefault(piece, []).append(i)
        tokens, words = array("i"), array("i")
        keys = list(self.known)
        for place, ids in wanted.items():
            sizes = sorted({len(piece) for piece in ids})
            for number, key in enumerate(keys if ids else ()):
                for piece in (
                    _parts(self._spelled(self._text_of_key(key)), sizes, place) & ids.keys()
                ):
                    for i in ids[piece]:
                        tokens.append(i)
                        words.append(number)
        if not tokens:
            return
        for i, mean in self._means(keys, tokens, words):
            ways[i], found[i] = "from words", mean

    def _means(self, keys, tokens, words):
        from scipy.sparse import csr_array

        rows, tokens = np.unique(tokens, return_inverse=True)
        used, words = np.unique(words, return_inverse=True)
        table = np.stack([np.asarray(self.vectors[keys[i]], "float32") for i in used])
        ones = np.ones(len(tokens), "float32")
        sums = csr_array((ones, (tokens, words)), shape=(len(rows), len(used)))
        means = (sums @ table) / np.bincount(tokens)[:, None].astype("float32")
        return zip(rows.tolist(), means, strict=True)

    def _from_own_words(self, ways, found):
        """Give tokens the mean of the words in them: ``，我们`` or ``北京的``, ``."The``."""
        for i, token in enumerate(self.vocabulary.tokens):
            if token is None or ways[i] is not None or i in self.special:
                continue
            text = self._text_of_token(token) or ""
            keys = [key for word in word_pattern().findall(text) for key in self._keys_in(word)]
            if keys:
                rows = [np.asarray(self.vectors[key], "float32") for key in keys]
                ways[i], found[i] = "from its words", np.mean(rows, axis=0)

    def _keys_in(self, word):
        """A word if it has a vector; of a script without blanks, the longest words one by one."""
        start = 0
        sizes = range(min(len(word), self.longest), 0, -1) if UNSPACED.search(word) else [len(word)]
        while start < len(word):
            parts = (word[start : start + size] for size in sizes if start + size <= len(word))
            keys = ((part, self._key_of(part)) for part in parts)
            part, key = next(((part, key) for part, key in keys if key), (word[start], None))
            if key:
                yield key
            start += len(part)

    def _key_of(self, text):
        known = (t for t in (text, text.lower()) if t in self.known)
        return next(known, None) or self.by_text.get(text) or self.by_text.get(text.lower())


def _parts(word, sizes, place):
    """The parts of a word that have one of these sizes, and are where they should be."""
    length = len(word)
    if place == "start":
        return {word[:size] for size in sizes if size <= length}
    first = 1 if place == "inside" else 0
    return {
        word[a : a + size]
        for size in sizes if size <= length
        for a in range(first, length - size + 1)
    }  # fmt: skip
