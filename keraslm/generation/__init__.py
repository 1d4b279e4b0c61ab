"""Decoding: from ids to more ids, for any model that follows the step protocol."""

import keras  # noqa: F401  (first: see keraslm/_registration.py)

from keraslm.generation.cache import CacheEntry, StepModel, init_cache, real_tokens, take_rows
from keraslm.generation.config import GenerationConfig
from keraslm.generation.generator import Generated, Generator

__all__ = [
    "CacheEntry",
    "Generated",
    "GenerationConfig",
    "Generator",
    "StepModel",
    "init_cache",
    "real_tokens",
    "take_rows",
]
