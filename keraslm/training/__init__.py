"""What ``fit`` needs beside Keras: a recipe, optimizers, a metric, an honest evaluation."""

import keras  # noqa: F401  (first: see keraslm/_registration.py)

from keraslm.training.evaluation import Evaluation, evaluate
from keraslm.training.metrics import Perplexity
from keraslm.training.optimizer import SGD, AdamW, Lion, default_optimizer
from keraslm.training.recipe import Recipe
from keraslm.training.schedules import warmup_cosine

__all__ = [
    "SGD",
    "AdamW",
    "Evaluation",
    "Lion",
    "Perplexity",
    "Recipe",
    "default_optimizer",
    "evaluate",
    "warmup_cosine",
]
