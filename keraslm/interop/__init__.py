"""Checkpoints of Hugging Face, loaded into our models and given back."""

import keras  # noqa: F401  (first: see keraslm/_registration.py)

from keraslm.interop.families import FAMILIES, Family, Row
from keraslm.interop.huggingface import load_huggingface, save_huggingface

__all__ = ["FAMILIES", "Family", "Row", "load_huggingface", "save_huggingface"]
