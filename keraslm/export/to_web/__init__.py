"""Export to a folder for static web servers, and its proof in a browser."""

from pathlib import Path

from keraslm.export.to_web.exporter import web as export
from keraslm.export.to_web.proof import verify_web as verify

__all__ = ["export", "is_at", "verify"]


def is_at(path: Path) -> bool:
    """Whether a web folder stands there."""
    return (path / "model.tflite").is_file() and (path / "index.html").is_file()
