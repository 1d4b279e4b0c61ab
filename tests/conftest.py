"""What several tests share: a small trained language model, where the data sets are, skips."""

import os
from fnmatch import fnmatchcase
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest

DATA = Path(os.environ.get("KERASLM_DATA", Path(__file__).parents[2] / "shared" / "data"))
SKIPS = [
    line
    for line in Path(__file__).with_name("skips.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]


def _checked_skip(report):
    """A skip is a failure where its reason is not in skips.txt."""
    if report.skipped and not hasattr(report, "wasxfail"):
        path, line, reason = report.longrepr
        reason = reason.removeprefix("Skipped: ")
        if not any(fnmatchcase(reason, pattern) for pattern in SKIPS):
            report.outcome = "failed"
            report.longrepr = (
                f"{path}:{line}: skipped, and the reason is not in tests/skips.txt: {reason}"
            )
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport():
    return _checked_skip((yield))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report():
    return _checked_skip((yield))


@pytest.fixture(scope="session")
def data_folder():
    """The folder of real data sets; tests marked ``data`` skip where it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"no data sets at {DATA}; set KERASLM_DATA")
    return DATA


@pytest.fixture(scope="session")
def articles():
    """Some real articles: the beginning of gensim's news corpus."""
    from gensim.test.utils import datapath

    lines = Path(datapath("lee_background.cor")).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.strip()]


@pytest.fixture(scope="session")
def lm(articles):
    """A tiny GPT, trained for a few steps: its logits are far from uniform."""
    import keras

    from keraslm.models import GPT
    from keraslm.tasks import TextGenerator
    from keraslm.tokenizers import Tokenizer

    keras.utils.set_random_seed(1)
    tokenizer = Tokenizer.train(articles, vocab_size=600)
    gpt = GPT(tokenizer.vocab_size, num_layers=2, d_model=32, num_heads=2, max_length=160)
    lm = TextGenerator(gpt, tokenizer)
    lm.fit(articles[:60], batch_size=4, length=64, learning_rate=3e-3, verbose=0)
    return lm


@pytest.fixture(scope="session")
def pattern():
    """Sentences in which animals stand where animals stand, and colours where colours."""
    import numpy as np

    rng = np.random.default_rng(0)
    animals, colours = ["cat", "dog", "cow"], ["red", "blue", "green"]
    return [
        ["a", str(rng.choice(animals)), "eats", "some", str(rng.choice(colours)), "paint"]
        for _ in range(2000)
    ]
