"""Real text for the tests of this folder."""

from pathlib import Path

import pytest

from keraslm.data import read_texts, wikipedia_sample
from keraslm.tokenizers import Tokenizer


@pytest.fixture(scope="session")
def lee_path():
    """300 news articles, one a line, inside the gensim package."""
    from gensim.test.utils import datapath

    return Path(datapath("lee_background.cor"))


@pytest.fixture(scope="session")
def lee(lee_path):
    return list(read_texts(lee_path, separator="\n"))


@pytest.fixture(scope="session")
def articles():
    """Every article of gensim's Wikipedia extract, cleaned."""
    return list(read_texts(wikipedia_sample()))


@pytest.fixture(scope="session")
def bpe(lee):
    return Tokenizer.train(lee, "bpe", 600)


@pytest.fixture(scope="session")
def wordpiece(lee):
    return Tokenizer.train(lee, "wordpiece", 1000, lowercase=True)
