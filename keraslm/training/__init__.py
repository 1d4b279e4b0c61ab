"""What ``fit`` needs beside Keras: a schedule, a metric, an honest evaluation."""

import keras  # noqa: F401  (first: see keraslm/_registration.py)

from keraslm.training.evaluation import Evaluation, evaluate
from keraslm.training.metrics import Perplexity
from keraslm.training.optimizer import default_optimizer
from keraslm.training.schedules import warmup_cosine

__all__ = ["Evaluation", "Perplexity", "default_optimizer", "evaluate", "warmup_cosine"]
