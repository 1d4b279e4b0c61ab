"""What the exporters share: silence, float32 copies, and conversion with a guarantee."""

import contextlib
import os
import tempfile

from keraslm.export.flatbuffer import LiteRTFile


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


def in_float32(model):
    """The model itself, or a float32 copy: LiteRT has no bfloat16 or float16 matrix product."""
    if model.compute_dtype == "float32":
        return model
    copy = type(model).from_config({**model.get_config(), "dtype": "float32"})
    for new, old in zip(copy.weights, model.weights, strict=True):
        new.assign(old)
    return copy


def to_litert(weights, signatures):
    """The bytes of a float32 ``.tflite`` with builtin operations only.

    Args:
        weights: Keras variables that the signatures read, ``model.weights``.
        signatures: concrete functions by name.

    Raises:
        ValueError: an operation that LiteRT does not have built in.
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


def conversion_error(error):
    """One sentence on why the converter failed."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = next((line for line in lines if "tf." in line and "op" in line), lines[0])
    return (
        f"LiteRT cannot convert this model with builtin operations only: {told[:300]}. "
        "Replace the layer that uses this operation."
    )
