"""Export for MediaPipe Tasks, which take raw text, and its proof."""

import zipfile
from pathlib import Path

from keraslm.export.manifest import begins
from keraslm.export.to_mediapipe.exporter import mediapipe as export
from keraslm.export.to_mediapipe.proof import verify_mediapipe as verify

__all__ = ["export", "is_at", "verify"]


def is_at(path: Path) -> bool:
    """Whether a ``.tflite`` with a vocabulary for MediaPipe stands there."""
    return begins(path, b"TFL3", 4) and zipfile.is_zipfile(path)
