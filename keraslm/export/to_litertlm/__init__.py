"""Export to a ``.litertlm`` file, and its proof."""

from pathlib import Path

from keraslm.export.manifest import begins
from keraslm.export.to_litertlm.exporter import litertlm as export
from keraslm.export.to_litertlm.proof import verify_litertlm as verify

__all__ = ["export", "is_at", "verify"]


def is_at(path: Path) -> bool:
    """Whether a ``.litertlm`` file stands there."""
    return begins(path, b"LITERTLM")
