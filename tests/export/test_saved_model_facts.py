"""What stands in the graph of a SavedModel beside its numbers, and that a proof sees it changed."""

import shutil

import keras
import numpy as np
import pytest

from keraslm import export
from keraslm.export.to_saved_model.stated import stated_in
from keraslm.generation import GenerationConfig
from keraslm.models import BERT
from keraslm.runtimes import SavedTextModel
from keraslm.tasks import TextClassifier, TextGenerator
from keraslm.tokenizers import Tokenizer

TEXTS = ["The government", "a " * 22]
LABELS = ["art", "sport", "\u653f\u6cbb"]


@pytest.fixture(scope="module")
def task(lm):
    """Draws, with a penalty, a stop token that one text comes to, and a stated ``max_length``."""
    config = GenerationConfig(temperature=0.9, seed=3, repetition_penalty=1.3)
    other = TextGenerator(lm.model, lm.tokenizer, config, stated={"max_length": 30})
    first, second = [other.generate(text, return_log_probs=True).ids for text in TEXTS]
    assert len(second) < 10
    stop = next(token for token in first[2:20] if token not in second)
    other.generation_config = config.replace(stop_ids=(stop,))
    return other


@pytest.fixture(scope="module")
def path(task, tmp_path_factory):
    return export.saved_model(task, tmp_path_factory.mktemp("exports") / "gpt", verify=False)


def test_settings_of_the_task_are_in_its_saved_model(lm, task, path):
    import tensorflow as tf

    run = tf.saved_model.load(str(path)).signatures["serving_default"]
    found = [run(text=tf.constant([text]))["text"][0].numpy().decode() for text in TEXTS]
    assert found == [task.generate(text) for text in TEXTS]
    assert len(task.generate(TEXTS[0], return_log_probs=True).ids) < 20
    prompt = lm.tokenizer.encode(TEXTS[1])
    assert len(task.generate(TEXTS[1], return_log_probs=True).ids) == 30 - len(prompt)
    facts = stated_in(path, lm.model.vocab_size)
    assert facts["stop_ids"] == list(task.generation_config.stop_ids)
    assert (facts["max_length"], facts["repetition_penalty"]) == (30, np.float32(1.3))


def test_stop_tokens_are_those_of_the_file(task, path):
    (stop,) = task.generation_config.stop_ids
    runtime = SavedTextModel(path)
    prompt = TEXTS[0]
    for settings in ({"stop_ids": [stop]}, {"config": GenerationConfig(stop_ids=(stop,))}):
        found = prompt + "".join(runtime.stream(prompt, 12, **settings))
        assert found == task.generate(prompt, max_new_tokens=12, temperature=0)
    for settings in (
        {"stop_ids": [5]},
        {"stop_ids": []},
        {"config": GenerationConfig(stop_ids=(5,))},
    ):
        with pytest.raises(ValueError, match=rf"stop_ids must be those of the file, \[{stop}\]"):
            runtime.stream(prompt, 12, **settings)


def rewritten(path, folder, changes):
    """A copy of a SavedModel with other constants in its graph."""
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow.python.framework import tensor_util

    copy = shutil.copytree(path, folder / "changed")
    saved = saved_model_pb2.SavedModel.FromString((copy / "saved_model.pb").read_bytes())
    nodes = [
        (node, node.name.split("/")[0])
        for function in saved.meta_graphs[0].graph_def.library.function
        for node in function.node_def
        if node.op == "Const" and node.name.split("/")[0] in changes
    ]
    assert {name for _, name in nodes} == set(changes)
    for node, name in nodes:
        value = np.array(changes[name])
        proto = tensor_util.make_tensor_proto(value, node.attr["dtype"].type, value.shape)
        node.attr["value"].tensor.CopyFrom(proto)
    (copy / "saved_model.pb").write_bytes(saved.SerializeToString())
    return copy


@pytest.mark.slow
def test_a_proof_reads_the_settings_in_the_graph(task, path, tmp_path):
    assert export.verify(path, task).passed
    changes = {"stop_ids": [5], "default_temperature": 0.5, "default_repetition_penalty": 1.2,
               "default_seed": 4, "default_max_length": 40}  # fmt: skip
    result = export.verify(rewritten(path, tmp_path, changes), task)
    assert not result.passed and result.equal_tokens < result.tokens
    assert result.differing == (
        f"stop_ids is [5] in the file and {list(task.generation_config.stop_ids)} in the task",
        "repetition_penalty is 1.2 in the file and 1.3 in the task",
        "temperature is 0.5 in the file and 0.9 in the task",
        "seed is 4 in the file and 3 in the task",
        "max_length is 40 in the file and 30 in the task",
    )


def test_a_proof_reads_the_labels_in_the_graph(articles, tmp_path):
    """Those too that it gives to no text of the proof."""
    keras.utils.set_random_seed(3)
    tokenizer = Tokenizer.train(articles[:9], kind="wordpiece", vocab_size=200, lowercase=True)
    bert = BERT(tokenizer.vocab_size, 1, 16, 2, max_length=32, head="classifier", num_classes=3)
    task = TextClassifier(bert, tokenizer, LABELS)
    path = export.saved_model(task, tmp_path / "topics", verify=False)
    never = max(range(3), key=lambda i: -task.predict("a").probabilities[LABELS[i]])
    names = [name if i != never else "music" for i, name in enumerate(LABELS)]
    result = export.verify(rewritten(path, tmp_path, {"labels": names}), task, texts=["a"])
    assert not result.passed and result.equal_tokens == result.tokens
    assert f"labels is {names} in the file and {LABELS} in the task" in str(result)
