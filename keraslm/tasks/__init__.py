"""Text in, text out: a model with its tokenizer."""

import keras  # noqa: F401  (first: see keraslm/_registration.py)

from keraslm.tasks.encoders import Classified, Filled, FillMask, SentenceEncoder, TextClassifier
from keraslm.tasks.pretrained import from_pretrained
from keraslm.tasks.text_generator import Score, TextGenerator

__all__ = [
    "Classified",
    "FillMask",
    "Filled",
    "Score",
    "SentenceEncoder",
    "TextClassifier",
    "TextGenerator",
    "from_pretrained",
]
