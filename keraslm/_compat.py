"""What keraslm uses of other libraries though they keep it private: all of it, and nothing else.

A name with an underscore may go or change with any release. Each is used in one function here,
which says in which version it was seen, why nothing public does it, and what takes its place if it
goes. ``tests/test_compat.py`` has a test for each; ``tests/test_private_names.py`` finds private
names elsewhere. Neither Keras nor TensorFlow is imported with this file, but when a function needs
it.
"""

from pathlib import Path
from typing import Any, NamedTuple

# === Layers and graphs ===


def layers_in(layer: Any) -> list[Any]:
    """The layers inside a layer or model, at whatever depth, each once, outer ones first.

    ``Layer._flatten_layers``, seen in Keras 3.15.1. Public is only ``Model.layers``, which neither
    goes deeper nor exists for a layer with layers inside.
    If it goes: collect the layers among ``vars(layer)``, their lists and dicts, again and again.
    """
    return list(layer._flatten_layers(include_self=False))


def operation_of(tensor: Any) -> Any:
    """The operation (a layer, say) whose output a symbolic tensor is.

    ``KerasTensor._keras_history``, seen in Keras 3.15.1. Public is only the other direction, from a
    model to its ``operations``, which do not say which output is whose.
    If it goes: search `calls_of` of ``model.operations`` for the tensor, for which callers must
    pass the model.
    """
    return tensor._keras_history.operation


class Call(NamedTuple):
    """One symbolic call of an operation."""

    inputs: list[Any]  # symbolic tensors
    outputs: list[Any]  # symbolic tensors
    keywords: dict[str, Any]


def calls_of(operation: Any) -> list[Call]:
    """The symbolic calls of an operation, the first one first; none: it is in no graph.

    ``Operation._inbound_nodes``, seen in Keras 3.15.1. Public are only ``Operation.input`` and
    ``output``, of the first call and without its keywords.
    If it goes: read the calls from ``model.get_config()["layers"][i]["inbound_nodes"]``, by names.
    """
    return [
        Call(list(node.input_tensors), list(node.output_tensors), dict(node.arguments.kwargs))
        for node in operation._inbound_nodes
    ]


# === Compiled functions ===


def compiled_quietly(function: Any, jit_compile: bool = False) -> Any:
    """A ``tf.function`` of tensors that does not warn when it is traced.

    ``Function._omit_frequent_tracing_warning``, seen in TensorFlow 2.21.0. TensorFlow counts the
    traces of all functions from one line of code together, and there is nothing public to tell it
    that these are several functions.
    If it goes: leave the line out; the user sees warnings about retracing.
    """
    import tensorflow as tf

    compiled = tf.function(function, jit_compile=jit_compile, autograph=False)
    compiled._omit_frequent_tracing_warning = True
    return compiled


# === Weights ===


def set_initializer(variable: Any, initializer: Any) -> None:
    """Give a variable of a ``keras.StatelessScope`` another initializer, before the scope ends.

    ``Variable._initializer``, seen in Keras 3.15.1. Nothing public builds a model without values:
    ``assign`` needs the random ones to be drawn first, which for a large model takes longer, and
    more memory, than reading it.
    If it goes: leave the scope out, and ``assign`` in `keraslm.models.loading.build_with_values`.

    Args:
        variable: a ``keras.Variable`` without a value.
        initializer: called once as ``initializer(shape, dtype=…)``, at the end of the scope.
    """
    if not hasattr(variable, "_initializer"):  # else a new attribute that nobody reads
        raise AttributeError("Keras' variables have no _initializer.")
    variable._initializer = initializer


def is_deserializing() -> bool:
    """Whether Keras is making objects from a config, as in ``load_model``; weights come next.

    ``keras.src.backend.common.global_state``, in which ``deserialize_keras_object`` keeps its
    shared objects, seen in Keras 3.15.1. ``from_config`` gets no argument that says so.
    If it goes: return True; then no one is warned of a table that was drawn without its vectors.
    """
    from keras.src.backend.common import global_state

    return global_state.get_global_attribute("shared_objects/id_to_obj_map") is not None


# === Training ===


def forget_initial_epoch(model: Any) -> None:
    """Let the next ``fit`` begin with the epoch that it is given.

    ``Model._initial_epoch``, seen in Keras 3.15.1: ``BackupAndRestore`` sets it when it restores,
    and every later ``fit`` of that model begins there, which may be after its end. Nothing public
    takes it back.
    If it goes: nothing takes its place; a second ``fit`` must then train, which the test tries.
    """
    model._initial_epoch = None


def summary_writer(board: Any, training: bool) -> Any:
    """The writer of a ``keras.callbacks.TensorBoard`` for training, or for validation.

    ``TensorBoard._train_writer`` and ``_val_writer``, seen in Keras 3.15.1. The callback keeps its
    writers to itself, and what a subclass writes belongs into the same files.
    If it goes: ``tf.summary.create_file_writer`` in ``log_dir/train`` and ``log_dir/validation``,
    which makes a second file in each.

    Args:
        board: the callback, while a model is trained.
        training: else validation.
    """
    return board._train_writer if training else board._val_writer


def close_writers(board: Any) -> None:
    """End what a ``keras.callbacks.TensorBoard`` began; it may begin again.

    ``TensorBoard._pop_writer``, ``_prev_summary_state``, ``_is_tracing``, ``_stop_trace``,
    ``_close_writers`` and ``_writers``, seen in Keras 3.15.1. Public is ``on_train_end``, which
    fails before a training and leaves a default writer behind after an error in validation.
    If it goes: ``on_train_end``, in a ``try``.
    """
    while board._prev_summary_state:
        board._pop_writer()
    if board._is_tracing:
        board._stop_trace()
    board._close_writers()
    board._writers = {}


# === Files ===


def saved_model_message(folder: Path) -> Any:
    """The protocol buffer ``SavedModel`` that ``saved_model.pb`` in a folder holds.

    ``tensorflow.core.protobuf.saved_model_pb2``, seen in TensorFlow 2.21.0. Public are
    ``tf.compat.v1.MetaGraphDef``, which is the message inside it, and ``tf.saved_model.load``,
    which reads the weights too.
    If it goes: ``tf.saved_model.load``, and ``graph.as_graph_def()`` of its signatures.

    Raises:
        google.protobuf.message.DecodeError: the file holds something else.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    return saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
