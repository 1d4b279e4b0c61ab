"""Word vectors: train them, judge them, and start a model's token table from them."""

import keras  # noqa: F401  (first: see keraslm/_registration.py)

from keraslm.embeddings.bias import Association, weat
from keraslm.embeddings.evaluation import Analogies, Similarity, analogies, evaluate, similarity
from keraslm.embeddings.formats import load_vectors, write_vectors
from keraslm.embeddings.glove import train_glove
from keraslm.embeddings.initializer import Coverage, VectorInitializer
from keraslm.embeddings.projector import write_projector
from keraslm.embeddings.sentences import Sentences
from keraslm.embeddings.storage import save_vectors
from keraslm.embeddings.word2vec import train_fasttext, train_word2vec

__all__ = [
    "Analogies",
    "Association",
    "Coverage",
    "Sentences",
    "Similarity",
    "VectorInitializer",
    "analogies",
    "evaluate",
    "load_vectors",
    "save_vectors",
    "similarity",
    "train_fasttext",
    "train_glove",
    "train_word2vec",
    "weat",
    "write_projector",
    "write_vectors",
]
