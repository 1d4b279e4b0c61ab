"""keraslm: from raw text to a language model on a phone, with Keras and TensorFlow.

Three doors:

* ids in, logits out: ``keraslm.models`` (plain ``keras.Model``),
* text in, text out: ``keraslm.tasks`` (a model with its tokenizer),
* something on disk: ``keraslm.from_pretrained(path)``.

``import keraslm`` imports neither Keras nor TensorFlow; each part is loaded when first used. Our
Keras classes are registered as soon as Keras itself is imported, so ``keras.models.load_model``
finds them in whichever order the two are imported.
"""

import importlib

from keraslm import _registration
from keraslm._version import __version__

_PARTS = (
    "callbacks",
    "data",
    "embeddings",
    "export",
    "generation",
    "interop",
    "layers",
    "models",
    "runtimes",
    "tasks",
    "tokenizers",
    "training",
    "zoo",
)

__all__ = [*_PARTS, "from_pretrained", "__version__"]


def __getattr__(name):
    if name in _PARTS:
        return importlib.import_module(f"keraslm.{name}")
    if name == "from_pretrained":
        from keraslm.tasks.pretrained import from_pretrained

        return from_pretrained
    raise AttributeError(f"module 'keraslm' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)


_registration.install()
