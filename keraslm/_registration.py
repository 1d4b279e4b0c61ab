"""Registers keraslm's Keras classes once Keras is there, without importing Keras ourselves.

``keras.models.load_model`` can only rebuild classes that are registered, and a user who wrote
``import keraslm`` expects them to be. Importing Keras (and so TensorFlow) takes seconds, which
``keraslm --help`` must not cost. So: a finder waits for ``import keras`` and then imports our
modules that define registered classes.

For this to be free of circular imports, the ``__init__`` of each package named below starts with
``import keras``, and our modules import one another by their full path.
"""

import importlib
import importlib.abc
import importlib.util
import sys

# Every module that registers something with Keras.
MODULES = (
    "keraslm.layers",
    "keraslm.models",
    "keraslm.embeddings",
    "keraslm.training",
)


def register():
    """Import every module that registers Keras classes."""
    for module in MODULES:
        importlib.import_module(module)


class _KerasFinder(importlib.abc.MetaPathFinder):
    """Runs ``register`` right after the first ``import keras``, then removes itself."""

    def __init__(self):
        self._searching = False

    def find_spec(self, fullname, path=None, target=None):
        if fullname != "keras" or self._searching:
            return None
        self._searching = True
        try:
            spec = importlib.util.find_spec("keras")
        finally:
            self._searching = False
        if spec is None or spec.loader is None:
            return None
        exec_module = spec.loader.exec_module

        def exec_then_register(module):
            exec_module(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
                register()

        spec.loader.exec_module = exec_then_register  # type: ignore[method-assign]  # once
        return spec


def install():
    """Register now if Keras is already imported, else as soon as it is."""
    if "keras" in sys.modules:
        register()
    else:
        sys.meta_path.insert(0, _KerasFinder())
