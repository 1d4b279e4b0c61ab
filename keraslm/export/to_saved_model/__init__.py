"""Export to a TensorFlow SavedModel that takes and gives strings, and its proof."""

from pathlib import Path

from keraslm.export.to_saved_model.exporter import saved_model as export
from keraslm.export.to_saved_model.proof import verify_saved_model as verify

__all__ = ["export", "is_at", "verify"]


def is_at(path: Path) -> bool:
    """Whether a SavedModel stands there."""
    return (path / "saved_model.pb").is_file()
