"""Text in, text out: a model with its tokenizer."""

import keras  # noqa: F401  (first: see keraslm/_registration.py)

from keraslm.tasks.base import Task
from keraslm.tasks.fill_mask import Filled, FillMask
from keraslm.tasks.info import Info, info
from keraslm.tasks.next_sentence import Following, NextSentence
from keraslm.tasks.pretrained import from_pretrained
from keraslm.tasks.pruning import Pruning, prune
from keraslm.tasks.question_answerer import Answer, QuestionAnswerer
from keraslm.tasks.sentence_encoder import SentenceEncoder
from keraslm.tasks.text_classifier import Classified, TextClassifier
from keraslm.tasks.text_generator import Score, TextGenerator
from keraslm.tasks.token_classifier import Entity, TokenClassifier

__all__ = [
    "Answer",
    "Classified",
    "Entity",
    "FillMask",
    "Filled",
    "Following",
    "Info",
    "NextSentence",
    "Pruning",
    "QuestionAnswerer",
    "Score",
    "SentenceEncoder",
    "Task",
    "TextClassifier",
    "TextGenerator",
    "TokenClassifier",
    "from_pretrained",
    "info",
    "prune",
]
