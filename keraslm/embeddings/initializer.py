"""Starting a token table from word vectors."""

import hashlib
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from keraslm.layers.common import register


class Coverage(NamedTuple):
    """How much of a vocabulary has vectors."""

    covered: int
    total: int
    missed: list[str]

    def __str__(self):
        share = 100 * self.covered / self.total
        text = f"{self.covered:,} of {self.total:,} tokens ({share:.1f} %) start from a vector"
        if self.missed:
            text += f"; without: {', '.join(map(repr, self.missed[:5]))}"
            text += " …" if len(self.missed) > 5 else ""
        return text


@register
class VectorInitializer(keras.initializers.Initializer):
    """Starts an embedding table from word vectors, aligned to a vocabulary.

    Each token takes the vector of the same name; else of the word without its marker (``Ġ``,
    ``##``, ``▁``); else of the lower-cased word; else a draw with the spread of the vectors found.

    The vectors are centred and scaled together, so that their spread is ``stddev``: a table much
    wider than the other weights would drown them, and tied logits would start far from zero.

    The config leaves the vectors out, so a saved model stays small and loads without them: its
    table is in its weights. A clone made from the config starts from draws.

    Args:
        vectors: gensim ``KeyedVectors``, or a dict of arrays, one width for all.
        vocabulary: a `keraslm.tokenizers.Tokenizer` or the list of tokens by id.
        stddev: spread of the table; ``None`` leaves the vectors as they are.
        seed: of the draws.

    Raises:
        ValueError: no token has a vector, or the table asked for has another shape.

    Example:
        >>> start = keraslm.embeddings.VectorInitializer(vectors, tokenizer)
        >>> print(start.coverage)
        >>> gpt = keraslm.models.GPT(tokenizer.vocab_size, embeddings_initializer=start)
    """

    def __init__(self, vectors=None, vocabulary=None, *, stddev=0.02, seed=0, source=None):
        self.stddev = stddev
        self.seed = seed
        self.source = source
        self.table = None
        self.coverage = None
        if vectors is not None:
            tokens = list(getattr(vocabulary, "vocabulary", vocabulary or ()))
            if not tokens:
                raise ValueError("vocabulary is empty: give a tokenizer or the list of tokens.")
            self.table, self.coverage = self._align(vectors, tokens)
            self.source = hashlib.sha256(self.table.tobytes()).hexdigest()[:16]

    def _align(self, vectors, tokens):
        known = getattr(vectors, "key_to_index", vectors)
        keys = [_find(token, known) for token in tokens]
        hits = [i for i, key in enumerate(keys) if key is not None]
        if not hits:
            raise ValueError(
                f"None of the {len(tokens)} tokens has a vector. Were the vectors trained on "
                "another kind of token?"
            )
        found = np.stack([np.asarray(vectors[keys[i]], "float32") for i in hits])
        spread = float(found.std())
        if self.stddev is not None:
            # Centred first: what all vectors have in common tells none from another.
            found = found - found.mean(axis=0)
            found *= self.stddev / (float(found.std()) or 1.0)
            spread = self.stddev
        table = np.random.default_rng(self.seed).normal(0.0, spread, (len(tokens), found.shape[1]))
        table[hits] = found
        missed = [token for token, key in zip(tokens, keys, strict=True) if key is None]
        return table.astype("float32"), Coverage(len(hits), len(tokens), missed)

    def __call__(self, shape, dtype=None):
        shape = tuple(shape)
        if self.table is None:
            spread = 0.02 if self.stddev is None else self.stddev
            return keras.random.normal(shape, 0.0, spread, dtype, seed=self.seed)
        if shape != self.table.shape:
            raise ValueError(
                f"The vectors make a table of shape {self.table.shape}; received {shape}. "
                "Train vectors with vector_size=d_model and give the model's own tokenizer."
            )
        return ops.convert_to_tensor(self.table, dtype or "float32")

    def get_config(self):
        return {"stddev": self.stddev, "seed": self.seed, "source": self.source}


def _find(token, known):
    """The key under which ``known`` has a vector for the token, or None."""
    bare = token.removeprefix("##").lstrip("Ġ▁")
    return next((key for key in (token, bare, bare.lower()) if key and key in known), None)
