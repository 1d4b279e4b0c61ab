"""The worked examples of docs/design.md, done to a copy of the package and run there."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import keraslm

PACKAGE = Path(keraslm.__file__).parent
DOCS = PACKAGE.parent / "docs"
PAGE = DOCS / "design.md"

pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="no source checkout")


class Block(NamedTuple):
    """A block of code of a page: the heading that it stands under, its language, its text."""

    heading: str
    language: str
    code: str


def blocks_of(page):
    """The `Block`s of a page that have a language, in their order."""
    heading, found = "", []
    parts = re.finditer(r"^## ([^\n]+)$|^```(\w+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    for part in parts:
        if part[1]:
            heading = part[1]
        else:
            found.append(Block(heading, part[2], part[3]))
    return found


def file_of(block):
    """Path of the file that a block is or changes; None of a program."""
    found = re.match(r"(?:# |--- )(keraslm/\S+\.py)\n", block.code)
    return found and found[1]


def patched(text, hunk):
    """A file with the lines of a diff. What the diff expects must stand there exactly once."""
    before = "".join(line[1:] for line in hunk if line[0] in " -")
    after = "".join(line[1:] for line in hunk if line[0] in " +")
    assert text.count(before) == 1, f"the page shows what is not there:\n{before}"
    return text.replace(before, after)


def add(block, root):
    """Do to the package in ``root`` what a block shows."""
    path, lines = root / file_of(block), block.code.splitlines(keepends=True)[1:]
    if block.language == "python":
        assert not path.exists()
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(lines), encoding="utf-8")
        return
    text, hunk = path.read_text(encoding="utf-8"), []
    for line in [*lines, " …\n"]:
        if line.strip() == "…":
            text, hunk = patched(text, hunk), []
        else:
            hunk.append(line if line.strip() else " \n")
    path.write_text(text, encoding="utf-8")


BLOCKS = blocks_of(PAGE.read_text(encoding="utf-8")) if PAGE.is_file() else []
PROGRAMS = [block for block in BLOCKS if block.language == "python" and not file_of(block)]
# What an example may change, by its heading: new files, and files that get lines.
PLACES = {
    "Adding an option of a block": ([], ["keraslm/layers/attention.py"]),
    "Adding a family": ([], ["keraslm/interop/decoders.py", "keraslm/interop/families.py"]),
    "Adding a task": (["keraslm/tasks/reranker.py"], ["keraslm/tasks/table.py"]),
    "Adding a target": (["keraslm/export/to_keras/__init__.py"], ["keraslm/_targets.py"]),
    "A model with a cache of its own": ([], []),
}


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """A copy of the package to which everything on the page was added."""
    root = tmp_path_factory.mktemp("design")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, root / "keraslm", ignore=ignored)
    for block in BLOCKS:
        if file_of(block):
            add(block, root)
    return root


def test_each_addition_has_as_many_places_as_the_page_says():
    assert {block.heading for block in BLOCKS} == set(PLACES)
    for heading, places in PLACES.items():
        mine = [b for b in BLOCKS if b.heading == heading and file_of(b)]
        new = [file_of(b) for b in mine if b.language == "python"]
        assert (new, [file_of(b) for b in mine if b.language == "diff"]) == places
        if places[0]:  # one row, and the import of a new file
            diff = next(b.code for b in mine if b.language == "diff")
            rows = [line for line in diff.splitlines() if line.startswith("+")]
            assert len([line for line in rows if "import" not in line]) == 1
            assert len(rows) <= 2


def test_a_diff_of_something_else_fails():
    with pytest.raises(AssertionError, match="not there"):
        patched("a\nb\n", [" a\n", "+x\n", " c\n"])
    assert patched("a\nb\n", [" a\n", "+x\n", "-b\n"]) == "a\nx\n"


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda block: block.heading)
def test_the_program_of_each_example_runs(program, changed, tmp_path):
    if "import torch" in program.code and not (
        importlib.util.find_spec("torch") and importlib.util.find_spec("transformers")
    ):
        pytest.skip("needs torch and transformers")
    file = tmp_path / "program.py"
    file.write_text(program.code, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(changed), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, file], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
