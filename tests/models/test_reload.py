"""What needs a fresh process: lazy imports, and loading files whichever import comes first."""

import importlib.util
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from keraslm.embeddings import VectorInitializer
from keraslm.models import BERT, GPT
from keraslm.training import Perplexity

FIELDS = {"vocab_size": 7, "num_layers": 1, "d_model": 8, "num_heads": 2, "max_length": 8}
IDS = np.array([[1, 2, 3, 4], [6, 5, 0, 0]], "int32")

LOAD = """
import json, sys
import {first}
import {second}
import keras, numpy as np

folder = sys.argv[1]
ids = np.load(folder + "/ids.npy")
report = {{}}
for name in sys.argv[2:]:
    try:
        model = keras.models.load_model(f"{{folder}}/{{name}}.keras")
        logits = np.asarray(model({{"token_ids": ids, "padding_mask": ids > 0}}))
        same = bool((logits == np.load(f"{{folder}}/{{name}}.npy")).all())
        report[name] = [type(model).__name__, model.dtype_policy.name, same]
    except Exception as error:
        report[name] = str(error)
print("REPORT" + json.dumps(report))
"""

MODELS = {
    "gpt": lambda: GPT(**FIELDS, dtype="mixed_bfloat16"),
    "bert": lambda: BERT(**FIELDS),
    "from_vectors": lambda: GPT(
        **FIELDS,
        embeddings_initializer=VectorInitializer(
            {letter: np.arange(8.0) == i for i, letter in enumerate("abcd")}, list("abcdefg")
        ),
    ),  # fmt: skip
    "with_perplexity": lambda: GPT(**FIELDS),
}


def run(code, *args):
    """What a fresh process prints to stdout."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        capture_output=True, text=True, encoding="utf-8", timeout=100,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    np.save(folder / "ids.npy", IDS)
    for name, make in MODELS.items():
        model = make()
        model.compile(weighted_metrics=[Perplexity()] if name == "with_perplexity" else None)
        model.save(folder / f"{name}.keras")
        logits = model({"token_ids": IDS, "padding_mask": IDS > 0})
        np.save(folder / f"{name}.npy", np.asarray(logits))
    return folder


@pytest.fixture(scope="module", params=[("keraslm", "keras"), ("keras", "keraslm")],
                ids=["keraslm_first", "keras_first"])  # fmt: skip
def report(request, folder):
    first, second = request.param
    out = run(LOAD.format(first=first, second=second), folder, *MODELS)
    return json.loads(out.rpartition("REPORT")[2])


@pytest.mark.parametrize(
    "name",
    ["gpt", "bert", "from_vectors", "with_perplexity"],
)
def test_plain_load_model_in_a_fresh_process(name, report):
    cls = "BERT" if name == "bert" else "GPT"
    policy = "mixed_bfloat16" if name == "gpt" else "float32"
    assert report[name] == [cls, policy, True]


@pytest.mark.parametrize("module", ["keraslm", "keraslm.cli"])
def test_import_is_light(module):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"there is no {module}")
    out = run(
        "import sys, time\n"
        "before = time.process_time()\n"
        f"import {module}\n"
        "seconds = time.process_time() - before\n"
        "heavy = {'tensorflow', 'keras', 'gensim', 'tokenizers', 'numpy'} & set(sys.modules)\n"
        "print(seconds, *heavy)"
    )
    seconds, *heavy = out.split()
    assert not heavy
    assert float(seconds) < 0.5


def test_from_pretrained_is_found_without_keras():
    names = run("import keraslm; print(*dir(keraslm))").split()
    assert {"from_pretrained", "models", "layers", "__version__"} <= set(names)


def test_unknown_attribute():
    import keraslm

    with pytest.raises(AttributeError, match="module 'keraslm' has no attribute 'model'"):
        keraslm.model  # noqa: B018


def test_registered_classes_are_found_by_name():
    assert keras.saving.get_registered_object("keraslm>GPT") is GPT
