"""Whether a model reads padding: found out by asking it."""

from typing import Any

import numpy as np
from keras import ops

from keraslm.export.to_tflite.encoders import Encoder
from keraslm.litert.notes import EncoderNote

PADDING = 4  # positions
TOLERANCE = 1e-4  # of the largest output


def note_of(encoder: Encoder, length: int) -> EncoderNote:
    """What a file says of the inputs of a model.

    Args:
        encoder: the model.
        length: that the model surely takes.
    """
    optional = tuple(name for name in ("token_types",) if name in encoder.inputs)
    return EncoderNote(tuple(encoder.inputs), optional, padded_inputs(encoder, length))


def padded_inputs(encoder: Encoder, length: int) -> tuple[str, ...]:
    """Names of the inputs that may be filled up with zeros on the right.

    A ``padding_mask`` among the inputs says which positions count. Without one, an input of any
    length may be padded if the model gives the same for a text with padding and without; an input
    of fixed length, if the model gives the same whatever its table holds for the id 0, as behind
    ``Embedding(mask_zero=True)``.

    Args:
        encoder: the model.
        length: that the model surely takes.
    """
    free = [name for name, x in encoder.inputs.items() if x.is_free]
    if "padding_mask" in encoder.inputs:
        axis = encoder.inputs["padding_mask"].shape[:1]
        return tuple(name for name, x in encoder.inputs.items() if x.shape[:1] == axis)
    if free:
        if _ignores_padding(encoder, free, length):
            return tuple(free)
        return tuple(name for name in free if _ignores_padding(encoder, [name], length))
    ids = [name for name, x in encoder.inputs.items() if len(x.shape) == 1 and x.tables]
    return tuple(name for name in ids if _ignores_zeros(encoder, name))


def random_inputs(
    encoder: Encoder, length: int, count: int, seed: int = 0, *, positive: bool = False
) -> dict[str, np.ndarray]:
    """Examples by name, ``(count, length, …)``: ids from 1 on, normal floats, ones for a mask.

    Args:
        encoder: the model.
        length: of the inputs that may have any.
        count: how many.
        seed: of the generator.
        positive: uniform floats from 0 to 1 instead.
    """
    rng = np.random.default_rng(seed)
    found = {}
    for name, x in encoder.inputs.items():
        shape = (count, *((length if x.is_free else x.shape[0],) if x.shape else ()), *x.shape[1:])
        if name == "padding_mask":
            found[name] = np.ones(shape, "int32")
        elif x.file_dtype == "int32":
            low = 1 if x.tables and x.vocabulary > 2 else 0
            found[name] = rng.integers(low, max(x.vocabulary, low + 1), shape).astype("int32")
        else:
            values = rng.uniform(size=shape) if positive else rng.normal(size=shape)
            found[name] = values.astype("float32")
    return found


def arrays(outputs: dict[str, Any]) -> dict[str, np.ndarray]:
    """Tensors as arrays."""
    return {name: ops.convert_to_numpy(y) for name, y in outputs.items()}


def _ignores_padding(encoder, names, length):
    for real in sorted({1, max(1, length // 2)}):
        try:
            plain = random_inputs(encoder, real, 4, seed=real)
            padding = min(PADDING, max(length - real, 0))
            padded = {
                name: np.pad(x, [(0, 0), (0, padding)] + [(0, 0)] * (x.ndim - 2))
                if name in names
                else x
                for name, x in plain.items()
            }
            if not padding or not _same(arrays(encoder(**plain)), arrays(encoder(**padded))):
                return False
        except Exception:  # inputs whose lengths must agree, or a model for longer texts
            return False
    return True


def _same(plain, padded):
    """Whether outputs agree where both have values."""
    for name, a in plain.items():
        b = padded[name]
        b = b[tuple(slice(n) for n in a.shape)] if b.ndim == a.ndim else b
        limit = TOLERANCE * max(float(np.abs(a).max(initial=0.0)), 1e-3)
        if b.shape != a.shape or not np.abs(a - b).max(initial=0.0) <= limit:
            return False
    return True


def _ignores_zeros(encoder, name):
    """Whether the rows of id 0 in the tables of an input do not matter."""
    tables = encoder.inputs[name].tables
    variables: list[Any] = [getattr(table, "embeddings", None) for table in tables]
    if not all(getattr(table, "mask_zero", False) for table in tables) or any(
        variable is None for variable in variables
    ):
        return False
    given = random_inputs(encoder, 1, 4)
    length = given[name].shape[1]
    if length < 2:
        return True
    for i in range(4):
        given[name][i, max(1, length * (i + 1) // 5) :] = 0
    before = arrays(encoder(**given))
    kept = [ops.convert_to_numpy(v) for v in variables]
    try:
        for variable, values in zip(variables, kept, strict=True):
            changed = np.array(values)
            changed[0] += 1 + np.abs(values).max()
            variable.assign(changed)
        return _same(before, arrays(encoder(**given)))
    finally:
        for variable, values in zip(variables, kept, strict=True):
            variable.assign(values)
