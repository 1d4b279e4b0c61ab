"""A training step that writes down what it saw, for callbacks to read."""

import contextlib
import math
import warnings
from typing import NamedTuple

import keras
from keras import ops


class Counts(NamedTuple):
    """Sums over tokens.

    Attributes:
        nll: of the cross-entropy, regularisation left out, in nats.
        weight: of the weights of the targets: how many counted.
    """

    nll: float
    weight: float

    def since(self, earlier: "Counts") -> float | None:
        """Mean cross-entropy of a token since then; ``None`` if there was no token."""
        weight = self.weight - earlier.weight
        return (self.nll - earlier.nll) / weight if weight > 0 else None


class StepStatistics:
    """Variables that a model's training and test steps keep up to date (TensorFlow backend).

    A plain object, so that Keras takes its variables neither for weights nor for metrics: files,
    ``model.weights`` and ``History`` are the same with it. `keraslm.models.TransformerModel.fit`
    sets all to zero when it begins.

    Under ``tf.distribute`` each replica adds to its own part; reading gives the sum.
    """

    def __init__(self):
        def total(name, dtype):
            return keras.Variable(
                0, dtype=dtype, trainable=False, name=name,
                aggregation="sum", synchronization="on_read",
            )  # fmt: skip

        # Double precision: float32 loses tokens of a long epoch.
        self._nll = {True: total("nll", "float64"), False: total("validation_nll", "float64")}
        self._weight = {
            True: total("targets", "float64"), False: total("validation_targets", "float64")
        }  # fmt: skip
        self._tokens = total("tokens", "int64")
        self._gradient_norm = keras.Variable(
            -1.0, dtype="float32", trainable=False, name="gradient_norm",
            aggregation="only_first_replica",
        )  # fmt: skip

    # === Reading ===

    def counts(self, training: bool) -> Counts:
        """Sums since the beginning of ``fit``, of training or of validation."""
        return Counts(float(read(self._nll[training])), float(read(self._weight[training])))

    @property
    def tokens(self) -> int:
        """Tokens trained on since the beginning of ``fit``, padding included."""
        return int(read(self._tokens))

    @property
    def gradient_norm(self) -> float | None:
        """Global norm of the last batch's gradients, before clipping, loss scaling undone.

        ``None`` before the first step, and if a subclass has a ``train_step`` of its own.
        """
        norm = float(read(self._gradient_norm))
        return None if norm < 0 else norm  # NaN is no less: a diverged step shows

    # === Writing: by the model only ===

    def reset(self):
        """Begin again."""
        for variable in (*self._nll.values(), *self._weight.values(), self._tokens):
            variable.assign(ops.zeros((), variable.dtype))
        self._gradient_norm.assign(-1.0)

    def count(self, model, loss, y, sample_weight, training):
        """Add a batch: ``loss`` is what ``model.compute_loss`` gave for targets ``y``."""
        import tensorflow as tf

        if y is None or isinstance(y, (dict, list, tuple)):
            return
        size = ops.cast(ops.size(y), "float64")
        weight = size
        if sample_weight is not None:  # one a token, or one a row
            share = size / ops.cast(ops.size(sample_weight), "float64")
            weight = ops.sum(ops.cast(sample_weight, "float64")) * share
        # Keras divides by the number of entries or, if asked to, by the sum of the weights; and
        # by the number of replicas.
        mean_of_weights = getattr(model.loss, "reduction", "") == "mean_with_sample_weight"
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        loss = ops.cast(loss, "float32") * replicas
        if model.losses:
            loss = loss - ops.cast(sum(ops.sum(x) for x in model.losses), "float32")
        nll = ops.cast(loss, "float64") * (weight if mean_of_weights else size)
        self._nll[training].assign_add(nll)
        self._weight[training].assign_add(weight)
        if training:
            self._tokens.assign_add(ops.cast(size, "int64"))

    def measure(self, optimizer, gradients):
        """Keep the norm of a batch's gradients, which the optimizer has not seen yet."""
        import tensorflow as tf

        gradients = [g for g in gradients if g is not None]
        context = tf.distribute.get_replica_context()
        if context is not None and context.num_replicas_in_sync > 1:
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        norm = tf.linalg.global_norm([tf.cast(g, "float32") for g in gradients])
        self._gradient_norm.assign(norm / optimizer.scale_loss(tf.ones(())))


def train_step(model, data):
    """Keras' training step, with the norm of the gradients measured on the way.

    Args:
        model: compiled, with ``step_statistics``.
        data: ``(x, y)`` or ``(x, y, sample_weight)``, one batch.

    Returns:
        the dict of metrics.
    """
    import tensorflow as tf

    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    with tf.GradientTape() as tape:
        y_pred = model(x, training=True)
        # No training=True, which is its default: the compute_loss of a subclass may not have it.
        loss = model.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight)
        scaled = loss if model.optimizer is None else model.optimizer.scale_loss(loss)
    batch = ops.shape(next(leaf for leaf in keras.tree.flatten(x) if leaf is not None))[0]
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    tracker = next(metric for metric in model.metrics if metric.name == "loss")
    tracker.update_state(loss * replicas, sample_weight=batch)
    weights = model.trainable_weights
    if weights:
        gradients = tape.gradient(scaled, weights)
        # Of tables they are sparse, which Keras cannot scale or accumulate. A token stands there as
        # often as it occurs: its gradient is the sum.
        gradients = [g if g is None else tf.convert_to_tensor(g) for g in gradients]
        model.step_statistics.measure(model.optimizer, gradients)
        model.optimizer.apply(gradients, weights)
    else:
        warnings.warn("The model has no trainable weights.", stacklevel=2)
    return model.compute_metrics(x, y, y_pred, sample_weight=sample_weight)


def scope_of(model):
    """The scope of the ``tf.distribute`` strategy that a model was made in, to make variables."""
    strategy = getattr(model, "distribute_strategy", None)  # None: not TensorFlow
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def read(variable):
    """The value of a variable or tensor as a NumPy array, from outside a step.

    ``float(variable)`` fails for those of ``tf.distribute``.
    """
    return keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(variable))


def perplexity(nll: float) -> float:
    """The exponential of a mean cross-entropy; of a huge one, the largest that floats hold."""
    return math.exp(min(nll, 700.0))
