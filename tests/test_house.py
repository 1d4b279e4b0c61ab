"""Rules of the house: floors, names that are a file format, docstrings, sizes, licences."""

import ast
import importlib
import inspect
import io
import re
import subprocess
import tokenize
import unicodedata

import keras
import pytest
from sources import FILES, MODULES, PACKAGE, REPO, TREES, name_of, ours

import keraslm
from keraslm import _registration

LONGEST = 450

# Lowest first. A room imports only from lower floors. Under all of them are the modules of the root
# with an underscore (_compat, _files, …), which import nothing of ours.
FLOORS = (
    {"layers", "data", "generation"},
    {"tokenizers", "embeddings", "training", "litert"},
    {"callbacks"},
    {"models", "runtimes"},
    {"interop"},
    {"tasks"},
    {"export"},
    {"pipeline"},
    {"demo", "zoo"},
    {"cli"},
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

# What saved models name their classes by: a removed or renamed one breaks the files of users.
REGISTERED = {
    "AdamW",
    "AttentionMask",
    "BERT",
    "Dense",
    "FeedForward",
    "GPT",
    "Lion",
    "GPTEncoder",
    "LastToken",
    "MaskedLMHead",
    "MultiHeadAttention",
    "Perplexity",
    "PositionalEncoding",
    "RotaryEmbedding",
    "SGD",
    "SegmentPositions",
    "TokenBias",
    "TokenEmbedding",
    "Transformer",
    "TransformerBlock",
    "VectorInitializer",
    "_TokenTypes",
}


def room_of(module):
    """``models`` for ``keraslm.models.gpt``; ``""`` for ``keraslm`` itself."""
    return (module.split(".") + [""])[1]


def imports_of(module, nodes):
    """Every one of our modules that these nodes name: imports, ``keraslm.part``, strings."""
    package = next(path for path in TREES if name_of(path) == module).name == "__init__.py"
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if ours(alias.name))
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = module.split(".")
                up = here[: len(here) - node.level + package]
                base = ".".join([*up, *([base] if base else [])])
            if ours(base):
                for alias in node.names:
                    full = f"{base}.{alias.name}"
                    yield full if full in MODULES else base
        elif isinstance(node, ast.Attribute):
            if isinstance(node.value, ast.Name) and node.value.id == "keraslm":
                if f"keraslm.{node.attr}" in MODULES:
                    yield f"keraslm.{node.attr}"
                elif node.attr == "from_pretrained":
                    yield "keraslm.tasks"
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            for arg in node.args:
                if isinstance(arg, ast.Constant) and ours(str(arg.value)):
                    yield arg.value


ARROWS = sorted(
    (module, target)
    for module, tree in MODULES.items()
    for target in set(imports_of(module, ast.walk(tree)))
    if target != module
)


def find_circle(graph):
    """A circle as a list of nodes, or None."""
    done = set()

    def visit(node, path):
        if node in path:
            return path[path.index(node) :]
        if node in done:
            return None
        for target in graph.get(node, ()):
            circle = visit(target, [*path, node])
            if circle:
                return circle
        done.add(node)
        return None

    return next((c for c in (visit(node, []) for node in graph) if c), None)


# === Floors ===


def test_the_graph_is_read():
    assert ("keraslm.models.base", "keraslm.layers.masks") in ARROWS
    assert ("keraslm.layers.attention", "keraslm.layers.masks") in ARROWS  # from … import masks
    code = """def late():
        import keraslm, importlib
        from ..layers import masks
        keraslm.tasks.anything
        return importlib.import_module("keraslm.data"), keraslm.from_pretrained
    """
    assert set(imports_of("keraslm.models.gpt", ast.walk(ast.parse(code)))) == {
        "keraslm", "keraslm.layers.masks", "keraslm.tasks", "keraslm.data",
    }  # fmt: skip
    assert find_circle({"a": ["b"], "b": ["c"], "c": ["b"]}) == ["b", "c"]


def test_every_room_has_a_floor():
    rooms = {room_of(module) for module in MODULES} - {""}
    assert {room for room in rooms if not room.startswith("_")} <= set(FLOOR_OF)


def test_rooms_import_only_from_lower_floors():
    wrong = []
    for module, target in ARROWS:
        here, there = room_of(module), room_of(target)
        if here in ("", there) or not there or here.startswith("_") or there.startswith("_"):
            continue
        if FLOOR_OF[there] >= FLOOR_OF[here]:
            wrong.append(f"{module} → {target}")
    assert not wrong


def test_private_modules_of_the_root_import_nothing_of_ours():
    assert not [
        (here, there)
        for here, there in ARROWS
        if room_of(here).startswith("_") and room_of(there) != room_of(here) != "__main__"
    ]


def test_only_the_root_and_the_command_read_the_root():
    """``from keraslm import __version__`` is all that a room may want of it."""
    wrong = []
    for module, tree in MODULES.items():
        if not room_of(module):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module == "keraslm" and not node.level:
                names = {alias.name for alias in node.names} - {"__version__"}
                wrong += [f"{module}: {n}" for n in names if f"keraslm.{n}" not in MODULES]
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                known = node.attr == "__version__" or f"keraslm.{node.attr}" in MODULES
                if node.value.id == "keraslm" and not known:
                    wrong.append(f"{module}: keraslm.{node.attr}")
    assert not wrong


def test_no_circles_between_rooms():
    rooms = {}
    for module, target in ARROWS:
        here, there = room_of(module), room_of(target)
        if here and there and here != there:
            rooms.setdefault(here, set()).add(there)
    assert find_circle(rooms) is None


def test_no_two_files_import_each_other_now_or_later():
    """Imports inside functions count too."""
    graph = {}
    for module, target in ARROWS:
        graph.setdefault(module, []).append(target)
    assert find_circle(graph) is None


@pytest.mark.parametrize("room", ["layers", "models"])
def test_networks_are_pure_keras(room):
    wrong = [
        f"{module}: {ast.unparse(node)}"
        for module, tree in MODULES.items()
        if room_of(module) == room
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom)) and "tensorflow" in ast.unparse(node)
    ]
    assert not wrong


def test_packages_that_need_keras_import_it_first():
    """So that the hook on ``import keras`` cannot run into a half-imported package of ours."""
    for package in _registration.MODULES:
        imports = [
            node for node in MODULES[package].body if isinstance(node, (ast.Import, ast.ImportFrom))
        ]
        assert ast.unparse(imports[0]) == "import keras"


# === Places ===


def test_a_task_is_named_in_its_file_and_its_row():
    """``__init__.py`` lists what is public; the zoo and MediaPipe want tasks of their own."""
    from keraslm.tasks.table import TASKS

    files = {task.__module__ for task in TASKS.values()}
    places = {
        f"{target.rpartition('.')[2]} in {module}"
        for module, target in ARROWS
        if target in files
        and module not in ("keraslm.tasks.table", "keraslm.tasks")
        and "mediapipe" not in module
    }
    assert places == set()


def test_a_target_is_its_folder_and_its_row():
    from keraslm._targets import TARGETS

    folders = {f"keraslm.export.to_{name}" for name in TARGETS}
    assert all(folder in MODULES for folder in folders)
    assert not [a for a in ARROWS if a[0] == "keraslm.export.targets" and a[1].count(".") > 2]


# === Registered names ===


def registered_classes():
    """``(module, class)`` of every class under our ``register``."""
    for module, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                decorators = {ast.unparse(d) for d in node.decorator_list}
                if any(re.search(r"\bregister\b|register_keras", d) for d in decorators):
                    yield module, node.name


def test_registered_names_are_a_file_format():
    assert {name for _, name in registered_classes()} == REGISTERED
    for module, _ in registered_classes():
        importlib.import_module(module)
    found = {
        name.removeprefix("keraslm>"): cls
        for name, cls in keras.saving.get_custom_objects().items()
        if name.startswith("keraslm>")
    }
    assert set(found) == REGISTERED
    assert all(cls.__name__ == name for name, cls in found.items())


def test_every_registered_class_is_there_after_import_keras():
    missing = {
        module
        for module, _ in registered_classes()
        if f"keraslm.{room_of(module)}" not in _registration.MODULES
    }
    assert not missing


def test_every_layer_model_metric_and_initializer_is_registered():
    bases = re.compile(r"keras\.(layers\.Layer|Model|metrics\.\w+|initializers\.\w+|losses\.\w+)$")
    registered = set(registered_classes())
    missing = [
        f"{module}.{node.name}"
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and any(bases.search(ast.unparse(base)) for base in node.bases)
        and (module, node.name) not in registered
    ]
    assert missing == ["keraslm.models.base.TransformerModel"]  # has no constructor of its own


# === Names and docstrings ===


PUBLIC = [
    f"{name}.{public}"
    for name, tree in MODULES.items()
    if name.count(".") == 1
    for node in tree.body
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    for public in ast.literal_eval(node.value)
]


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_have_docstrings(name):
    module, _, public = name.rpartition(".")
    value = getattr(importlib.import_module(module), public)
    if not callable(value):
        return
    assert (value.__doc__ or "").strip(), "no docstring"
    if not isinstance(value, type):
        return
    assert not value.__doc__.startswith(f"{public}("), "only what dataclasses write"
    bare = [
        attribute
        for attribute, member in vars(value).items()
        if not attribute.startswith("_")
        and (callable(member) or isinstance(member, (property, classmethod, staticmethod)))
        and not (getattr(member, "__doc__", None) or "").strip()
        # What Keras defines and documents.
        and not any(hasattr(base, attribute) for base in value.__mro__[1:])
    ]
    assert not bare


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_modules_have_a_docstring_and_an_end(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert ast.get_docstring(TREES[path])
    assert len(lines) <= LONGEST


def test_every_room_names_what_is_public():
    packages = [name for name in MODULES if name.count(".") == 1 and (
        PACKAGE / name.split(".")[1] / "__init__.py").is_file()]  # fmt: skip
    assert {name.rpartition(".")[0] for name in PUBLIC} == set(packages)
    assert len(set(PUBLIC)) == len(PUBLIC)


# === Text ===


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_source_has_no_surprising_characters(path):
    """No tabs, byte-order marks, invisible or look-alike characters; ASCII identifiers."""
    data = path.read_bytes()
    text = data.decode("utf-8")
    assert unicodedata.normalize("NFC", text) == text
    odd = {
        f"U+{ord(c):04X}"
        for c in text
        if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Co", "Cn", "Zl", "Zp")
    }
    odd |= {f"U+{ord(c):04X}" for c in text if c != " " and unicodedata.category(c) == "Zs"}
    assert not odd
    for token in tokenize.tokenize(io.BytesIO(data).readline):
        if token.type == tokenize.NAME:
            assert token.string.isascii(), token


def test_text_files_are_opened_as_utf8():
    """The default encoding is the platform's."""
    wrong = []
    for module, tree in MODULES.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            name = called.rpartition(".")[2]
            if name not in ("open", "read_text", "write_text") or called == "webbrowser.open":
                continue
            if called.startswith(("tf.", "zipfile.", "archive.", "tarfile.", "os.")):
                continue
            given = {keyword.arg for keyword in node.keywords}
            words = [a.value for a in node.args if isinstance(a, ast.Constant)]
            words += [k.value.value for k in node.keywords
                      if k.arg == "mode" and isinstance(k.value, ast.Constant)]  # fmt: skip
            binary = any(isinstance(word, str) and re.fullmatch(r"[rwax+]*b[rwax+]*", word)
                         for word in words)  # fmt: skip
            if "encoding" not in given and not binary:
                wrong.append(f"{module}:{node.lineno}: {called}")
    assert not wrong


# === Types ===


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_what_mypy_shall_ignore_has_a_code_and_a_reason(path):
    """mypy checks the bodies of all functions: ``make types``."""
    lines = path.read_text(encoding="utf-8").splitlines()
    ignored = [line for line in lines if re.search(r"#\s*(type:\s*ignore|mypy:)", line)]
    assert [x for x in ignored if not re.search(r"# type: ignore\[[\w-]+\]  # \w.*$", x)] == []


# What Keras calls, or defines with a signature of its own, in classes that derive from Keras'.
OF_KERAS = {
    "build", "call", "compile_from_config", "compute_loss", "compute_output_shape",
    "compute_output_spec", "evaluate", "fit", "from_config", "get_config", "input_spec",
    "on_epoch_begin", "on_epoch_end", "on_train_batch_end", "on_train_begin", "on_train_end",
    "predict", "result", "save", "train_step", "update_state",
}  # fmt: skip


def function_of(member):
    """The function behind a method or property, if it was written by hand in our files."""
    member = getattr(member, "__func__", member)  # class and static methods
    for name in ("fget", "func"):  # properties, cached ones
        member = getattr(member, name, None) or member
    is_ours = inspect.isfunction(member) and member.__code__.co_filename.startswith(str(PACKAGE))
    return member if is_ours else None


def public_functions(value):
    """``(name, function)`` of a function, or of the public methods of a class and our bases."""
    if not isinstance(value, type):
        if function_of(value):
            yield value.__name__, function_of(value)
        return
    bases = [base for base in value.__mro__ if ours(base.__module__)]
    theirs = [base for base in value.__mro__ if base not in bases and base is not object]
    for base in bases:
        for name, member in vars(base).items():
            of_keras = name in OF_KERAS and any(hasattr(other, name) for other in theirs)
            is_public = name == "__init__" or not name.startswith("_")
            if is_public and not of_keras and function_of(member):
                yield f"{base.__name__}.{name}", function_of(member)


def untyped(function):
    """Parameters of a function without an annotation, and ``return``."""
    signature = inspect.signature(function)
    missing = [
        name
        for name, parameter in signature.parameters.items()
        if parameter.annotation is parameter.empty and name not in ("self", "cls")
    ]
    return missing + ["return"] * (signature.return_annotation is signature.empty)


@pytest.mark.parametrize("name", PUBLIC)
def test_public_functions_and_methods_are_fully_typed(name):
    module, _, public = name.rpartition(".")
    functions = public_functions(getattr(importlib.import_module(module), public))
    missing = {name: untyped(function) for name, function in functions}
    assert {name: found for name, found in missing.items() if found} == {}


def test_the_check_of_types_can_fail():
    def function(a: int, b, *c, d: int = 1, e=None, **f: str):
        pass

    assert untyped(function) == ["b", "c", "e", "return"]
    found = dict(public_functions(keraslm.models.GPT))
    assert {"GPT.__init__", "GPT.step", "TransformerModel.max_length"} <= set(found)
    assert "TransformerModel.sized" in found  # a class method, of a base
    assert "TransformerModel.fit" not in found
    assert not any(name.startswith(("Model.", "Layer.")) for name in found)


# === Licences ===


LICENCE = re.compile(r"licen[cs]e|CC BY|CC0|public domain|\bMIT\b|\bBSD\b|Apache")


def committed():
    try:
        names = subprocess.run(
            ["git", "ls-files", "-z"], cwd=REPO, capture_output=True, check=True
        ).stdout.decode("utf-8").split("\0")  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [name for name in names if name and (REPO / name).is_file()]


def is_binary(data):
    if b"\0" in data:
        return True
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return True
    return False


def notices(text):
    """``{path: its entry}`` of the NOTICE: a path, then words, then indented lines."""
    entries, path = {}, None
    for line in text.splitlines():
        if line[:1].strip():
            path = line.split()[0]
            entries[path] = line
        elif path:
            entries[path] += " " + line.strip()
    return entries


def licensed(name, entries):
    """Whether the file, or a folder that it is in, has an entry that names a licence."""
    return any(
        (name == path or (path.endswith("/") and name.startswith(path)))
        and LICENCE.search(entry.removeprefix(path))
        for path, entry in entries.items()
    )


def test_every_committed_binary_has_a_licence():
    entries = notices((REPO / "NOTICE").read_text(encoding="utf-8"))
    binaries = [name for name in committed() if is_binary((REPO / name).read_bytes())]
    assert [name for name in binaries if not licensed(name, entries)] == []


def test_the_licence_check_can_fail():
    entries = notices("keraslm\n\na/b/  a model\n      under CC BY-SA 4.0\nc.bin  no more\n")
    assert licensed("a/b/model.tflite", entries)
    assert not licensed("a/model.tflite", entries)
    assert not licensed("c.bin", entries)
    assert is_binary(b"\x93NUMPY")
    assert not is_binary("ünïcode".encode())
