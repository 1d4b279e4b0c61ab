"""Models from stored values: a ``.keras`` file, or weights that are read one at a time."""

from pathlib import Path

import keras

from keraslm._compat import layers_in, set_initializer
from keraslm._types import StrPath


def load(path: StrPath) -> keras.Model:
    """Load a model saved with ``model.save("name.keras")``.

    ``keras.models.load_model`` does the same once keraslm is imported; this says what is wrong
    with the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a readable ``.keras`` file.

    Example:
        >>> gpt.save("mine.keras")
        >>> loaded = keraslm.models.load("mine.keras")
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"No model at {path}. Give a file saved with model.save(path).")
    try:
        return keras.models.load_model(path)
    except Exception as error:  # zipfile, json, h5py and keras errors alike
        raise ValueError(f"{path} is not a readable .keras file: {error}") from error


def weights_of(model):
    """Weights by path, without the model's own name in front.

    Layers on which Keras' ``enable_lora`` was called have the adapter merged into its weight, as in
    Keras' own files.
    """
    check_not_quantized(model)
    prefix = f"{model.name}/"
    named = {weight.path.removeprefix(prefix): weight for weight in model.weights}
    if len(named) != len(model.weights):
        raise ValueError("Two weights of the model have one path: give its layers other names.")
    for layer in (model, *layers_in(model)):
        if getattr(layer, "lora_enabled", False):
            own = {weight.name: weight for weight in layer.weights}
            merged = next(name for name in ("kernel", "embeddings") if name in own)
            parts = [own[f"lora_{merged}_{x}"] for x in "ab"]
            for part in parts:
                del named[part.path.removeprefix(prefix)]
            share = layer.lora_alpha / layer.lora_rank
            named[own[merged].path.removeprefix(prefix)] = own[merged] + share * (
                parts[0] @ parts[1]
            )
    return named


def check_not_quantized(model):
    """Raise a ValueError for what Keras' ``quantize`` did: no file of ours can hold it."""
    for layer in layers_in(model):
        mode = layer.dtype_policy.quantization_mode
        if mode and mode != model.dtype_policy.quantization_mode:
            raise ValueError(
                f"{layer.path} was quantized to {mode} with Keras' quantize, which no file of this "
                "model can hold. Save the model before, and quantize what ships: "
                "keraslm.export.tflite(lm, folder, quantization='int8')."
            )


def build_with_values(make, plan):
    """Build a model whose weights begin with stored values.

    Nothing is drawn at random, no weight exists twice, and no two stored values are in memory at
    once: large models load in the time and memory of reading them.

    Args:
        make: builds the model.
        plan: gets the built model, whose weights have no values yet; returns ``{path: read}``,
            where ``read()`` gives the array of the weight at `weights_of`'s path.

    Returns:
        the model.
    """
    errors: list[Exception] = []
    with keras.StatelessScope():  # variables made in here get their values at its end
        model = make()
        weights = weights_of(model)
        try:
            reads = plan(model)
        except BaseException:
            for weight in weights.values():  # sizes may be absurd: take no memory for them
                set_initializer(weight, _nothing)
            raise
        for path, read in reads.items():
            set_initializer(weights[path], _Stored(read, errors))
    if errors:
        raise errors[0]
    return model


def _nothing(shape, dtype=None):
    return keras.ops.zeros((), dtype)


class _Stored:
    """An initializer that reads. An error waits: Keras would leave other variables half made."""

    def __init__(self, read, errors):
        self.read = read
        self.errors = errors

    def __call__(self, shape, dtype=None):
        if not self.errors:
            try:
                value = keras.ops.convert_to_tensor(self.read(), dtype)
                if tuple(value.shape) == tuple(shape):
                    return value
                raise ValueError(f"A stored weight has shape {value.shape}, not {tuple(shape)}.")
            except Exception as error:
                self.errors.append(error)
        return _nothing(shape, dtype)
