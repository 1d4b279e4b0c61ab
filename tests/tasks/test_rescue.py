"""What a training that ends early leaves behind."""

import os
import signal
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest

import keraslm

TEXTS = ["One two three four five six seven. " * 20] * 4
SETTINGS = {"length": 16, "batch_size": 2, "epochs": 50, "verbose": 0, "jit_compile": False}


class End(keras.callbacks.Callback):
    """Ends a training after a step."""

    def __init__(self, error, step=3):
        super().__init__()
        self.error, self.step = error, step

    def on_train_batch_end(self, batch, logs=None):
        if batch == self.step:
            raise self.error


@pytest.fixture(scope="module")
def tiny():
    tokenizer = keraslm.tokenizers.Tokenizer.train(TEXTS, vocab_size=270)
    model = keraslm.models.GPT(tokenizer.vocab_size, num_layers=1, d_model=8, num_heads=1,
                               max_length=16)  # fmt: skip
    return keraslm.tasks.TextGenerator(model, tokenizer)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError("no memory"), SystemExit(3)])
def test_the_model_is_saved_as_it_is(tiny, tmp_path, capsys, error):
    with pytest.raises(type(error)):
        tiny.fit(TEXTS, rescue=tmp_path / "saved", callbacks=[End(error)], **SETTINGS)
    said = capsys.readouterr().err
    assert f"after 4 steps ({type(error).__name__})" in said and str(tmp_path / "saved") in said
    back = keraslm.from_pretrained(tmp_path / "saved")
    for there, here in zip(back.model.weights, tiny.model.weights, strict=True):
        np.testing.assert_array_equal(there, here)


def test_a_name_for_it_when_none_is_given(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        tiny.fit(TEXTS, callbacks=[End(KeyboardInterrupt())], **SETTINGS)
    (folder,) = tmp_path.iterdir()
    assert folder.name.startswith("interrupted-")
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    with pytest.raises(KeyboardInterrupt):
        tiny.fit(TEXTS, callbacks=[End(KeyboardInterrupt())], **SETTINGS)
    assert [*tmp_path.iterdir()] == [folder], "whoever types still has the model"


@pytest.mark.parametrize("rescue", [5, "", "/dev/null"])
def test_where_it_would_be_saved_is_known_before_the_training(tiny, rescue):
    with pytest.raises((ValueError, OSError), match="name of a file|is a file"):
        tiny.fit(TEXTS, rescue=rescue, callbacks=[End(AssertionError("it trained"), 0)], **SETTINGS)


def test_nothing_is_saved_before_a_step_or_of_weights_that_are_nan(tiny, tmp_path, capsys):
    class Begin(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        tiny.fit(TEXTS, rescue=tmp_path / "saved", callbacks=[Begin()], **SETTINGS)
    weight = tiny.model.trainable_weights[0]  # the last test: it stays spoilt

    class Spoil(End):
        def on_train_batch_end(self, batch, logs=None):
            weight.assign(np.full(weight.shape, np.nan))
            super().on_train_batch_end(batch, logs)

    with pytest.raises(KeyboardInterrupt):
        tiny.fit(TEXTS, rescue=tmp_path / "saved", callbacks=[Spoil(KeyboardInterrupt(), 0)],
                 **SETTINGS)  # fmt: skip
    assert "not finite" in capsys.readouterr().err and not (tmp_path / "saved").exists()


SCRIPT = """
import os, signal
import keras
import keraslm
from test_rescue import SETTINGS, TEXTS

tokenizer = keraslm.tokenizers.Tokenizer.train(TEXTS, vocab_size=270)
size = {"num_layers": 1, "d_model": 8, "num_heads": 1, "max_length": 16}
model = keraslm.models.GPT(tokenizer.vocab_size, **size)
lm = keraslm.tasks.TextGenerator(model, tokenizer)


class Stop(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch == 2:
            os.kill(os.getpid(), signal.SIGTERM)


lm.fit(TEXTS, rescue="saved", callbacks=[Stop()], **SETTINGS)
"""


@pytest.mark.slow
def test_sigterm(tmp_path):
    path = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT)],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    assert "SystemExit" in done.stderr and keraslm.from_pretrained(tmp_path / "saved")
