"""Checkpoints of Hugging Face, loaded into our models and given back."""

import keras  # noqa: F401  (first: see keraslm/_registration.py)

from keraslm.interop.families import FAMILIES, Family, Row
from keraslm.interop.huggingface import load_huggingface, save_huggingface
from keraslm.interop.keras_hub import from_keras_hub, to_keras_hub

__all__ = [
    "FAMILIES",
    "Family",
    "Row",
    "from_keras_hub",
    "load_huggingface",
    "save_huggingface",
    "to_keras_hub",
]
