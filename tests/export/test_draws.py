"""No draw differs: 10,000 tokens a setting by Keras, LiteRT, a SavedModel and the page."""

import pytest

from keraslm import export
from keraslm.export.to_web.browser import run_in_browser
from keraslm.generation import GenerationConfig
from keraslm.runtimes import LiteRTModel, SavedTextModel
from keraslm.tasks import TextGenerator

TEXT = "The government"
TOKENS, CALLS = 144, 70  # 10,080 tokens a setting
SEEDS = [0, -1, *range(1, 40), *range(-15, -2), *range(2**40, 2**40 + 16)]
SETTINGS = [
    {"temperature": 1.0},
    {"temperature": 2.0, "top_k": 0},
    {"temperature": 1.0, "top_k": 600},  # the whole vocabulary
    {"temperature": 0.7, "top_k": 10**6},
    {"top_k": 40},
    {"top_p": 0.9},
    {"top_k": 64, "top_p": 0.95, "temperature": 1.3},
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def endless(lm):
    """It stops at no token: a call gives all that are asked for."""
    return TextGenerator(lm.model, lm.tokenizer, GenerationConfig())


@pytest.fixture(scope="module")
def keras_texts(endless):
    """Of each setting, the texts of all seeds."""
    assert len(SEEDS) == CALLS
    calls = [[{"seed": seed, **settings} for seed in SEEDS] for settings in SETTINGS]
    return [[endless.generate(TEXT, max_new_tokens=TOKENS, **c) for c in row] for row in calls]


def compare(keras_texts, text_of):
    """Every text of every setting; ``text_of`` takes the settings of one."""
    for settings, expected in zip(SETTINGS, keras_texts, strict=True):
        assert len(set(expected)) == CALLS  # each seed has a text of its own
        found = [text_of({"seed": seed, **settings}) for seed in SEEDS]
        differ = [seed for seed, x, y in zip(SEEDS, found, expected, strict=True) if x != y]
        assert not differ, f"{settings}: other texts for the seeds {differ}"


def test_litert(endless, keras_texts, tmp_path):
    endless.save(tmp_path)
    runner = LiteRTModel(export.tflite(endless, tmp_path, verify=False))
    compare(keras_texts, lambda settings: TEXT + "".join(runner.stream(TEXT, TOKENS, **settings)))


def test_the_generate_signature_of_a_tflite(endless, tmp_path):
    """It has the 64 likeliest tokens, or all."""
    ids = endless.tokenizer.encode(TEXT)
    path = export.tflite(
        endless, tmp_path / "model.tflite", generate=(len(ids), TOKENS), verify=False
    )
    runner = LiteRTModel(path)
    for settings in ({"top_k": 40}, {"top_k": 0}, {"top_k": 64, "top_p": 0.9}):
        for seed in SEEDS:
            config = GenerationConfig(max_new_tokens=TOKENS, temperature=0.9, seed=seed, **settings)
            expected = endless.generator.generate([ids], config)[0].ids
            found = runner.generate_at_once(ids, TOKENS, temperature=0.9, seed=seed, **settings)
            assert list(found) == expected, (settings, seed)


def test_saved_model(endless, keras_texts, tmp_path):
    runner = SavedTextModel(export.saved_model(endless, tmp_path / "model", verify=False))
    compare(keras_texts, lambda settings: TEXT + "".join(runner.stream(TEXT, TOKENS, **settings)))


PAGE = """
import { load } from "/keraslm.js";

export default async function ({ text, calls }) {
  const lm = await load("/");
  const found = [];
  for (const settings of calls) {
    let whole = text;
    for await (const piece of lm.generate(text, settings)) whole += piece;
    found.push(whole);
  }
  return found;
}
"""


@pytest.mark.peer
def test_page(endless, packages, keras_texts, tmp_path):
    site = export.web(endless, tmp_path / "site", packages=packages, verify=False)

    def page_name(name):
        first, *rest = name.split("_")
        return first + "".join(map(str.capitalize, rest))

    calls = [
        {page_name(k): v for k, v in {"max_new_tokens": TOKENS, "seed": seed, **settings}.items()}
        for settings in SETTINGS
        for seed in SEEDS
    ]
    found = iter(run_in_browser(site, PAGE, {"text": TEXT, "calls": calls}))
    compare(keras_texts, lambda settings: next(found))
