"""Kills at every line of a save and of its repair, in processes without TensorFlow."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("kills.py")


def run(*words):
    done = subprocess.run([sys.executable, SCRIPT, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("kind", ["model", "new folder", "file"])
def test_a_save_that_is_killed_leaves_the_old_or_the_new(kind):
    (line,) = run("lines", "25", kind)
    assert "2: " in line, "no kill came after the point of no return"


def test_a_repair_that_is_killed_is_repaired():
    run("repairs", "25", "same config")


def test_a_user_who_makes_files_meanwhile_loses_none():
    (line,) = run("guest", "export")
    assert "'made': 0" not in line


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["lines", "repairs", "times", "writers", "guest"])
def test_all_kinds_of_artefacts_at_all_lines(mode):
    run(mode)
