"""Decoding: from ids to more ids, for any model with ``init_cache`` and ``step``."""

import keras  # noqa: F401  (first: see keraslm/_registration.py)

from keraslm.generation.config import GenerationConfig
from keraslm.generation.generator import Generated, Generator

__all__ = ["Generated", "GenerationConfig", "Generator"]
