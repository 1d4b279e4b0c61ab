"""What a model's own training step writes down, against Keras' step and computations by hand."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from marks import slow_but

from keraslm.models import BERT, GPT

IDS = np.random.default_rng(0).integers(0, 30, (8, 9)).astype("int32")
IDS[:, :4] = 3  # a token that comes several times: its sparse gradients add up
X, Y = IDS[:, :-1], IDS[:, 1:]
WEIGHTS = np.random.default_rng(1).integers(0, 2, Y.shape).astype("float32")


def small(cls=GPT, **fields):
    keras.utils.set_random_seed(3)
    return cls(30, 1, 8, 2, max_length=16, **fields)


def norm_by_hand(model, x, y, weights):
    with tf.GradientTape() as tape:
        logits = model(x, training=True)
        nll = tf.nn.sparse_softmax_cross_entropy_with_logits(y, tf.cast(logits, "float32"))
        loss = tf.reduce_mean(nll * weights)
        loss += sum(model.losses) if model.losses else 0.0
    gradients = tape.gradient(loss, model.trainable_weights)
    return np.sqrt(sum((np.asarray(tf.convert_to_tensor(g), "float64") ** 2).sum()
                       for g in gradients))  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "optimizer", "compiled"),
    [
        ({}, {}, {}),
        ({"tied": False, "kernel_regularizer": "l2"}, {"global_clipnorm": 1e-3}, {}),
        ({}, {}, {"jit_compile": True}),
        ({}, {"gradient_accumulation_steps": 2}, {}),
        ({}, {"loss_scale_factor": 64.0}, {}),
        ({"dtype": "mixed_float16"}, {}, {}),
    ],
)
def test_gradient_norm_and_token_weighted_loss(fields, optimizer, compiled):
    model = small(**fields)
    model.compile(keras.optimizers.SGD(0.1, **optimizer), **compiled)
    loose = 3e-3 if "dtype" in fields else 1e-4
    norm = norm_by_hand(model, X, Y, WEIGHTS)
    logits = np.asarray(model(X), "float64")
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    nll = -np.take_along_axis(log_p, Y[..., None], -1)[..., 0]
    model.fit(X, Y, batch_size=8, sample_weight=WEIGHTS, shuffle=False, verbose=0)
    statistics = model.step_statistics
    assert statistics.gradient_norm == pytest.approx(norm, rel=loose)
    counts = statistics.counts(training=True)
    assert counts.weight == WEIGHTS.sum() and statistics.tokens == Y.size
    assert counts.nll == pytest.approx((nll * WEIGHTS).sum(), rel=loose)


@pytest.mark.parametrize("cls", slow_but((0,), [GPT, BERT]))
def test_the_step_is_keras_own(cls):
    """Losses, weights and optimizer as with the step that Keras has.

    But for rounding, and but for tables in which a row occurs twice, such as that of token types:
    Keras takes the gradients of the two apart where it squares them. So there are none here.
    """

    class Plain(cls):
        train_step = keras.Model.train_step

    runs = []
    for kind in (cls, Plain):
        types = {"token_types": 0} if cls is BERT else {}
        model = small(kind, dropout=0.1, kernel_regularizer="l2", **types)
        model.compile(keras.optimizers.AdamW(1e-3), weighted_metrics=["accuracy"])
        history = model.fit(X, Y, batch_size=4, epochs=2, sample_weight=WEIGHTS, verbose=0)
        runs.append((history.history, model.get_weights(), model.optimizer.variables))
    ours, theirs = runs
    for name in theirs[0]:
        np.testing.assert_allclose(ours[0][name], theirs[0][name], rtol=1e-5)
    for a, b in zip([*ours[1], *ours[2]], [*theirs[1], *theirs[2]], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_nothing_of_it_is_a_weight_or_a_metric(tmp_path):
    model = small()
    weights = [w.path for w in model.weights]
    model.compile()
    assert model.fit(X, Y, verbose=0).history.keys() == {"loss"}
    assert [w.path for w in model.weights] == weights
    assert [metric.name for metric in model.metrics] == ["loss"]
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    assert again.step_statistics.gradient_norm is None  # it has made no step yet
    again.fit(X, Y, verbose=0)
    assert again.step_statistics.gradient_norm > 0


def test_validation_is_counted_apart():
    model = small()
    model.compile("sgd")
    model.fit(X, Y, validation_data=(X[:2], Y[:2], WEIGHTS[:2]), epochs=2, verbose=0)
    assert model.step_statistics.counts(training=False).weight == 2 * WEIGHTS[:2].sum()
    assert model.step_statistics.counts(training=True).weight == 2 * Y.size
    model.fit(X, Y, verbose=0)
    assert model.step_statistics.counts(training=False).weight == 0


def test_a_step_or_loss_of_ones_own_is_used():
    class Own(GPT):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
            return 0.0 * super().compute_loss(x, y, y_pred, sample_weight) + 7.0

    class OwnStep(GPT):
        train_step = keras.Model.train_step

    model = small(Own)
    model.compile("sgd")
    assert model.fit(X, Y, verbose=0).history["loss"] == [7.0]
    model = small(OwnStep)
    model.compile("sgd")
    model.fit(X, Y, verbose=0)
    assert model.step_statistics.gradient_norm is None
    assert model.step_statistics.tokens == Y.size


MIRRORED = """
import json, sys, tempfile
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras, numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from keraslm import callbacks, tasks, tokenizers
from keraslm.models import GPT

texts = ["document %d has the number %d" % (i, i * 7 % 50) for i in range(80)]
tokenizer = tokenizers.Tokenizer.train(texts, vocab_size=280)
found = []
for strategy in (tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])):
    folder = tempfile.mkdtemp()
    with strategy.scope():
        keras.utils.set_random_seed(1)
        gpt = GPT(tokenizer.vocab_size, num_layers=1, d_model=16, num_heads=2, max_length=16)
    lm = tasks.TextGenerator(gpt, tokenizer)
    watch = [
        callbacks.TensorBoard(folder, lm=lm, every=1), callbacks.TimeLimit(5),
        callbacks.Freeze("positions", 1), callbacks.Samples(lm, "doc", show=str),
    ]
    lm.fit(texts, validation=texts[:20], epochs=2, optimizer="sgd", verbose=0, callbacks=watch,
           clip_norm=None)
    events = EventAccumulator(folder + "/train", size_guidance={"tensors": 0}).Reload()
    value = lambda tag: [tf.make_ndarray(e.tensor_proto).item() for e in events.Tensors(tag)]
    found.append({t: value(t) for t in ("step/gradient_norm", "step/loss", "epoch_perplexity")})
print(json.dumps(found))
"""


@pytest.mark.slow
def test_two_replicas_see_what_one_sees():
    import json

    done = subprocess.run(
        [sys.executable, "-c", MIRRORED], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = json.loads(done.stdout.splitlines()[-1])
    for tag, values in one.items():
        assert len(values) >= 2
        # The symbolic build of Keras under a strategy takes a look at the first pass.
        np.testing.assert_allclose(np.mean(two[tag]), np.mean(values), rtol=0.05, err_msg=tag)
