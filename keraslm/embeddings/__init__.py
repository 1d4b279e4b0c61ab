"""Word vectors: train them, and start a model's token table from them."""

import keras  # noqa: F401  (first: see keraslm/_registration.py)

from keraslm.embeddings.initializer import Coverage, VectorInitializer
from keraslm.embeddings.storage import load_vectors, save_vectors
from keraslm.embeddings.word2vec import train_word2vec

__all__ = ["Coverage", "VectorInitializer", "load_vectors", "save_vectors", "train_word2vec"]
