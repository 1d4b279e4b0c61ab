"""The examples of the docstrings run, and print what they show; every public name has one.

An example begins in an empty folder, with the public names of the package that it stands in, what
it is the example of, ``keras``, ``keraslm``, ``np``, and, if it uses them, the names of `SHARED`.
Each has its own: what one does to ``lm`` no other sees.
"""

import ast
import doctest
import functools
import importlib
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pytest

import keraslm
from keraslm.export.to_web.browser import find_browser
from keraslm.export.to_web.exporter import PACKAGES

PACKAGE = Path(keraslm.__file__).parent
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Shown(NamedTuple):
    """A docstring with an example: module, path of names in it, text, line."""

    module: str
    path: str
    text: str
    line: int

    @property
    def name(self):
        return f"{self.module}.{self.path}".rstrip(".")


def docstrings(module, node, path=()):
    """Every `Shown` of a module, a class or a function, and of what is inside."""
    text = ast.get_docstring(node)
    if text and ">>>" in text:
        yield Shown(module, ".".join(path), text, node.body[0].lineno)
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef):
            yield from docstrings(module, child, (*path, child.name))


def shown_in(file):
    """Every `Shown` of a file."""
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    module = ".".join(part for part in parts if part != "__init__")
    return docstrings(module, ast.parse(file.read_text(encoding="utf-8")))


EXAMPLES = [shown for file in sorted(PACKAGE.rglob("*.py")) for shown in shown_in(file)]

# === What examples share ===


@functools.cache
def some_texts():
    """Twelve paragraphs of news."""
    from gensim.test.utils import datapath

    lines = Path(datapath("lee_background.cor")).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.strip()][:12]


@functools.cache
def a_tokenizer():
    return keraslm.tokenizers.Tokenizer.train(some_texts(), vocab_size=500)


def a_gpt():
    keras.utils.set_random_seed(1)
    # Not the usual small weights: the logits of a model as small as this one would all be alike.
    return keraslm.models.GPT(
        a_tokenizer().vocab_size, num_layers=1, d_model=32, num_heads=2, max_length=160,
        initializer_range=0.5,
    )  # fmt: skip


@functools.cache
def some_vectors():
    return keraslm.embeddings.train_word2vec(some_texts(), 16, epochs=1)


SHARED = {
    "texts": lambda: list(some_texts()),
    "tokenizer": a_tokenizer,
    "gpt": a_gpt,
    "lm": lambda: keraslm.tasks.TextGenerator(a_gpt(), a_tokenizer()),
    "vectors": some_vectors,
}


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """A folder with a bundle and its ``.tflite``: the ``saved_models/mine`` of the examples."""
    folder = tmp_path_factory.mktemp("shared") / "mine"
    lm = SHARED["lm"]()
    lm.save(folder)
    keraslm.export.tflite(lm, folder, verify=False)  # an example of its own proves one
    return folder


# === Running them ===

LITERTLM = (
    ("litert_lm_builder", "litert-lm-builder is not installed"),
    ("litert_lm", "litert-lm-api is not installed"),
)
KERAS_HUB = (("keras_hub", "KerasHub is not installed"),)
# Example → packages that it needs, which not everybody has.
NEEDS = {
    "keraslm.embeddings.glove.train_glove": (("numba", "could not import 'numba': it is missing"),),
    "keraslm.export.to_litertlm.exporter.litertlm": LITERTLM,
    "keraslm.export.to_mediapipe.exporter.mediapipe": (
        ("mediapipe", "mediapipe is not installed"),
    ),
    "keraslm.interop.keras_hub.from_keras_hub": KERAS_HUB,
    "keraslm.interop.keras_hub.to_keras_hub": KERAS_HUB,
    "keraslm.runtimes.litertlm.LiteRTLM": LITERTLM,
}
IN_CHROMIUM = {
    "keraslm.export.to_web.browser.run_in_browser", "keraslm.export.to_web.exporter.web"
}  # fmt: skip
MARKS = {
    "keraslm.export.to_litertlm.exporter.litertlm": pytest.mark.slow,
    "keraslm.export.to_mediapipe.exporter.mediapipe": pytest.mark.peer,
    "keraslm.export.to_saved_model.exporter.saved_model": pytest.mark.slow,
    "keraslm.runtimes.saved_model.SavedTextModel": pytest.mark.slow,
    "keraslm.export.targets.verify": pytest.mark.slow,
    "keraslm.export.to_web.browser.run_in_browser": pytest.mark.peer,
    "keraslm.export.to_web.exporter.web": pytest.mark.peer,
    "keraslm.zoo.recipes.make": pytest.mark.slow,
}


def namespace(shown, source):
    """What an example may use."""
    package = importlib.import_module(".".join(shown.module.split(".")[:2]))
    names = {name: getattr(package, name) for name in getattr(package, "__all__", ())}
    if shown.path:
        name = shown.path.partition(".")[0]
        names[name] = getattr(importlib.import_module(shown.module), name)
    used = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
    names |= {name: make() for name, make in SHARED.items() if name in used}
    return {**names, "keras": keras, "keraslm": keraslm, "np": np}


class Checker(doctest.OutputChecker):
    """Where an example shows nothing, anything may come."""

    def check_output(self, want, got, optionflags):
        return not want or super().check_output(want, got, optionflags)


def check_npm():
    if shutil.which("npm") is None:
        pytest.skip("no npm; set KERASLM_NODE_MODULES")
    command = ["npm", "view", next(iter(PACKAGES)), "version"]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("npm cannot install the packages; set KERASLM_NODE_MODULES")


def run(shown, names):
    """What is wrong with an example, and how many lines of it ran."""
    test = doctest.DocTestParser().get_doctest(
        shown.text, names, shown.name, shown.module, shown.line
    )
    said = []
    results = doctest.DocTestRunner(Checker(), optionflags=FLAGS).run(test, out=said.append)
    return "".join(said), results.attempted


@pytest.mark.parametrize(
    "shown",
    [pytest.param(shown, id=shown.name, marks=MARKS.get(shown.name, ())) for shown in EXAMPLES],
)
def test_the_example_runs_and_prints_what_it_shows(shown, request, tmp_path, monkeypatch):
    for module, reason in NEEDS.get(shown.name, ()):
        if find_spec(module) is None:
            pytest.skip(reason)
    if shown.name in IN_CHROMIUM and find_browser() is None:
        pytest.skip("no Chromium")
    if shown.name == "keraslm.export.to_web.exporter.web":
        check_npm()
    monkeypatch.chdir(tmp_path)
    source = "".join(line.source for line in doctest.DocTestParser().get_examples(shown.text))
    if "saved_models/mine/" in source:
        shutil.copytree(request.getfixturevalue("mine"), "saved_models/mine")
    wrong, lines = run(shown, namespace(shown, source))
    assert lines
    assert not wrong, wrong


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (">>> 1 + 1\n2", ""),
        (">>> 1 + 1\n3", "Expected:"),
        (">>> 1 + 1", ""),
        (">>> 1 + a", "NameError"),
        (">>> 1 / 0", "ZeroDivisionError"),
        (">>> list(range(9))\n[0, ..., 8]", ""),
    ],
)
def test_a_wrong_example_fails(text, wrong):
    said, lines = run(Shown("module", "name", text, 1), {})
    assert lines == 1
    assert wrong in said if wrong else not said


# === Every public name has one ===

# Tables: plain dicts, which have no docstring.
WITHOUT = {
    "keraslm.export.TARGETS",
    "keraslm.interop.FAMILIES",
    "keraslm.zoo.RECIPES",
    "keraslm.zoo.SOURCES",
}


def public():
    """``(name, value)`` of whatever a package under keraslm lists as public."""
    for folder in sorted(file.parent for file in PACKAGE.glob("[a-z]*/__init__.py")):
        package = importlib.import_module(f"keraslm.{folder.name}")
        yield from ((f"{package.__name__}.{name}", getattr(package, name))
                    for name in package.__all__)  # fmt: skip


def test_every_public_name_has_an_example():
    missing = {name for name, value in public() if ">>>" not in (value.__doc__ or "")}
    assert missing == WITHOUT
