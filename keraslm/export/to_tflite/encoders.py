"""Models without a step function, and tasks, as functions of named tensors.

`encoder_of` reads what a model takes from the model itself: a functional model or a ``Sequential``
has symbolic inputs, a subclassed model the shapes that it was called on, a task its ``input_spec``.
A file has one signature a length, ``encode_<L>``, or one ``encode`` for any batch and length.
"""

import copy
import inspect
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import ops

from keraslm._compat import layers_in, operation_of
from keraslm.export.to_tflite.refusals import check_convertible
from keraslm.export.to_tflite.token_tables import embedding_tables, symbolic_twin, vocabulary
from keraslm.models.precision import in_float32

DYNAMIC = "dynamic"
LENGTH = 128  # of the files of a model that takes any
# Inputs that only training uses: left out where they may be missing.
NOT_EXPORTED = ("segment_ids", "masked_positions")
AUTOMATIC_NAME = re.compile(r"(keras_tensor|input_layer|inputs?)(_\d+)?")


class Input(NamedTuple):
    """One input of a model.

    Args:
        shape: without the batch; ``None`` where any length will do.
        dtype: as the model takes it.
        tables: the layers that look its numbers up, if they are ids.
        optional: whether the model does without.
    """

    shape: tuple[int | None, ...]
    dtype: str
    tables: tuple[Any, ...] = ()
    optional: bool = False

    @property
    def file_dtype(self) -> str:
        """int32 for ids, whole numbers and bool; else float32."""
        return "int32" if self.tables or is_whole(self.dtype) else "float32"

    @property
    def vocabulary(self) -> int:
        """How many ids there are; 2 for other whole numbers."""
        return vocabulary(self.tables)

    @property
    def is_free(self) -> bool:
        """Whether its first axis may have any length."""
        return bool(self.shape) and self.shape[0] is None


class Encoder(NamedTuple):
    """A model as a function of named tensors.

    Args:
        model: the ``keras.Model``, in float32.
        inputs: by name, in the order of the model.
        function: ``function(dict of tensors) → what the model gives``.
        max_length: the longest text, if the model says so.
        task: the task whose ``compute`` it is, or ``None``.
        default_length: of a file.
    """

    model: Any
    inputs: dict[str, Input]
    function: Callable[[dict[str, Any]], Any]
    max_length: int | None = None
    task: Any = None
    default_length: int = LENGTH

    def __call__(self, **tensors: Any) -> dict[str, Any]:
        """The outputs by name, float32 or int32, of inputs in the dtypes of the file."""
        given = {
            name: ops.cast(ops.convert_to_tensor(value), self.inputs[name].dtype)
            for name, value in tensors.items()
        }
        found = named_outputs(self.function(given))
        return {
            name: ops.cast(y, "int32" if is_whole(keras.backend.standardize_dtype(y.dtype)) else
                           "float32")
            for name, y in found.items()
        }  # fmt: skip

    @property
    def weights(self) -> list[Any]:
        """Every variable that the function may read."""
        own = getattr(self.task, "weights", None)
        known = {id(w) for w in self.model.weights}
        return [*self.model.weights, *(w for w in own or () if id(w) not in known)]


def encoder_of(model: Any, lengths: Any = None) -> Encoder:
    """The `Encoder` of a task, or of a ``keras.Model`` without a step function.

    Raises:
        ValueError: the model does not say what it takes, or cannot be converted.
    """
    if is_task(model):
        check_convertible(model.model)
        return _of_task(model)
    if not isinstance(model, keras.Model):
        raise ValueError(
            "lm must be a keras.Model, or a task of keraslm.tasks; received "
            f"{type(model).__name__}."
        )
    check_convertible(model)
    if getattr(model, "inputs", None):
        return _of_symbolic(in_float32(model))
    return _of_called(in_float32(model), resizable=lengths is not None)


def is_task(value: Any) -> bool:
    """Whether a value follows the protocol of `keraslm.tasks`: inputs, compute, answers."""
    parts = ("model", "input_spec", "inputs", "compute")
    return all(hasattr(value, name) for name in parts) and not hasattr(value, "generate")


def _of_task(task):
    model = in_float32(task.model)
    if model is not task.model:
        task = task.with_model(model) if hasattr(task, "with_model") else _copy(task, model)
    tables = tuple(embedding_tables(model, "token_ids"))
    inputs = {
        name: Input((None,), dtype, tables if name == "token_ids" else (), name == "token_types")
        for name, dtype in task.input_spec.items()
    }
    return Encoder(model, inputs, lambda given: task.compute(**given), task.max_length, task)


def _copy(task, model):
    task = copy.copy(task)
    task.model = model
    return task


def _of_symbolic(model):
    if hasattr(model, "operations"):
        structure = model.input
    else:  # Sequential
        structure = model.inputs[0] if len(model.inputs) == 1 else list(model.inputs)
    leaves = list(_leaves(structure))
    names = _names([(path, leaf.name) for path, leaf in leaves])
    inputs = {}
    for name, (_, leaf) in zip(names, leaves, strict=True):
        optional = bool(getattr(operation_of(leaf), "optional", False))
        if optional and name in NOT_EXPORTED:
            continue
        tables = tuple(embedding_tables(model, leaf))
        inputs[name] = Input(tuple(leaf.shape[1:]), leaf.dtype, tables, optional)
    by_path = {path: name for name, (path, _) in zip(names, leaves, strict=True)}

    def function(given):
        values = _filled(structure, lambda path: given.get(by_path[path]))
        return model(values, training=False)

    return Encoder(model, inputs, function, _longest(model), None, min(LENGTH, _shortest(model)))


def _of_called(model, resizable):
    """Of a subclassed model: the shapes of its first argument, the dtypes of what reads them."""
    # Of its own shapes, whatever a subclass keeps in its file; several arguments: shapes_dict.
    structure = (keras.Layer.get_build_config(model) or {}).get("input_shape")
    if isinstance(model, keras.Sequential) or structure is None or _takes_several(model):
        raise ValueError(
            f"{type(model).__name__} has no symbolic inputs to export. Build it with "
            "keras.Model(inputs, outputs), or call it once on data, as one argument: an array, a "
            "list or a dict of arrays."
        )
    leaves = list(_leaves(structure, is_leaf=_is_shape))
    twin, symbols = symbolic_twin(model, structure, _is_shape)
    inputs = {}
    names = _names([(path, "inputs") for path, _ in leaves])
    for name, (path, shape) in zip(names, leaves, strict=True):
        tables = tuple(embedding_tables(twin or model, symbols.get(path)))
        # Without a graph, ids are known by their rank.
        tables = tables if twin or len(shape) == 2 else ()
        dtype = "int32" if tables or name.endswith("mask") else "float32"
        is_text = dtype == "int32" or len(shape) > 2
        shape = (None, *shape[2:]) if resizable and is_text else tuple(shape[1:])
        inputs[name] = Input(shape, dtype, tables)
    by_path = {path: name for name, (path, _) in zip(names, leaves, strict=True)}

    def function(given):
        values = _filled(structure, lambda path: given[by_path[path]], is_leaf=_is_shape)
        return model(values, training=False)

    return Encoder(model, inputs, function, _longest(model), None, min(LENGTH, _shortest(model)))


def _takes_several(model):
    """Whether ``call`` needs more than one argument: Keras keeps the shapes of the first only."""
    parameters = list(inspect.signature(model.call).parameters.values())[1:]
    return any(p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
               for p in parameters if p.name not in ("training", "mask"))  # fmt: skip


def _longest(model):
    """The longest sequence that a model says it takes, or ``None``."""
    return getattr(model, "max_length", None)


def _shortest(model):
    """The length of the shortest table of positions in a model, `LENGTH` if there is none."""
    layers = [model, *layers_in(model)]
    named = [getattr(layer, n, None) for layer in layers for n in ("max_length", "sequence_length")]
    return min((n for n in named if type(n) is int and n > 0), default=LENGTH)


# === Structures ===


def _is_shape(value):
    return isinstance(value, (list, tuple)) and all(n is None or type(n) is int for n in value)


def _leaves(structure, path=(), is_leaf=lambda value: False):
    """``(path, leaf)`` of nested dicts and lists, in the order in which they were written."""
    if is_leaf(structure) or not isinstance(structure, (dict, list, tuple)):
        yield path, structure
        return
    items = structure.items() if isinstance(structure, dict) else enumerate(structure)
    for key, value in items:
        yield from _leaves(value, (*path, key), is_leaf)


def _filled(structure, value_at, path=(), is_leaf=lambda value: False):
    """The structure with other leaves."""
    if is_leaf(structure) or not isinstance(structure, (dict, list, tuple)):
        return value_at(path)
    if isinstance(structure, dict):
        return {k: _filled(v, value_at, (*path, k), is_leaf) for k, v in structure.items()}
    return [_filled(v, value_at, (*path, i), is_leaf) for i, v in enumerate(structure)]


def _names(leaves):
    """Names of inputs: the keys of a dict; else those that the user gave."""
    found = []
    for path, own in leaves:
        if path and isinstance(path[-1], str):
            name = "_".join(map(str, path))
        elif AUTOMATIC_NAME.fullmatch(own):  # differ from process to process
            name = "_".join(["inputs", *map(str, path)])
        else:
            name = own
        found.append(re.sub(r"\W", "_", name))
    return [n if found.count(n) == 1 else f"{n}_{i}" for i, n in enumerate(found)]


def named_outputs(found: Any) -> dict[str, Any]:
    """The outputs of a model by name: the keys of a dict; else ``output``, or ``output_<i>``."""
    leaves = list(_leaves(found))
    if len(leaves) == 1 and not isinstance(found, dict):
        return {"output": leaves[0][1]}
    if isinstance(found, dict):
        names = [re.sub(r"\W", "_", "_".join(map(str, path))) for path, _ in leaves]
    else:
        names = [f"output_{i}" for i in range(len(leaves))]
    return {name: y for name, (_, y) in zip(names, leaves, strict=True)}


def is_whole(dtype: str) -> bool:
    """Whether a dtype is of whole numbers or bool, which files take as int32."""
    return dtype.startswith(("int", "uint", "bool"))


# === Signatures ===


def checked_lengths(encoder: Encoder, lengths: Any) -> Any:
    """`DYNAMIC` or a tuple of ints.

    Raises:
        ValueError: lengths that the model does not take.
    """
    if lengths == DYNAMIC:
        return DYNAMIC
    own = own_length(encoder)
    if lengths is None:
        return (min(encoder.default_length, encoder.max_length or LENGTH) if own is None else own,)
    lengths = (lengths,) if isinstance(lengths, int) else tuple(lengths)
    longest = encoder.max_length
    wrong = [n for n in lengths if type(n) is not int or n < 1 or n > (longest or n)]
    if wrong or not lengths:
        limit = f" up to max_length={longest}" if longest else ""
        raise ValueError(
            f"lengths must be 'dynamic' or whole numbers from 1{limit}; received {lengths!r}."
        )
    if own is not None and lengths != (own,):
        raise ValueError(
            f"lengths must be {own}, which is the length of the model's own input; received "
            f"{lengths!r}. Leave it out, or build the model on keras.Input((None,))."
        )
    return tuple(sorted(set(lengths)))


def own_length(encoder: Encoder) -> int | None:
    """The length of a model whose inputs have one; ``None`` if it is free."""
    if any(x.is_free for x in encoder.inputs.values()):
        return None
    fixed = [(not x.tables, x.shape[0]) for x in encoder.inputs.values() if x.shape]
    return min(fixed, key=lambda pair: pair[0])[1] if fixed else 1


def signatures(encoder: Encoder, lengths: Any) -> dict[str, Any]:
    """Concrete functions: ``encode_<L>`` for each length, or ``encode``.

    Inputs are the model's own, by name, int32 (a ``padding_mask`` too: 1 for real tokens) or
    float32, each ``(1, L, …)``, or ``(batch, seq, …)`` if dynamic.
    """
    if lengths == DYNAMIC:
        return {"encode": _signature(encoder, None, None)}
    return {f"encode_{length}": _signature(encoder, 1, length) for length in lengths}


def _signature(encoder, batch, length):
    import tensorflow as tf

    spec = {}
    for name, x in encoder.inputs.items():
        shape = (batch, *((length if x.is_free else x.shape[0],) if x.shape else ()), *x.shape[1:])
        if None in shape[2:]:
            raise ValueError(
                f"The input {name} has the shape (batch, {', '.join(map(str, x.shape))}): of its "
                "axes only the first may be free. Give the others a length."
            )
        spec[name] = tf.TensorSpec(shape, x.file_dtype, name)

    def run(**given):
        found = encoder(**given)
        # A file cannot give back what it was given, nor one tensor under two names.
        taken = {id(value) for value in given.values()}
        for name, y in found.items():
            if id(y) in taken:
                raise ValueError(
                    f"The output {name!r} is one of the inputs, or another output again. Leave it "
                    "out of the exported model."
                )
            taken.add(id(y))
        return found

    return tf.function(run, autograph=False).get_concrete_function(**spec)
