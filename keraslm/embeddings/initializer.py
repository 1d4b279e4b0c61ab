"""Starting a token table from word vectors."""

import hashlib
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keraslm._compat import is_deserializing
from keraslm._text import is_whole
from keraslm._types import KeyedVectors
from keraslm.layers.common import register

MARKERS = "Ġ▁"  # of byte-level BPE and of SentencePiece, at the start of a word
PADDING = ("", "[PAD]", "<pad>")


class Coverage(NamedTuple):
    """How much of a vocabulary, and of a text, starts from vectors.

    ``covered`` of ``total`` tokens have one; ``missed`` are the others, the most frequent first if
    the frequencies are known. ``share_of_text`` is the share of running text that is covered, or
    None. ``by`` says how many were found in each way.

    Example:
        >>> print(Coverage(3, 4, ["colour"], {"by name": 3}))
        3 of 4 tokens (75.0 %) start from a vector; without: 'colour'
    """

    covered: int
    total: int
    missed: list[str]
    by: dict[str, int]
    share_of_text: float | None = None

    def __str__(self):
        share = 100 * self.covered / self.total
        text = f"{self.covered:,} of {self.total:,} tokens ({share:.1f} %) start from a vector"
        if self.share_of_text is not None:
            text += f", {100 * self.share_of_text:.1f} % of running text"
        if len(self.by) > 1:
            text += f" ({', '.join(f'{n:,} {way}' for way, n in self.by.items())})"
        if self.missed:
            text += f"; without: {', '.join(map(repr, self.missed[:5]))}"
            text += " …" if len(self.missed) > 5 else ""
        return text


@register
class VectorInitializer(keras.initializers.Initializer):
    """Starts an embedding table from word vectors, aligned to a vocabulary.

    For GPT and BERT and for any ``keras.layers.Embedding``. Each token takes the first that there
    is of: the vector of the same name; of its lower case; of both without the mark of a subword
    (``Ġ``, ``##``, ``▁``); what FastText makes of its letters; the mean of the known words that
    it is a part of. The others, and special tokens without a vector of that very name, are drawn
    with the mean and spread of the vectors found. The row of the padding is zero.

    The config leaves the vectors out, so a saved model stays small and loads without them: its
    table is in its weights. A clone made from the config draws, and warns.

    Args:
        vectors: gensim ``KeyedVectors``, or a dict of arrays, one width for all.
        vocabulary: a `keraslm.tokenizers.Tokenizer`, or the list of tokens by id (as
            ``keras.layers.TextVectorization.get_vocabulary()`` gives it), or a dict from token to
            id (as the ``word_index`` of Keras 2, whose ids begin at 1, or the ``get_vocab()`` of a
            Hugging Face tokenizer); an id without a token is padding if it is 0.
        scale: a number: the spread (standard deviation) of the table, after centring: the
            default suits transformers, where a table much wider than the other weights would
            drown them and tied logits would start far from zero. ``"unit"``: rows of length 1.
            ``"raw"``: the vectors as they are.
        padding: id of the padding token, whose row becomes zero; default: the one called
            ``""``, ``"[PAD]"`` or ``"<pad>"``.
        subwords: give subwords that have no vector the mean of the words that they are part of.
        frequencies: token to count in some text, to tell how much of the text is covered.
        projection: if the table is narrower than the vectors, their main components (PCA); if it
            is wider, a random rotation, which keeps all angles. False: an error instead.
        seed: of the draws and the rotation.
        name: of the vectors, for the config.

    Raises:
        ValueError: no token has a vector; a vector is NaN; the table has another number of rows,
            or another width with ``projection=False``.

    Example:
        >>> start = keraslm.embeddings.VectorInitializer(vectors, tokenizer)
        >>> 0 < start.coverage.covered < start.coverage.total
        True
        >>> gpt = keraslm.models.GPT(tokenizer.vocab_size, num_layers=1, d_model=16, num_heads=2,
        ...                          embeddings_initializer=start)
    """

    def __init__(
        self,
        vectors: KeyedVectors | dict[str, Any] | None = None,
        vocabulary: Any = None,
        *,
        scale: float | str = 0.02,
        padding: int | None = None,
        subwords: bool = True,
        frequencies: Mapping[str, int] | None = None,
        projection: bool = True,
        seed: int = 0,
        name: str | None = None,
        source: Mapping[str, Any] | None = None,
    ) -> None:
        if scale not in ("raw", "unit") and not (
            isinstance(scale, (int, float)) and not isinstance(scale, bool) and scale > 0
        ):
            raise ValueError(f"scale must be 'raw', 'unit' or a positive number; received {scale}.")
        self.scale = scale
        self.projection = projection
        self.seed = seed
        self.name = name
        self.source = dict(source or {})  # hash, mean and spread, for a clone
        self.coverage = None
        self._found: np.ndarray | None = None
        if vectors is not None:
            self._align(vectors, vocabulary, padding, subwords, frequencies)

    def _align(self, vectors, vocabulary, padding, subwords, frequencies):
        tokens = _tokens(vocabulary)
        if not tokens:
            raise ValueError("vocabulary is empty: give a tokenizer or the list of tokens.")
        special = _special(tokens)
        if padding is None:
            padding = next((tokens.index(name) for name in PADDING if name in tokens), None)
        if padding is not None:
            special.add(padding)
        lookup = _Lookup(vectors, subwords, tokens, special)
        ways, found = lookup.all()
        hits = [i for i, way in enumerate(ways) if way]
        if not hits:
            raise ValueError(
                f"None of the {len(tokens)} tokens has a vector. Were the vectors trained on "
                "another kind of token?"
            )
        rows = np.stack([found[i] for i in hits])
        if not np.isfinite(rows).all():
            bad = tokens[hits[int((~np.isfinite(rows)).any(axis=1).argmax())]]
            raise ValueError(f"The vector for the token {bad!r} is not finite. Remove it.")
        self._found, self._hits, self._padding, self._size = rows, hits, padding, len(tokens)
        self.coverage = _coverage(tokens, ways, frequencies)
        digest = hashlib.sha256(np.ascontiguousarray(rows).tobytes()).hexdigest()
        table = self._scaled(rows)
        self.source = {
            "hash": digest[:16],
            "mean": float(table.mean()),
            "stddev": float(table.std()),
        }

    def __call__(self, shape, dtype=None):
        shape = tuple(shape)
        if self._found is None:
            if not is_deserializing():
                warnings.warn(
                    "This VectorInitializer was made from a config, which has no vectors: the "
                    "table is drawn with their mean and spread. Load weights, or give vectors "
                    "again.",
                    stacklevel=2,
                )
            stddev = self.source.get("stddev", self.scale if self._is_number() else 0.02)
            return keras.random.normal(
                shape, self.source.get("mean", 0.0), stddev, dtype, seed=self.seed
            )
        if shape[0] != self._size or len(shape) != 2:
            raise ValueError(
                f"The vectors make a table of {self._size} rows, one for each id of the vocabulary "
                f"from 0 on; received the shape {shape}. Give the model's own tokenizer or "
                f"vocabulary, or a table of {self._size} rows."
            )
        return ops.convert_to_tensor(self.table(shape[1]), dtype or "float32")

    def table(self, width: int | None = None) -> np.ndarray:
        """The table, float32 ``(vocab_size, width)``; default the width of the vectors."""
        rows = self._found
        if rows is None:
            raise ValueError(
                "This VectorInitializer was made from a config, which has no vectors. Make one "
                "with vectors and vocabulary."
            )
        if width not in (None, rows.shape[1]):
            if not self.projection:
                raise ValueError(
                    f"The vectors are {rows.shape[1]} wide, the table {width}. Train vectors with "
                    f"vector_size={width}, or allow the projection."
                )
            rows = _projected(rows, width, self.seed)
        rows = self._scaled(rows)
        rng = np.random.default_rng(self.seed)
        # Drawn around the mean vector, so that no token stands out by having had none.
        table = rng.normal(rows.mean(axis=0), rows.std(axis=0), (self._size, rows.shape[1]))
        if self.scale == "unit":
            table /= np.linalg.norm(table, axis=1, keepdims=True)
        table[self._hits] = rows
        if self._padding is not None:
            table[self._padding] = 0.0
        return table.astype("float32")

    def _scaled(self, rows):
        if self.scale == "raw":
            return rows
        if isinstance(self.scale, str):  # "unit"
            return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        rows = rows - rows.mean(axis=0)  # what all have in common tells none from another
        return rows * (self.scale / (float(rows.std()) or 1.0))

    def _is_number(self):
        return not isinstance(self.scale, str)

    def get_config(self):
        return {
            "scale": self.scale,
            "projection": self.projection,
            "seed": self.seed,
            "name": self.name,
            "source": self.source,
        }


def _tokens(vocabulary):
    """Tokens by id; an id without one is ``""``."""
    if not isinstance(vocabulary, Mapping):
        return [str(token) for token in getattr(vocabulary, "vocabulary", vocabulary or ())]
    for token, i in vocabulary.items():
        if not is_whole(i):
            raise ValueError(
                f"vocabulary must give each token its id, a whole number; received {i!r} for "
                f"{token!r}."
            )
    tokens = [""] * (max(vocabulary.values(), default=-1) + 1)
    for token, i in vocabulary.items():
        tokens[i] = str(token)
    return tokens


def _special(tokens):
    """Ids of tokens such as ``[UNK]``, ``<s>`` and ``<|endoftext|>``."""
    pairs = {"[": "]", "<": ">"}
    return {i for i, t in enumerate(tokens) if len(t) > 2 and t[-1] == pairs.get(t[0])}


def _projected(rows, width, seed):
    """Rows of another width: the main components, or a rotation into more dimensions."""
    size = rows.shape[1]
    if width < size:
        centred = rows - rows.mean(axis=0)
        _, basis = np.linalg.eigh(centred.T @ centred)
        return rows @ basis[:, ::-1][:, :width]
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.normal(size=(width, size)))
    return (rows @ rotation.T).astype("float32")


class _Lookup:
    """Finds a vector for each token, one way after another."""

    def __init__(self, vectors, subwords, tokens, special):
        self.vectors, self.tokens, self.special = vectors, tokens, special
        self.known = getattr(vectors, "key_to_index", vectors)
        self.guesses = hasattr(vectors, "vectors_ngrams")
        self.subwords = subwords

    def all(self):
        """For each token how it was found, or None, and its vector."""
        ways, found = [], []
        for i, token in enumerate(self.tokens):
            way, key = self._key(token, i in self.special)
            ways.append(way)
            found.append(None if way is None else np.asarray(self.vectors[key], "float32"))
        if self.subwords:
            self._from_words(ways, found)
        return ways, found

    def _key(self, token, special):
        if special:  # "[SEP]" is not about the word "sep"
            return ("by name", token) if token in self.known else (None, None)
        bare = token.removeprefix("##").lstrip(MARKERS)
        for way, key in (
            ("by name", token),
            ("in lower case", token.lower()),
            ("without a mark", bare),
            ("without a mark", bare.lower()),
        ):
            if key and key in self.known:
                return way, key
        if self.guesses and bare:
            return "from letters", bare
        return None, None

    def _from_words(self, ways, found):
        """The mean of the words that begin with a token (or, after ``##``, hold it later on)."""
        starts: dict[str, list[int]] = {}
        insides: dict[str, list[int]] = {}
        for i, token in enumerate(self.tokens):
            bare = token.removeprefix("##").lstrip(MARKERS).lower()
            if ways[i] is None and i not in self.special and len(bare) > 1 and bare.isalpha():
                (insides if token.startswith("##") else starts).setdefault(bare, []).append(i)
        if not starts and not insides:
            return
        longest = max(map(len, [*starts, *insides]))
        sums: dict[int, list] = {}
        for word in self.known:
            lower = word.lstrip(MARKERS).lower()
            ids = [i for end in range(2, min(len(lower), longest + 1))
                   for i in starts.get(lower[:end], ())]  # fmt: skip
            if insides:
                parts = {lower[a:b] for a in range(1, len(lower) - 1)
                         for b in range(a + 2, min(len(lower), a + longest) + 1)}  # fmt: skip
                ids += [i for part in parts for i in insides.get(part, ())]
            for i in ids:
                total = sums.setdefault(i, [0.0, 0])
                total[0] = total[0] + np.asarray(self.vectors[word], "float32")
                total[1] += 1
        for i, (total, count) in sums.items():
            ways[i], found[i] = "from words", total / count


def _coverage(tokens, ways, frequencies):
    by: dict[str, int] = {}
    for way in ways:
        if way:
            by[way] = by.get(way, 0) + 1
    missed = [token for token, way in zip(tokens, ways, strict=True) if way is None]
    share = None
    if frequencies:
        counts = [frequencies.get(token, 0) for token in tokens]
        total = sum(counts)
        share = (
            sum(n for n, way in zip(counts, ways, strict=True) if way) / total if total else None
        )
        missed.sort(key=lambda token: -frequencies.get(token, 0))
    return Coverage(sum(map(bool, ways)), len(tokens), missed, by, share)
