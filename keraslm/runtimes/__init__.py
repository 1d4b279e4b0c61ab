"""Exported files in their runtimes, from Python: one class for each kind of file."""

from keraslm.runtimes.litert import LiteRTModel
from keraslm.runtimes.litert_encoder import LiteRTEncoder
from keraslm.runtimes.litertlm import LiteRTLM

__all__ = ["LiteRTEncoder", "LiteRTLM", "LiteRTModel"]
