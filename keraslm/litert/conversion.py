"""What the exporters share: silence, float32 copies, and conversion with a guarantee."""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from typing import Any

from keraslm.litert.flatbuffer import LiteRTFile


@contextlib.contextmanager
def quiet():
    """Keep TensorFlow's C++ converter from writing to stderr."""
    with tempfile.TemporaryFile() as log:
        saved = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def to_litert(weights: Iterable[Any], signatures: Mapping[str, Any]) -> bytes:
    """The bytes of a float32 ``.tflite`` with builtin operations only.

    Args:
        weights: Keras variables that the signatures read, ``model.weights``.
        signatures: concrete functions by name.

    Raises:
        ValueError: an operation that LiteRT does not have built in.

    Example:
        >>> import tensorflow as tf
        >>> dense = keras.layers.Dense(2)
        >>> dense.build((1, 3))
        >>> run = tf.function(lambda x: {"y": dense(x)})
        >>> signature = run.get_concrete_function(x=tf.TensorSpec((1, 3)))
        >>> content = to_litert(dense.weights, {"run": signature})
        >>> LiteRTFile(content).operations()
        Counter({'FULLY_CONNECTED': 1})
    """
    import tensorflow as tf

    class Module(tf.Module):
        pass

    module = Module()
    # Without this the weights are exported uninitialised, without an error.
    module.weights = [w.value for w in weights]
    with tempfile.TemporaryDirectory() as folder, quiet():
        tf.saved_model.save(module, folder, signatures=signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(
            folder, signature_keys=list(signatures)
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        try:
            content = converter.convert()
        except Exception as error:
            raise ValueError(conversion_error(error)) from error
    check_builtin(content)
    return content


def check_builtin(content):
    """Raise a ValueError if a file has an operation that is not built in, or lacks its weights."""
    names = LiteRTFile(content).operations()
    foreign = sorted(n for n in names if n.startswith(("custom:", "STABLEHLO_COMPOSITE")))
    if foreign:
        raise ValueError(
            f"The model needs operations that LiteRT does not have built in: {', '.join(foreign)}. "
            "Replace the layer that uses them."
        )
    if "VAR_HANDLE" in names:
        raise ValueError("The file holds variables instead of weights: model.weights misses some.")


# What to write instead of an operation that does not convert.
INSTEAD = {
    "BitwiseAnd": "for ops.argmax(x) write ops.top_k(x, 1)[1]",
    "Cumprod": "exp(cumsum(log(x))) gives a running product",
    "CumulativeLogsumexp": "log(cumsum(exp(x))) gives it where x is small",
    "Erf": "gelu(x, approximate=False) converts, a bare erf does not",
    "StatelessRandomUniformV2": "keraslm.generation.random.uniform converts",
    "StatelessRandomGetKeyCounter": "keraslm.generation.random.uniform converts",
    "TensorListReserve": (
        "recurrent layers convert with a fixed length; give lengths=128, say, instead of 'dynamic'"
    ),
    "StridedSlice": "write ops.expand_dims(x, axis) for x[:, None]",
}


def conversion_error(error):
    """One sentence on why the converter failed: operations, their layers, the way round."""
    found = re.findall(r'error: loc\(callsite\((?:fused\[)?"(\w+):", "([^"@]+)@', str(error))
    named = dict.fromkeys((operation, _layer(path)) for operation, path in found)
    if not named:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        told = next((line for line in lines if "tf." in line and "op" in line), lines[0])
        return (
            f"LiteRT cannot convert this model with builtin operations only: {told[:300]}. "
            "Replace the layer that uses this operation."
        )
    told = ", ".join(f"{operation} in {layer}" for operation, layer in named)
    advice = "".join(
        f" For {operation}: {INSTEAD[operation]}."
        for operation in dict.fromkeys(operation for operation, _ in named)
        if operation in INSTEAD
    )
    return (
        f"LiteRT cannot convert this model with builtin operations only: it has none for {told}. "
        f"Replace the layer, or leave it out of the exported model.{advice}"
    )


def _layer(path):
    """``block_0/my_layer`` of ``functional_1/block_0_1/my_layer_1/erfinv/Erfinv``."""
    scopes = [re.sub(r"_\d+$", "", scope) for scope in path.split("/")[:-1]]
    own = [scope for scope in scopes if not re.fullmatch(r"(functional|sequential)(_\d+)?", scope)]
    return "/".join(own) or path
