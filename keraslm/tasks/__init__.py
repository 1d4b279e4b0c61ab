"""Text in, text out: a model with its tokenizer."""

import keras  # noqa: F401  (first: see keraslm/_registration.py)

from keraslm.tasks.pretrained import from_pretrained
from keraslm.tasks.text_generator import Score, TextGenerator

__all__ = ["Score", "TextGenerator", "from_pretrained"]
