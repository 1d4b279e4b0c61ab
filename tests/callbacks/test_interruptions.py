"""Nothing that a callback does to a model outlives ``fit``, whatever ends it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from marks import slow_but

from keraslm import callbacks
from keraslm.models import GPT
from keraslm.tasks import TextGenerator
from keraslm.tokenizers import Tokenizer

IDS = np.random.default_rng(0).integers(0, 30, (16, 9)).astype("int32")
X, Y = IDS[:, :-1], IDS[:, 1:]
TOKENIZER = Tokenizer.train(["abcdefghijklmnopqrstuvw "], kind="char", vocab_size=None)


class BoomError(Exception):
    """What the endings raise, beside Ctrl-C."""


class Ending(keras.callbacks.Callback):
    """Raises after the second step."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def on_train_batch_end(self, batch, logs=None):
        if batch == 1:
            raise self.error


class Loss:
    """Cross-entropy whose third call raises, or is NaN."""

    def __init__(self):
        self.calls, self.ending = 0, None

    def get_config(self):
        return {}

    def __call__(self, y, logits):
        self.calls += 1
        loss = keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)
        if self.ending is None or self.calls < 3:
            return loss
        if self.ending is np.nan:
            return loss * np.nan
        raise self.ending


# Name → how a training of four steps ends: between two steps, or inside one.
ENDINGS = {
    "ctrl_c_between": lambda loss: [Ending(KeyboardInterrupt())],
    "error_between": lambda loss: [Ending(BoomError())],
    "ctrl_c_inside": lambda loss: setattr(loss, "ending", KeyboardInterrupt()),
    "error_inside": lambda loss: setattr(loss, "ending", BoomError()),
    "nan_inside": lambda loss: (
        setattr(loss, "ending", np.nan) or [keras.callbacks.TerminateOnNaN()]
    ),
}


def gpt():
    return GPT(30, 1, 8, 2, max_length=16)


def plain():
    ids = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(30, 8, name="token_embedding")(ids)
    return keras.Model(ids, keras.layers.Dense(30)(keras.layers.Dense(8, "relu")(x)))


def watching(name, model, folder):
    """The callback of a name, doing all that it can do."""
    ours = isinstance(model, GPT)
    lm = TextGenerator(model if ours else gpt(), TOKENIZER)
    # With update_freq, Keras' own callback leaves a default writer after an error.
    freq = 1 if ours else "epoch"
    return {
        "TensorBoard": lambda: callbacks.TensorBoard(folder, lm=lm, every=1, update_freq=freq),
        "Samples": lambda: callbacks.Samples(lm, "a", 1, show=str, max_new_tokens=2),
        "TimeLimit": lambda: callbacks.TimeLimit(10),
        "Freeze": lambda: callbacks.Freeze("token_embedding", 3),
    }[name]()


def state(model):
    """Everything about a model that a callback might change and ``fit`` does not."""
    return {
        "own attributes": set(vars(model)) | {"history"},
        "optimizer's attributes": set(vars(model.optimizer)),
        "metrics": [metric.name for metric in model.metrics],
        "layers": [(layer.path, layer.trainable) for layer in model._flatten_layers()],
        "variables": [(w.path, w.trainable) for w in model.variables],
        "trainable": [w.path for w in model.trainable_variables],
        "compiled": (model.optimizer, model.loss, model.jit_compile, model.run_eagerly),
    }


def interrupted(model, ending, watch):
    """Fit until it ends, and check that the model is as it was."""
    loss = Loss()
    model.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=True)
    model.fit(X, Y, batch_size=4, verbose=0)
    loss.calls, before = 0, state(model)
    weights = model.get_weights()
    ends = ENDINGS[ending](loss) or []
    if ending.startswith("nan"):
        model.fit(X, Y, batch_size=4, epochs=9, verbose=0, callbacks=[watch, *ends])
        assert np.isnan(model.get_weights()[0]).any() or isinstance(watch, callbacks.Freeze)
        model.set_weights(weights)
    else:
        with pytest.raises((KeyboardInterrupt, BoomError)):
            model.fit(X, Y, batch_size=4, epochs=9, verbose=0, callbacks=[watch, *ends])
    loss.ending = None
    assert state(model) == before


def fits_and_saves(model, folder):
    """A second fit trains every weight, and the model saves."""
    before = model.get_weights()
    history = model.fit(X, Y, batch_size=4, epochs=2, verbose=0).history["loss"]
    assert np.isfinite(history).all() and len(history) == 2
    for weight, old in zip(model.weights, before, strict=True):
        assert (np.asarray(weight) != old).any() or "key/bias" in weight.path, weight.path
    model.save(folder / "model.keras")
    again = keras.models.load_model(folder / "model.keras", compile=False)
    np.testing.assert_array_equal(again(X), model(X))


CASES = [
    (make, name, ending)
    for make, name in ((gpt, "TensorBoard"), (gpt, "Samples"), (gpt, "TimeLimit"), (gpt, "Freeze"),
                       (plain, "TensorBoard"), (plain, "Freeze"))
    for ending in ENDINGS
]  # fmt: skip
# Inside a step by Ctrl-C, each; in every other way, the callback that does most.
FEW = [
    i for i, (make, name, ending) in enumerate(CASES)
    if ending == "ctrl_c_inside" or (make is gpt and name == "TensorBoard")
]  # fmt: skip


@pytest.mark.parametrize(("make", "name", "ending"), slow_but(FEW, CASES))
def test_the_model_is_as_it_was(make, name, ending, tmp_path):
    model = make()
    interrupted(model, ending, watching(name, model, tmp_path / "logs"))
    fits_and_saves(model, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["ctrl_c_between", "error_inside"])
def test_tensorboard_writes_what_was_there_and_leaves_no_default_writer(ending, tmp_path):
    model = gpt()
    interrupted(model, ending, watching("TensorBoard", model, tmp_path))
    assert not tf.summary.scalar("nobody listens", 1.0, step=0)
    assert tf.summary.experimental.get_step() is None
    assert [len(values(tmp_path, f"step/{x}")) for x in ("loss", "gradient_norm")] == [2, 2]


def values(folder, tag):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "train"), size_guidance={"tensors": 0}).Reload()
    return [tf.make_ndarray(event.tensor_proto).item() for event in events.Tensors(tag)]


@pytest.mark.parametrize("make", [gpt, plain])
def test_a_compiled_step_thaws_after_an_interruption(make, tmp_path):
    """The traced function of a frozen training must not serve the next one."""
    model = make()
    model.compile(keras.optimizers.SGD(0.1), Loss())
    table = next(w for w in model.weights if w.name == "embeddings")
    before = np.array(table)
    watch = [callbacks.Freeze("token_embedding", 9), Ending(KeyboardInterrupt())]
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, batch_size=4, epochs=2, verbose=0, callbacks=watch)
    np.testing.assert_array_equal(table, before)
    fits_and_saves(model, tmp_path)


def test_two_freezes_keep_a_block_as_the_user_left_it():
    model = gpt()
    attention = model.get_layer("block_0").attention
    attention.trainable = False
    model.compile(keras.optimizers.SGD(0.1))
    before = {w.path: np.array(w) for w in model.weights}

    def changed():
        return {
            w.path.split("/")[0] for w in model.weights if (before[w.path] != np.array(w)).any()
        }

    seen = []
    record = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(changed()))
    watch = [callbacks.Freeze("token_embedding", 1), callbacks.Freeze("block_0", 2), record]
    model.fit(X, Y, epochs=3, verbose=0, callbacks=watch)
    rest = {"positions", "final_norm"}
    assert seen == [rest, rest | {"token_embedding"}, rest | {"token_embedding", "block_0"}]
    assert not attention.trainable and model.get_layer("block_0").trainable


def test_a_time_limit_counts_each_fit():
    model = gpt()
    model.compile(keras.optimizers.SGD(0.1))
    limit = callbacks.TimeLimit(1e-9)
    model.fit(X, Y, batch_size=4, epochs=9, verbose=0, callbacks=[limit])
    assert limit.reached and int(model.optimizer.iterations) == 2
    limit.minutes = 10
    model.fit(X, Y, batch_size=4, verbose=0, callbacks=[limit])
    assert not limit.reached and int(model.optimizer.iterations) == 6


def test_steps_are_counted_though_keras_calls_back_after_several():
    model, shown = gpt(), []
    model.compile(keras.optimizers.SGD(0.1), steps_per_execution=3)
    lm = TextGenerator(model, TOKENIZER)
    watch = [callbacks.Samples(lm, "a", 4, show=shown.append, max_new_tokens=1)]
    model.fit(X, Y, batch_size=2, epochs=2, verbose=0, callbacks=watch)
    assert [text.split("]")[0] for text in shown] == ["[step 6", "[step 8", "[step 14", "[step 16"]


def test_a_later_fit_begins_with_its_own_first_epoch(tmp_path):
    """Keras' BackupAndRestore leaves the epoch that it went on with in the model."""
    model = gpt()
    model.compile(keras.optimizers.SGD(0.1))
    backup = keras.callbacks.BackupAndRestore(tmp_path)
    stop = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: 1 / (2 - epoch))
    with pytest.raises(ZeroDivisionError):
        model.fit(X, Y, epochs=4, verbose=0, callbacks=[backup, stop])
    assert model.fit(X, Y, epochs=4, verbose=0, callbacks=[backup]).epoch == [3]
    assert model.fit(X, Y, epochs=2, verbose=0).epoch == [0, 1]
