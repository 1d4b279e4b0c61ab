"""The TensorBoard callback, read back from a real TensorBoard server over HTTP."""

import json
import math
import os
import re
import subprocess
import sys
import time
import urllib.request

import keras
import numpy as np
import pytest
from keras import ops

from keraslm import callbacks
from keraslm.data import encode_documents, pack
from keraslm.models import GPT
from keraslm.tasks import TextGenerator
from keraslm.training import default_optimizer

PROMPTS = ["The government", "<b>In</b>"]


class Recorder(keras.callbacks.Callback):
    """Keeps what Keras itself reports."""

    def __init__(self):
        super().__init__()
        self.losses, self.logs = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append(logs["loss"])

    def on_epoch_end(self, epoch, logs=None):
        self.logs.append(dict(logs))


@pytest.fixture(scope="module")
def run(lm, articles, tmp_path_factory):
    """A training run watched by the callback: the folder and what else is known of it."""
    folder = tmp_path_factory.mktemp("logs")
    keras.utils.set_random_seed(2)
    gpt = GPT(lm.tokenizer.vocab_size, 1, 16, 2, max_length=48, kernel_regularizer="l2")
    new = TextGenerator(gpt, lm.tokenizer)
    rows = pack(articles[:12], lm.tokenizer, length=48, isolate_documents=True)
    stream = encode_documents(articles[12:15], lm.tokenizer)
    held_out = pack(stream, length=48)
    gpt.compile(default_optimizer(gpt, 1e-3))
    recorder = Recorder()
    board = callbacks.TensorBoard(
        folder, lm=new, prompts=PROMPTS, bytes_per_token=stream.bytes_per_token, every=3
    )
    gpt.fit(
        rows.dataset(4), epochs=2, validation_data=held_out.dataset(4, shuffle=False), verbose=0,
        callbacks=[recorder, board],
    )  # fmt: skip
    return {"folder": folder, "lm": new, "rows": rows, "held_out": held_out, "recorder": recorder,
            "bytes_per_token": stream.bytes_per_token}  # fmt: skip


@pytest.fixture(scope="module")
def server(run):
    """Address of a real TensorBoard on a free loopback port."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(run["folder"]), "--host",
               "127.0.0.1", "--port", "0", "--load_fast", "false"]  # fmt: skip
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=quiet) as process:
        try:
            for line in process.stderr:
                if found := re.search(r"(http://127\.0\.0\.1:\d+)", line):
                    yield found.group(1)
                    break
            else:
                raise RuntimeError("TensorBoard did not start")
        finally:
            process.terminate()
            process.wait(20)


def get(server, path, as_json=True):
    with urllib.request.urlopen(f"{server}/{path}", timeout=60) as response:
        body = response.read()
    return json.loads(body) if as_json else body.decode()


def scalars(server, run, tag):
    """Values of a tag by step, once the server has read them."""
    for _ in range(60):
        tags = get(server, "data/plugin/scalars/tags")
        if tag in tags.get(run, {}):
            break
        time.sleep(0.5)
    path = f"data/plugin/scalars/scalars?run={run}&tag={tag.replace('/', '%2F')}"
    return {step: value for _, step, value in get(server, path)}


def test_learning_rate_speed_and_gradient_norm(run, server):
    steps = len(run["recorder"].losses)
    wanted = [s for s in range(1, steps + 1) if s % 3 == 0]
    assert list(scalars(server, "train", "step/learning_rate")) == wanted
    assert set(scalars(server, "train", "step/learning_rate").values()) == {np.float32(1e-3)}
    assert all(v > 10 for v in scalars(server, "train", "step/tokens_per_second").values())
    norms = scalars(server, "train", "step/gradient_norm")
    assert list(norms) == wanted and all(0.01 < v < 1000 for v in norms.values())


def test_epoch_perplexity_is_weighted_by_token(run, server):
    inputs, targets, weights = (ops.convert_to_numpy(x) for x in _all(run["held_out"]))
    logits = ops.convert_to_numpy(run["lm"].model(inputs)).astype("float64")
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    nll = -np.take_along_axis(log_p, targets[..., None], -1)[..., 0].mean()
    found = scalars(server, "validation", "epoch_perplexity")
    assert list(found) == [0, 1]
    assert found[1] == pytest.approx(math.exp(nll), rel=1e-3)
    bits = scalars(server, "validation", "epoch_bits_per_byte")[1]
    assert bits == pytest.approx(nll / math.log(2) / run["bytes_per_token"], rel=1e-3)


def _all(rows):
    inputs, targets = rows.arrays()[:2]
    return inputs, targets, np.ones(targets.shape)


def test_training_perplexity_leaves_out_regularisation_and_masked_targets(run, server):
    """The callback's figure from Keras' own losses, undone by hand."""
    recorder, rows = run["recorder"], run["rows"]
    weights = rows.arrays()[2]
    share = weights.mean()  # of targets that count: Keras divides by all of them
    found = scalars(server, "train", "epoch_perplexity")
    loss = recorder.logs[1]["loss"]
    with_penalty = math.exp(loss / share)
    assert 1 < found[1] < with_penalty
    penalty = sum(float(x) for x in run["lm"].model.losses)
    assert math.log(found[1]) == pytest.approx((loss - penalty) / share, rel=0.05)


def test_samples_are_text(run, server):
    tags = get(server, "data/plugin/text/tags")
    assert {"samples/0", "samples/1"} <= set(tags["train"])
    texts = get(server, "data/plugin/text/text?run=train&tag=samples%2F1")
    assert [t["step"] for t in texts] == [0, 1]
    assert "<b>" not in texts[0]["text"] and "&lt;b&gt;In" in texts[0]["text"]


def test_the_projector_serves_the_table(run, server):
    runs = get(server, "data/plugin/projector/runs")
    assert runs, "the projector found no run"
    info = get(server, f"data/plugin/projector/info?run={runs[0]}")["embeddings"][0]
    name = info["tensorName"]
    query = f"run={runs[0]}&name={name}"
    rows = get(server, f"data/plugin/projector/metadata?{query}", as_json=False).split("\n")
    table = run["lm"].model.trunk.embed.embeddings.numpy()
    assert [r for r in rows if r] != [] and len(rows) >= len(table)
    with urllib.request.urlopen(f"{server}/data/plugin/projector/tensor?{query}") as response:
        found = np.frombuffer(response.read(), "float32").reshape(table.shape)
    np.testing.assert_allclose(found, table, atol=1e-4)


def test_the_model_has_its_own_functions_back(run):
    model = run["lm"].model
    assert "compute_loss" not in vars(model) and "apply" not in vars(model.optimizer)


def test_embeddings_freq_is_refused():
    with pytest.raises(ValueError, match="projector=True"):
        callbacks.TensorBoard("logs", embeddings_freq=1)


def test_works_with_any_compiled_model(tmp_path):
    model = keras.Sequential([keras.layers.Embedding(20, 4), keras.layers.Dense(20)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x = np.arange(20).reshape(4, 5)
    model.fit(x, x, verbose=0, callbacks=[callbacks.TensorBoard(tmp_path, every=1)])
    assert (tmp_path / "projector_config.pbtxt").is_file()
