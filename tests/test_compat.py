"""The private names of `keraslm._compat` are there, and do what its functions promise.

A failure here says which function of ours a new release broke, in which release it worked, and
what takes its place.
"""

import contextlib
import inspect
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.message import DecodeError

from keraslm import _compat

FUNCTIONS = [
    value
    for name, value in vars(_compat).items()
    if inspect.isfunction(value) and value.__module__ == _compat.__name__
]


def advice(function):
    """``layers_in: seen in Keras 3.15.1. If it goes: …`` of its docstring."""
    text = " ".join(inspect.getdoc(function).split("\n\nArgs:")[0].split())
    seen = re.search(r"seen in ((Keras|TensorFlow) [\d.]*\d)", text)
    instead = re.search(r"If it goes: (.*)", text)
    assert seen and instead, f"{function.__name__} does not say where it was seen, or what instead"
    return (
        f"keraslm._compat.{function.__name__} worked in {seen[1]}; here are Keras "
        f"{keras.__version__} and TensorFlow {tf.__version__}. Instead: {instead[1]}"
    )


@contextlib.contextmanager
def promised(function):
    """Let a failure name the function, its version and its replacement."""
    try:
        yield
    except Exception as error:
        pytest.fail(f"{advice(function)}\n{type(error).__name__}: {error}")


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_each_function_names_its_version_and_replacement_and_has_a_test(function):
    assert advice(function)
    assert f"promised(_compat.{function.__name__})" in inspect.getsource(inspect.getmodule(advice))


def test_a_name_that_vanished_is_reported_with_version_and_replacement():
    said = r"layers_in worked in Keras 3\.15.*Instead: collect"
    with pytest.raises(pytest.fail.Exception, match=said), promised(_compat.layers_in):
        _compat.layers_in(object())
    said = r"set_initializer worked in Keras 3\.15"
    with pytest.raises(pytest.fail.Exception, match=said), promised(_compat.set_initializer):
        _compat.set_initializer(object(), "zeros")


# === Layers and graphs ===


class Nest(keras.layers.Layer):
    """Layers in attributes, lists and dicts, one of them twice."""

    def __init__(self):
        super().__init__(name="nest")
        self.one = keras.layers.Dense(2, name="one")
        self.several = [keras.layers.Dense(2, name="two"), self.one]
        self.named = {"three": keras.Sequential([keras.layers.Dense(2, name="four")], name="three")}

    def call(self, x):
        return self.named["three"](self.several[0](self.one(x)))


def test_layers_inside_lists_dicts_and_models_are_found_once_and_after_their_owner():
    nest = Nest()
    model = keras.Sequential([keras.Input((2,)), nest])
    with promised(_compat.layers_in):
        found = _compat.layers_in(model)
        names = [layer.name for layer in found if not isinstance(layer, keras.layers.InputLayer)]
        assert sorted(set(names)) == sorted(["nest", "one", "two", "three", "four"])
        assert len({id(layer) for layer in found}) == len(found)
        assert model not in found
        assert names.index("nest") < names.index("three") < names.index("four")
        # Public, but of a model's own layers only.
        assert {layer.name for layer in model.layers} == {"nest"}
        leaves = [layer for layer in found if layer.name in ("one", "two", "four")]
        assert sum(len(layer.weights) for layer in leaves) == len(model.weights)


def test_the_layer_of_an_output_is_known():
    x = keras.Input((2,), name="x")
    hidden, output = keras.layers.Dense(3), keras.layers.Softmax()
    y = output(hidden(x))
    inner = keras.Model(x, y)
    z = inner(keras.Input((2,)))
    with promised(_compat.operation_of):
        assert _compat.operation_of(y) is output
        assert _compat.operation_of(output.input) is hidden
        assert isinstance(_compat.operation_of(x), keras.layers.InputLayer)
        assert _compat.operation_of(z) is inner
        assert _compat.operation_of(keras.ops.exp(y)) not in (output, hidden, inner)


def test_the_calls_of_a_layer_are_known_with_inputs_outputs_and_keywords():
    a, b, mask = keras.Input((4, 2)), keras.Input((4, 2)), keras.Input((4,), dtype="bool")
    layer, add = keras.layers.LSTM(3), keras.layers.Add()
    first = layer(a)
    second = layer(b, mask=mask)
    total = add([first, second])
    with promised(_compat.calls_of):
        one, two = _compat.calls_of(layer)
        assert one.inputs[0] is a and one.outputs[0] is first
        assert one.keywords.get("mask") is None
        assert two.inputs[0] is b and two.outputs[0] is second
        assert two.keywords["mask"] is mask
        (call,) = _compat.calls_of(add)
        assert [id(x) for x in call.inputs] == [id(first), id(second)]
        assert call.outputs[0] is total
        assert _compat.calls_of(keras.layers.Dense(2)) == []


# === Weights ===


class Never(keras.initializers.Initializer):
    """One that must not be asked."""

    def __call__(self, shape, dtype=None):
        raise AssertionError("the random values were drawn")


def test_another_initializer_gives_the_value_and_the_first_is_never_asked():
    value = np.arange(6, dtype="float32").reshape(2, 3)
    asked = []

    def stored(shape, dtype=None):
        asked.append((tuple(shape), dtype))
        return keras.ops.convert_to_tensor(value, dtype)

    with promised(_compat.set_initializer):
        with keras.StatelessScope():
            layer = keras.layers.Dense(3, kernel_initializer=Never(), use_bias=False)
            layer.build((None, 2))
            _compat.set_initializer(layer.kernel, stored)
        np.testing.assert_array_equal(layer.kernel.numpy(), value)
        assert asked == [((2, 3), "float32")]


@keras.saving.register_keras_serializable(package="test_compat")
class Watcher(keras.layers.Layer):
    """Notes whether Keras says that it is reading a model."""

    seen: list[bool] = []  # noqa: RUF012 — of all instances

    def build(self, shape):
        self.seen.append(_compat.is_deserializing())
        self.weight = self.add_weight((2,))

    def call(self, x):
        return x + self.weight


def test_keras_says_whether_it_is_reading_a_model(tmp_path):
    Watcher.seen.clear()
    model = keras.Sequential([keras.Input((2,)), Watcher()])
    model.save(tmp_path / "model.keras")
    with promised(_compat.is_deserializing):
        keras.models.load_model(tmp_path / "model.keras")
        assert Watcher.seen[0] is False, "while a model is built"
        assert len(Watcher.seen) > 1 and all(Watcher.seen[1:]), "while one is read"
        assert not _compat.is_deserializing()
        (tmp_path / "broken.keras").write_bytes((tmp_path / "model.keras").read_bytes()[:200])
        with pytest.raises(Exception):  # noqa: B017, PT011 — whichever
            keras.models.load_model(tmp_path / "broken.keras")
        assert not _compat.is_deserializing(), "after an error"


# === Training ===


def trained(model, epochs, *callbacks):
    """How many epochs a ``fit`` trains."""
    x = np.ones((4, 2), "float32")
    done = model.fit(x, x[:, :1], epochs=epochs, verbose=0, callbacks=list(callbacks))
    return len(done.epoch)


def small_model():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


class Stop(keras.callbacks.Callback):
    """Ends a training as a crash would, in its third epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt


def test_an_epoch_to_go_on_from_is_forgotten(tmp_path):
    backup = keras.callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)
    model = small_model()
    with pytest.raises(KeyboardInterrupt):
        trained(model, 3, backup, Stop())
    model = small_model()
    with promised(_compat.forget_initial_epoch):
        assert trained(model, 3, backup) == 1, "restored, it goes on with the third epoch"
        # When this fails, Keras forgets by itself, and _compat need not.
        assert trained(model, 3) == 1, "and so, wrongly, does every later fit"
        _compat.forget_initial_epoch(model)
        assert trained(model, 3) == 3


def scalars(folder):
    """The names of what was written into the event files of a folder."""
    return {
        value.tag
        for file in folder.glob("events*")
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
    }


def test_the_writers_of_tensorboard_write_into_its_folders(tmp_path):
    board = keras.callbacks.TensorBoard(tmp_path, write_graph=False)
    board.set_model(small_model())
    board.on_train_begin()
    with promised(_compat.summary_writer):
        for training in (True, False):
            writer = _compat.summary_writer(board, training)
            with writer.as_default():
                tf.summary.scalar(f"of_{training}", 1.0, step=0)
            writer.flush()
            assert _compat.summary_writer(board, training) is writer
        assert scalars(tmp_path / "train") == {"of_True"}
        assert scalars(tmp_path / "validation") == {"of_False"}
        assert len(list((tmp_path / "train").glob("events*"))) == 1, "Keras' own file"
    board.on_train_end()


def test_closing_tensorboard_takes_its_default_writers_back_whatever_was_begun(tmp_path):
    """As after an error in validation, when two are set; and without any, before training."""
    board = keras.callbacks.TensorBoard(tmp_path, write_graph=False, update_freq=1)
    board.set_model(small_model())
    with promised(_compat.close_writers):
        _compat.close_writers(board)
        board.on_train_begin()
        board.on_test_begin()
        assert tf.summary.should_record_summaries(), "a default writer is set"
        _compat.close_writers(board)
        assert not tf.summary.should_record_summaries()
        board.on_train_begin()  # and it begins again
        with _compat.summary_writer(board, training=True).as_default():
            assert tf.summary.scalar("again", 1.0, step=0)
        _compat.close_writers(board)
        assert "again" in scalars(tmp_path / "train")


# === Files ===


def test_the_message_of_a_saved_model_holds_its_graph(tmp_path):
    class Module(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((2,), name="x")])
        def double(self, x):
            return {"y": x * 2}

    module = Module()
    tf.saved_model.save(module, str(tmp_path), signatures={"double": module.double})
    with promised(_compat.saved_model_message):
        (graph,) = _compat.saved_model_message(tmp_path).meta_graphs
        assert isinstance(graph, tf.compat.v1.MetaGraphDef)
        assert list(graph.signature_def["double"].inputs) == ["x"]
        assert any(n.op == "Mul" for f in graph.graph_def.library.function for n in f.node_def)
    (tmp_path / "saved_model.pb").write_bytes(b"no message")
    with pytest.raises(DecodeError):
        _compat.saved_model_message(tmp_path)


def test_functions_from_one_line_are_traced_without_a_warning(caplog):
    with promised(_compat.compiled_quietly):
        traces = []

        def made(number):
            def function(x):
                traces.append(number)
                return x * number

            return _compat.compiled_quietly(function)

        with caplog.at_level("WARNING", logger="tensorflow"):
            for number in range(12):
                assert made(number)(tf.constant([2, 3])).numpy().tolist() == [
                    2 * number,
                    3 * number,
                ]
        assert not caplog.records and traces == [*range(12)]
