"""Samples while training, and training for so long."""

import time

import pytest

from keraslm import callbacks
from keraslm.models import GPT
from keraslm.tasks import TextGenerator


@pytest.fixture
def fresh(lm):
    gpt = GPT(lm.tokenizer.vocab_size, 1, 8, 1, max_length=32)
    return TextGenerator(gpt, lm.tokenizer)


def test_samples_after_steps_and_epochs(fresh, articles):
    shown = []
    watch = [
        callbacks.Samples(fresh, "The", every=4, show=shown.append, max_new_tokens=3),
        callbacks.Samples(fresh, ["In", "On"], show=shown.append, max_new_tokens=3),
    ]
    history = fresh.fit(articles[:8], batch_size=4, length=32, verbose=0, callbacks=watch)
    steps = int(fresh.model.optimizer.iterations)
    assert [s.split("]")[0] for s in shown] == [
        *(f"[step {s}" for s in range(4, steps + 1, 4)),
        "[epoch 1",
        "[epoch 1",
    ]
    assert shown[-2].startswith("[epoch 1] In") and history.history["loss"]


def test_time_limit_ends_training(fresh, articles):
    limit = callbacks.TimeLimit(0.02)
    started = time.perf_counter()
    fresh.fit(articles[:50], batch_size=4, length=32, epochs=100000, verbose=0, callbacks=[limit])
    assert limit.reached and time.perf_counter() - started < 30
    with pytest.raises(ValueError, match="minutes must be above 0"):
        callbacks.TimeLimit(0)
