"""Vectors and sentences that several tests read."""

import numpy as np
import pytest
from gensim.models import KeyedVectors


@pytest.fixture
def small():
    """Five words, width 3, with frequencies."""
    vectors = KeyedVectors(3, count=0)
    words = ["the", "king", "Paris", "café", "中文"]
    vectors.add_vectors(words, np.random.default_rng(0).normal(size=(5, 3)).astype("float32"))
    for i, word in enumerate(words):
        vectors.set_vecattr(word, "count", 50 - 10 * i)
    return vectors
