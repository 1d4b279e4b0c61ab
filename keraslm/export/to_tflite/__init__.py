"""Export to a ``.tflite`` file, and its proof."""

from pathlib import Path

from keraslm.export.manifest import begins
from keraslm.export.to_tflite.exporter import tflite as export
from keraslm.export.to_tflite.proof import verify_tflite as verify

__all__ = ["export", "is_at", "verify"]


def is_at(path: Path) -> bool:
    """Whether a ``.tflite`` file stands there."""
    return begins(path, b"TFL3", 4)
