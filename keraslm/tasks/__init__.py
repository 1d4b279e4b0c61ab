"""Text in, text out: a model with its tokenizer."""

import keras  # noqa: F401  (first: see keraslm/_registration.py)

from keraslm.tasks.base import Task
from keraslm.tasks.fill_mask import Filled, FillMask
from keraslm.tasks.info import Info, info
from keraslm.tasks.pretrained import from_pretrained
from keraslm.tasks.pruning import Pruning, prune
from keraslm.tasks.sentence_encoder import SentenceEncoder
from keraslm.tasks.text_classifier import Classified, TextClassifier
from keraslm.tasks.text_generator import Score, TextGenerator

__all__ = [
    "Classified",
    "FillMask",
    "Filled",
    "Info",
    "Pruning",
    "Score",
    "SentenceEncoder",
    "Task",
    "TextClassifier",
    "TextGenerator",
    "from_pretrained",
    "info",
    "prune",
]
