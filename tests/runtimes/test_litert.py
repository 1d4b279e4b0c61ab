"""A decoder's ``.tflite`` from Python: what it refuses, and what its bundle states."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from keraslm import export
from keraslm.generation import GenerationConfig
from keraslm.runtimes import LiteRTEncoder, LiteRTLM, LiteRTModel, SavedTextModel, open_runtime
from keraslm.tasks import TextGenerator

ENCODER = Path(__file__).parents[1] / "fixtures/v0_1/exports/classifier.tflite"


@pytest.fixture(scope="module")
def stated(lm):
    return TextGenerator(lm.model, lm.tokenizer, stated={"max_length": 20})


@pytest.fixture(scope="module")
def path(stated, tmp_path_factory):
    folder = stated.save(tmp_path_factory.mktemp("bundle"))
    return export.tflite(stated, folder, generate=(16, 8), verify=False)


@pytest.fixture(scope="module")
def model(path):
    return LiteRTModel(path)


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        ([1.5], "token ids must be whole numbers; received 1.5"),
        ([1.0], "token ids must be whole numbers; received 1.0"),
        ([True], "token ids must be whole numbers; received True"),
        ([10**6], "token ids must be from 0 to .*; received 1000000"),
        ([-1], "token ids must be from 0 to .*; received -1"),
        ([[1, 2]], r"token ids must be whole numbers; received \[1, 2\]"),
        (np.ones((1, 2), int), r"token ids must be whole numbers; received array\(\[1, 1\]\)"),
        (3, "token ids must be a list of whole numbers; received 3"),
        ("ab", "token ids must be a list of whole numbers; received 'ab'"),
    ],
    ids=repr,
)
def test_token_ids_are_whole_numbers_of_the_file(model, ids, says):
    model.reset()
    with pytest.raises(ValueError, match=says):
        model.prefill(ids)
    if isinstance(ids, list):
        with pytest.raises(ValueError, match=says):
            model.decode(*ids)
    with pytest.raises(ValueError, match=says):
        model.generate_at_once(ids, 3)
    with pytest.raises(ValueError, match=says):
        list(model.generate(ids, GenerationConfig()))
    assert model.position == 0


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens must be a positive whole number; received 0"),
        ({"max_new_tokens": 2.5}, "max_new_tokens must be a positive whole number; received 2.5"),
        ({"max_new_tokens": "2"}, "max_new_tokens must be a positive whole number; received '2'"),
        ({"temperature": -1}, "temperature must be 0 .greedy. or more; received -1"),
        ({"temperature": float("nan")}, "temperature must be 0 .greedy. or more; received nan"),
        ({"top_k": 2.5}, "top_k must be 0 .off. or a positive whole number; received 2.5"),
        ({"top_k": -1}, "top_k must be 0 .off. or a positive whole number; received -1"),
        ({"top_k": 65}, "top_k must be at most 64 in one call, or 0 for all; received 65"),
        ({"top_p": 5}, "top_p must be above 0 and at most 1; received 5"),
        ({"seed": "a"}, "seed must be a whole number; received 'a'"),
    ],
    ids=repr,
)
def test_settings_of_one_call_are_those_of_a_config(model, settings, says):
    with pytest.raises(ValueError, match=says):
        model.generate_at_once([1, 2], **{"max_new_tokens": 3, **settings})


def test_no_setting_is_one_that_is_off(lm, model):
    prompt = lm.tokenizer.encode("The government")
    config = GenerationConfig(8, temperature=0.9, seed=3)
    expected = lm.generator.generate([prompt], config)[0].ids
    off = {"top_k": None, "top_p": None}
    assert model.generate_at_once(prompt, 10**12, temperature=0.9, seed=3, **off) == expected


@pytest.mark.parametrize("config", [3, {}, {"top_k": 2}], ids=repr)
def test_a_config_is_a_config(model, config):
    with pytest.raises(ValueError, match="config must be a keraslm.*GenerationConfig; received"):
        list(model.generate([1], config))
    with pytest.raises(ValueError, match="config must be a keraslm.*GenerationConfig; received"):
        model.stream("The", config=config)


def test_context_is_a_dict(model):
    with pytest.raises(ValueError, match="context must be a dict of arrays; received 3"):
        list(model.generate([1], GenerationConfig(), context=3))


@pytest.mark.parametrize("prompt", ["The government", "a " * 22])
def test_a_stated_length_counts_the_prompt_as_in_keras(stated, model, prompt):
    assert prompt + "".join(model.stream(prompt)) == stated.generate(prompt)
    new = len(stated.generate(prompt, return_log_probs=True).ids)
    assert new <= max(1, 20 - len(stated.tokenizer.encode(prompt)))
    found = "".join(model.stream(prompt, 9))
    assert prompt + found == stated.generate(prompt, max_new_tokens=9)


def test_a_damaged_statement_is_named(path, tmp_path):
    for name in ("model.tflite", "tokenizer.json", "generation_config.json", "config.json"):
        (tmp_path / name).write_bytes((path.parent / name).read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["settings"]["stated"]["max_length"] = "long"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="config.json is damaged: 'max_length' is 'long'"):
        LiteRTModel(tmp_path / "model.tflite").stream("The")


KINDS = [open_runtime, LiteRTModel, LiteRTEncoder, LiteRTLM, SavedTextModel]


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("path", [3, None, ["a"]], ids=repr)
def test_a_path_is_a_path(make, path):
    if make is LiteRTLM:
        pytest.importorskip("litert_lm", reason="litert-lm-api is not installed")
    with pytest.raises(ValueError, match="path must be the name of a file or folder, a str or a P"):
        make(path)


def test_files_of_another_kind_are_named(tmp_path):
    with pytest.raises(ValueError, match="An encoder's file is for keraslm.runtimes.LiteRTEncoder"):
        open_runtime(ENCODER)
    packed = tmp_path / "classifier.tflite"  # as MediaPipe packs a vocabulary
    packed.write_bytes(ENCODER.read_bytes())
    with zipfile.ZipFile(packed, "a") as files:
        files.writestr("vocab.txt", "[PAD]\n[UNK]\n")
    with pytest.raises(ValueError, match="classifier.tflite is made for MediaPipe Tasks"):
        open_runtime(packed)
