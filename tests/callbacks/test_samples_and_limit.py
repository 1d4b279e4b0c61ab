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


@pytest.mark.parametrize("minutes", [0, -1, "a", None, float("nan"), float("inf"), True, [1]])
def test_what_is_no_number_of_minutes(minutes):
    with pytest.raises(ValueError, match="minutes must be a positive number; received"):
        callbacks.TimeLimit(minutes)


SAMPLES = [
    ({"every": "a"}, "every must be a positive whole number; received 'a'"),
    ({"every": 1.5}, "every must be a positive whole number; received 1.5"),
    ({"every": -1}, "every must be a positive whole number; received -1"),
    ({"prompts": None}, "prompts must be a str or a list of str; received NoneType"),
    ({"prompts": {"The": 1}}, "prompts must be a str or a list of str; received dict"),
    ({"prompts": [1]}, r"prompts\[0\] must be str; received int"),
    ({"prompts": []}, "prompts is empty. Give a list of texts"),
    ({"lm": "mine"}, "lm must be a keraslm.tasks.TextGenerator .* received str"),
]


@pytest.mark.parametrize(
    ("fields", "says"), [*SAMPLES, ({"show": 5}, "show must be a function .* received 5")], ids=str
)
def test_samples_that_cannot_be(lm, fields, says):
    with pytest.raises(ValueError, match=says):
        callbacks.Samples(**{"lm": lm, **fields})


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        *SAMPLES,
        ({"bytes_per_token": 0}, "bytes_per_token must be a positive number; received 0"),
        ({"bytes_per_token": "a"}, "bytes_per_token must be a positive number; received 'a'"),
        ({"projector": "no"}, "projector must be True or False; received 'no'"),
        ({"log_dir": None}, "log_dir must be the name of a file or folder.*received None"),
    ],
    ids=str,
)
def test_a_board_that_cannot_be(lm, fields, says):
    with pytest.raises(ValueError, match=says):
        callbacks.TensorBoard(**{"lm": lm, **fields})
