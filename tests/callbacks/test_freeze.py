"""Layers that stay as they are for the first epochs."""

import keras
import numpy as np
import pytest

from keraslm.callbacks import Freeze
from keraslm.models import GPT


class Table(keras.callbacks.Callback):
    """The token table after each epoch."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.tables = layer, []

    def on_epoch_end(self, epoch, logs=None):
        self.tables.append(self.layer.embeddings.numpy().copy())


@pytest.mark.parametrize("built", [True, False])
def test_frozen_then_thawed_without_compiling_again(built):
    layer = keras.layers.Embedding(20, 4, name="words")
    head = [keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((3,)), layer, *head] if built else [layer, *head])
    model.compile("adamw", "mse")
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 20, (32, 3)), rng.random((32, 1))
    model.build((None, 3))
    before, table = layer.embeddings.numpy().copy(), Table(layer)
    model.fit(x, y, epochs=4, verbose=0, callbacks=[Freeze("words", 2), table])
    np.testing.assert_array_equal(table.tables[0], before)
    np.testing.assert_array_equal(table.tables[1], before)
    assert np.abs(table.tables[2] - before).max() > 1e-4
    assert layer.trainable
    model.fit(x, y, epochs=1, verbose=0, callbacks=[Freeze("words", 9), table])
    np.testing.assert_array_equal(table.tables[4], table.tables[3])
    assert layer.trainable and len(model.trainable_variables) == 3


def test_in_a_gpt():
    gpt = GPT(30, 1, 8, 2, max_length=8)
    gpt.compile()
    before, table = gpt.trunk.embed.embeddings.numpy().copy(), Table(gpt.trunk.embed)
    x = np.random.default_rng(0).integers(0, 30, (8, 9))
    watch = [Freeze(["token_embedding", "positions"]), table]
    gpt.fit(x[:, :-1], x[:, 1:], epochs=2, verbose=0, callbacks=watch)
    np.testing.assert_array_equal(table.tables[0], before)
    assert np.abs(table.tables[1] - before).max() > 0


def test_misuse_is_told():
    gpt = GPT(30, 1, 8, 2, max_length=8)
    gpt.compile()
    x = np.zeros((2, 4), "int32")
    with pytest.raises(ValueError, match="has no layer 'word'; it has token_ids, "):
        gpt.fit(x, x, verbose=0, callbacks=[Freeze("word")])
    unbuilt = keras.Sequential([keras.layers.Embedding(9, 2, name="words")])
    unbuilt.compile("sgd", "mse")
    with pytest.raises(ValueError, match="has no weights yet"):
        unbuilt.fit(x, np.zeros((2, 4, 2)), verbose=0, callbacks=[Freeze("words")])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("word", 0), "epochs must be a positive whole number; received 0"),
        (("word", 1.5), "epochs must be a positive whole number; received 1.5"),
        (("word", "a"), "epochs must be a positive whole number; received 'a'"),
        (("word", None), "epochs must be a positive whole number; received None"),
        ((None,), "layers must be a str or a list of str; received NoneType"),
        (({"word": 1},), "layers must be a str or a list of str; received dict"),
        ((["word", 1],), r"layers\[1\] must be str; received int"),
        (([],), "layers is empty. Give the names"),
    ],
    ids=str,
)
def test_what_cannot_be_frozen(arguments, says):
    with pytest.raises(ValueError, match=says):
        Freeze(*arguments)
