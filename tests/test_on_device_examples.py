"""The programs that use exports without keraslm: at most 60 lines each, and those that can, run."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from keraslm import export

FOLDER = Path(__file__).parents[1] / "examples" / "on_device"
NAMES = {"generate.py", "generate.cpp", "generate.html", "Generate.kt", "Generate.swift",
         "Classify.kt", "Classify.swift"}  # fmt: skip
PROMPT, TOKENS = "The government", 12


@pytest.fixture(scope="module")
def bundle(lm, tmp_path_factory):
    folder = lm.save(tmp_path_factory.mktemp("bundle"))
    export.tflite(lm, folder, verify=False)
    return folder


@pytest.fixture(scope="module")
def wanted(lm):
    return lm.generate(PROMPT, max_new_tokens=TOKENS, temperature=0) + "\n"


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_short():
    files = {file.name: file for file in FOLDER.iterdir() if file.is_file()}
    assert set(files) == NAMES
    for name, file in files.items():
        assert len(file.read_text(encoding="utf-8").splitlines()) <= 60, name


def test_python(bundle, wanted):
    assert run(sys.executable, FOLDER / "generate.py", bundle, PROMPT, str(TOKENS)) == wanted


def test_cpp(lm, bundle, wanted, tmp_path):
    runtime = pytest.importorskip("litert_lm", reason="litert-lm-api is not installed")
    pytest.importorskip("litert_lm_builder", reason="litert-lm-builder is not installed")
    library = Path(runtime.__file__).parent / "liblitert-lm.so"
    if not shutil.which("g++") or not library.is_file():
        pytest.skip("needs g++ and LiteRT-LM's library for Linux")
    path = export.litertlm(lm, bundle, verify=False)
    program = tmp_path / "generate"
    run("g++", "-std=c++17", "-Wall", "-Werror", FOLDER / "generate.cpp", "-o", program, library,
        f"-Wl,-rpath,{library.parent}")  # fmt: skip
    assert run(program, path, PROMPT, str(TOKENS)) == wanted
