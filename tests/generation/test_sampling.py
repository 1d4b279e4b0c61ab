"""Choosing a token: filters against NumPy, frequencies against the distribution."""

import numpy as np
import pytest
from keras import ops

from keraslm.generation import GenerationConfig
from keraslm.generation.sampling import method_of, next_token, settings_of

LOGITS = np.log(np.array([0.02, 0.4, 0.1, 0.25, 0.05, 0.18], "float32"))


def frequencies(config, logits=LOGITS, n=20000):
    method, settings = method_of(config, len(logits)), settings_of(config.replace(seed=3))
    batch = np.tile(logits, (n, 1))
    token = next_token(ops.convert_to_tensor(batch), method, settings, np.arange(n, dtype="int32"),
                       np.int32(0))  # fmt: skip
    return np.bincount(ops.convert_to_numpy(token), minlength=len(logits)) / n


def expected(temperature=1.0, k=6, top_p=1.0, min_p=0.0):
    p = np.exp(LOGITS / temperature)
    p /= p.sum()
    order = np.argsort(-p)
    keep = np.zeros(6)
    keep[order[:k]] = 1
    p = p * keep / (p * keep).sum()
    before = np.cumsum(p[order]) - p[order]
    kept = np.zeros(6)
    kept[order] = (before < top_p) & (p[order] >= min_p * p.max())
    p = p * kept
    return p / p.sum()


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 1.0},
        {"temperature": 0.5},
        {"top_k": 1},
        {"top_k": 3},
        {"top_k": 1000},
        {"top_p": 0.5},
        {"top_p": 0.8},
        {"min_p": 0.3},
        {"temperature": 2.0, "top_k": 4, "top_p": 0.7, "min_p": 0.1},
    ],
)
def test_frequencies_follow_the_filtered_distribution(settings):
    names = {"top_k": "k"}
    wanted = expected(**{names.get(n, n): v for n, v in settings.items()})
    found = frequencies(GenerationConfig(**settings))
    assert (found[wanted == 0] == 0).all()
    np.testing.assert_allclose(found, wanted, atol=0.015)


def test_greedy_takes_the_first_of_the_likeliest():
    assert frequencies(GenerationConfig(), n=4)[1] == 1
    assert frequencies(GenerationConfig(temperature=0.0, top_k=5), n=4)[1] == 1


def test_extreme_logits_stay_in_the_vocabulary():
    logits = np.array([-1e9, 80.0, -1e9, 80.0], "float32")
    found = frequencies(GenerationConfig(temperature=1.0), logits)
    np.testing.assert_allclose(found, [0, 0.5, 0, 0.5], atol=0.02)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -1.0),
        ("temperature", "hot"),
        ("top_k", -1),
        ("top_k", float("nan")),
        ("temperature", float("inf")),
        ("temperature", True),
        ("top_k", 1.5),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("min_p", -0.1),
        ("repetition_penalty", 0.0),
        ("max_new_tokens", 0),
        ("seed", 0.5),
    ],
)
def test_settings_out_of_range_are_named(name, value):
    with pytest.raises(ValueError, match=f"{name} must be"):
        GenerationConfig(**{name: value})


def test_unknown_setting_is_named():
    with pytest.raises(ValueError, match="no generation setting 'topk'"):
        GenerationConfig().replace(topk=3)
