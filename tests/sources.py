"""The files of the package, parsed once, for the tests that read them."""

import ast
from pathlib import Path

import keraslm

PACKAGE = Path(keraslm.__file__).parent
REPO = PACKAGE.parent
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def name_of(path):
    """``keraslm.models.gpt`` for ``keraslm/models/gpt.py``."""
    parts = path.relative_to(REPO).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): tree for path, tree in TREES.items()}


def ours(name):
    """Whether a module is one of the package."""
    return name == "keraslm" or name.startswith("keraslm.")
