"""What users pass to ``fit``: TensorBoard, samples of text, a time limit, freezing."""

import keras  # noqa: F401  (first: see keraslm/_registration.py)

from keraslm.callbacks.freeze import Freeze
from keraslm.callbacks.samples import Samples
from keraslm.callbacks.tensorboard import TensorBoard
from keraslm.callbacks.time_limit import TimeLimit

__all__ = ["Freeze", "Samples", "TensorBoard", "TimeLimit"]
