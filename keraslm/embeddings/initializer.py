"""Starting a token table from word vectors."""

import hashlib
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keraslm._compat import is_deserializing
from keraslm._types import KeyedVectors
from keraslm.embeddings.lookup import Lookup, read_vocabulary
from keraslm.layers.common import register

PADDING = ("", "[PAD]", "<pad>")
LOW = 0.5  # of tokens or of running text: a coverage that is said


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
    (``Ġ``, ``##``, ``▁``), tokens of byte-level BPE as the text that they are; what FastText makes
    of its letters; the mean of the known words that it is a part of, or that are parts of it. So
    every character that the words have gets a vector. The others, and special tokens without a
    vector of that very name, are drawn with the mean and spread of the vectors found. The row of
    the padding is zero.

    The config leaves the vectors out, so a saved model stays small and loads without them: its
    table is in its weights. A clone made from the config draws, and warns.

    Args:
        vectors: gensim ``KeyedVectors``, or a dict of arrays, one width for all.
        vocabulary: a `keraslm.tokenizers.Tokenizer`, the list of tokens by id (as
            ``keras.layers.TextVectorization.get_vocabulary()`` gives it), or a dict of their ids in
            any order (``word_index`` of Keras, ``get_vocab()`` of Hugging Face). With a dict, ids
            may be left out, 0 is the padding if no token has it, and the table may have more rows.
        scale: a number: the spread (standard deviation) of the table, after centring: the
            default suits transformers, where a table much wider than the other weights would
            drown them and tied logits would start far from zero. ``"unit"``: rows of length 1.
            ``"raw"``: the vectors as they are.
        padding: id of the padding token, whose row becomes zero; default: the one called
            ``""``, ``"[PAD]"`` or ``"<pad>"``.
        subwords: give tokens that have no vector the mean of words, as above.
        frequencies: token to count in some text, to tell how much of the text is covered.
        projection: if the table is narrower than the vectors, their main components (PCA); if it
            is wider, a random rotation, which keeps all angles. False: an error instead.
        seed: of the draws and the rotation.
        name: of the vectors, for the config.

    Raises:
        ValueError: no token has a vector; a vector is NaN; a dict gives an id twice; the table has
            another number of rows, or another width with ``projection=False``.

    Warns:
        UserWarning: less than half of the tokens with a letter or digit (of running text, with
            ``frequencies``) start from a vector.

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
        vocabulary = read_vocabulary(vocabulary)
        tokens = vocabulary.tokens
        if padding is None:
            padding = _padding(tokens)
        special = vocabulary.special | ({padding} - {None})
        lookup = Lookup(vectors, vocabulary, subwords, special)
        ways, found = lookup.all()
        hits = [i for i, way in enumerate(ways) if way]
        if not hits:
            raise ValueError(
                f"None of the {len(tokens)} tokens has a vector. Were the vectors trained on "
                "another kind of token?"
            )
        rows = np.stack([row for row in found if row is not None])
        if not np.isfinite(rows).all():
            bad = tokens[hits[int((~np.isfinite(rows)).any(axis=1).argmax())]]
            raise ValueError(f"The vector for the token {bad!r} is not finite. Remove it.")
        self._found, self._hits, self._padding = rows, hits, padding
        self._size, self._is_open = len(tokens), vocabulary.is_open
        self.coverage = _coverage(tokens, ways, frequencies)
        _warn_if_low(self.coverage, [way for i, way in enumerate(ways) if lookup.is_word(i)])
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
        fits = shape[0] >= self._size if self._is_open else shape[0] == self._size
        if len(shape) != 2 or not fits:
            raise ValueError(
                f"The vectors make a table of {self._size} rows, as the largest id of the "
                f"vocabulary is {self._size - 1}; received the shape {shape}. Take "
                f"input_dim={self._size}, or give the model's own tokenizer or vocabulary."
            )
        return ops.convert_to_tensor(self.table(shape[1], shape[0]), dtype or "float32")

    def table(self, width: int | None = None, num_rows: int | None = None) -> np.ndarray:
        """The table, float32 ``(num_rows, width)``.

        Args:
            width: default, that of the vectors.
            num_rows: default, one for each id. More are drawn, like those of tokens without one.

        Raises:
            ValueError: it was made from a config; another width, with ``projection=False``.
        """
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
        table = rng.normal(
            rows.mean(axis=0), rows.std(axis=0), (num_rows or self._size, rows.shape[1])
        )
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


def _padding(tokens):
    """Id of the padding, or None. In a ``word_index`` of Keras it is 0, which no word has."""
    named = (tokens.index(name) for name in PADDING if name in tokens)
    return next(named, 0 if tokens[0] is None else None)


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


def _coverage(tokens, ways, frequencies):
    by: dict[str, int] = {}
    for way in ways:
        if way:
            by[way] = by.get(way, 0) + 1
    pairs = [(token, way) for token, way in zip(tokens, ways, strict=True) if token is not None]
    missed = [token for token, way in pairs if way is None]
    share = None
    if frequencies:
        total = sum(frequencies.get(token, 0) for token, _ in pairs)
        share = sum(frequencies.get(t, 0) for t, way in pairs if way) / total if total else None
        missed.sort(key=lambda token: -frequencies.get(token, 0))
    return Coverage(sum(map(bool, ways)), len(pairs), missed, by, share)


def _warn_if_low(coverage, ways):
    """Warn by the share of text if it is known, else of the words: how each was found, or None."""
    share, what = coverage.share_of_text, "text"
    if share is None:
        share, what = sum(map(bool, ways)) / max(1, len(ways)), "vocabulary's words"
    if share < LOW and coverage.missed:
        warnings.warn(
            f"Only {100 * share:.1f} % of the {what} start from a vector, the others, such as "
            f"{coverage.missed[0]!r}, are drawn: train vectors on the model's own tokens "
            "(unit=tokenizer), or take vectors of the same language whose words are spelled alike.",
            stacklevel=4,
        )
