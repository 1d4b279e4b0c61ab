"""Private names of other libraries are used in ``keraslm/_compat.py``, and nowhere else."""

import ast
import importlib
import inspect
import re
import textwrap
import types

import keras
import pytest
from sources import PACKAGE, TREES, name_of, ours

PRIVATE = re.compile(r"_(?!_)|__internal__$")
# Packages that other libraries keep to themselves without an underscore.
PRIVATE_PACKAGES = {"keras.src", "keras_hub.src", "tensorflow.python", "tensorflow.core"}
ALIASES = {"tf": "tensorflow"}
# Documented by Python in spite of their underscore, so that fields may have any name.
NAMEDTUPLE = {"_asdict", "_field_defaults", "_fields", "_make", "_replace"}


def defined_in(tree):
    """Names that a file defines: functions, classes, variables, attributes of ``self``."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield from [node.attr] if is_own(node.value) else []


def is_own(node):
    """Whether an expression is the object or class itself: ``self``, ``cls``, ``super()``."""
    return ast.unparse(node) in ("self", "cls", "super()")


def named_attributes(tree):
    """``(node, the object, the attribute)`` of ``x.name`` and ``getattr(x, "name")``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node, node.value, node.attr
        elif isinstance(node, ast.Call) and len(node.args) > 1:
            name = node.args[1]
            if ast.unparse(node.func) in ("getattr", "hasattr", "setattr", "delattr") and (
                isinstance(name, ast.Constant)
            ):
                yield node, node.args[0], name.value


def private_uses(tree, everywhere, nearby):
    """What a file uses that another library keeps private, as source.

    Args:
        tree: of the file.
        everywhere: private names that our files define; ``self`` may have them from a base class.
        nearby: those of its folder, which any object may have.
    """
    for node in ast.walk(tree):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute):
            first, _, rest = ast.unparse(node).partition(".")
            modules = [f"{ALIASES.get(first, first)}.{rest}"]
            modules = modules if modules[0] in PRIVATE_PACKAGES else []
        for name in modules:
            parts = name.split(".")
            if ours(name) or parts[0].startswith("_"):  # __future__, _thread
                continue
            if ".".join(parts[:2]) in PRIVATE_PACKAGES or any(map(PRIVATE.match, parts)):
                yield f"{node.lineno}: {ast.unparse(node)}"
    for node, value, name in named_attributes(tree):
        known = NAMEDTUPLE | (everywhere if is_own(value) else nearby)
        if PRIVATE.match(name) and name not in known:
            yield f"{node.lineno}: {ast.unparse(node)}"


def private_names(folder):
    """Private names that the files of a folder, and of those below it, define: by folder."""
    found = {}
    for path in folder.rglob("*.py"):
        names = {name for name in defined_in(TREES[path]) if name.startswith("_")}
        found.setdefault(path.parent, set()).update(names)
    return found


def test_private_names_of_other_libraries_are_in_compat_only():
    """Whoever needs another one: a function in ``keraslm/_compat.py``, and its test."""
    by_folder = private_names(PACKAGE)
    everywhere = set().union(*by_folder.values())
    wrong = []
    for path, tree in TREES.items():
        if path.name != "_compat.py":
            uses = private_uses(tree, everywhere, by_folder[path.parent])
            wrong += [f"{name_of(path)}:{use}" for use in uses]
    assert not wrong


@pytest.mark.parametrize(
    "code",
    [
        "from keras.src.backend import config",
        "from keras import src",
        "import tensorflow.python.util.nest",
        "import tensorflow as tf\ntf.python.util",
        "import tensorflow as tf\ntf.__internal__.tracking",
        "import jax._src.core",
        "from gensim import _matutils",
        "layer._flatten_layers()",
        "variable._initializer = None",  # sets it, and so does not define it
        "class Board(Base):\n    def close(self):\n        self._close_writers()",
        "class Board(Base):\n    def close(self):\n        super()._close_writers()",
        "getattr(model, '_inputs_struct', None)",
        "hasattr(model, '_functional')",
        "setattr(model, '_initial_epoch', None)",
    ],
)
def test_the_check_of_private_names_can_fail(code):
    tree = ast.parse(code)
    assert len(list(private_uses(tree, set(), set(defined_in(tree))))) == 1


@pytest.mark.parametrize(
    "code",
    [
        "from __future__ import annotations",
        "from keraslm._files import replaced_file",
        "import keras\nkeras.layers.Dense.__init__",
        "point._replace(x=1)._asdict()",
        "class A:\n    def f(self, other):\n        self._x = 1\n        return other._x",
        "class A(Base):\n    def f(self):\n        return self._ours",
    ],
)
def test_the_check_of_private_names_can_pass(code):
    tree = ast.parse(code)
    assert not list(private_uses(tree, {"_ours", "_x"}, set(defined_in(tree))))


def private_names_of(cls):
    """Private names that a class, without its bases, defines or reads of itself."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):  # not written in Python
        return {name for name in vars(cls) if re.match(r"_(?!_)", name)}
    found = {name for _, value, name in named_attributes(tree) if is_own(value)}
    return {name for name in found | set(vars(cls)) if re.match(r"_(?!_)", name)}


def names_in_common(tree, module):
    """``Class._name``, for our classes that define what a base of another library uses."""
    for node in ast.walk(tree):
        cls = getattr(module, node.name, None) if isinstance(node, ast.ClassDef) else None
        if cls is None:
            continue
        bases = [base for base in cls.__mro__ if base is not object and not ours(base.__module__)]
        theirs = set().union(*(private_names_of(base) for base in bases))
        yield from sorted(f"{node.name}.{name}" for name in theirs & set(defined_in(node)))


def test_our_classes_define_no_private_name_of_a_base_of_another_library():
    """It would replace the library's own, without anyone having meant it."""
    wrong = []
    for path, tree in TREES.items():
        if path.name not in ("__main__.py", "serve.py"):  # they run
            module = importlib.import_module(name_of(path))
            wrong += [f"{name_of(path)}.{name}" for name in names_in_common(tree, module)]
    assert not wrong


def test_the_check_of_names_in_common_can_fail():
    class Board(keras.callbacks.TensorBoard):
        def _close_writers(self):
            self._writers = self._ours = {}

    tree = ast.parse(textwrap.dedent(inspect.getsource(Board)))
    Board.__module__ = "keraslm.callbacks.board"
    module = types.SimpleNamespace(Board=Board)
    assert list(names_in_common(tree, module)) == ["Board._close_writers", "Board._writers"]
