"""What several tests share: a small trained language model, and where the data sets are."""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest

DATA = Path(os.environ.get("KERASLM_DATA", Path(__file__).parents[2] / "shared" / "data"))


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
