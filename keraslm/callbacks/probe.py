"""Numbers that Keras computes inside its training step and does not report."""

import tensorflow as tf


class Probe:
    """Adds to a compiled model variables that its steps keep up to date.

    Keras computes gradients and loss inside one compiled function, which no callback can look
    into. So while the probe is attached, the model's ``compute_loss`` and its optimizer's
    ``apply`` also write to variables.

    Attributes:
        gradient_norm: float32, global norm of the last step's gradients, before clipping.
        nll, tokens: float64, sums over the tokens since the last `read`, for training and for
            validation: cross-entropy (regularisation left out) and token weights.
        seen: int64, tokens trained on so far, padding included.
    """

    def __init__(self, model):
        self.model = model
        self.gradient_norm = tf.Variable(0.0, name="gradient_norm")
        self.seen = tf.Variable(0, dtype=tf.int64, name="tokens_seen")
        self.nll = {k: tf.Variable(0.0, dtype=tf.float64) for k in (True, False)}
        self.tokens = {k: tf.Variable(0.0, dtype=tf.float64) for k in (True, False)}
        self._attach()

    def _attach(self):
        compute_loss, apply = self.model.compute_loss, self.model.optimizer.apply

        def compute_loss_and_count(x=None, y=None, y_pred=None, sample_weight=None, training=True):
            loss = compute_loss(x, y, y_pred, sample_weight, training=training)
            if y is not None and not isinstance(y, (dict, list, tuple)):
                self._count(loss, y, sample_weight, bool(training))
            return loss

        def apply_and_measure(gradients, trainable_variables=None):
            gradients = list(gradients)
            norm = tf.linalg.global_norm([g for g in gradients if g is not None])
            self.gradient_norm.assign(tf.cast(norm, tf.float32))
            return apply(gradients, trainable_variables)

        self.model.compute_loss = compute_loss_and_count
        self.model.optimizer.apply = apply_and_measure
        self._forget_compiled()

    def detach(self):
        """Give the model its own functions back."""
        del self.model.compute_loss
        del self.model.optimizer.apply
        self._forget_compiled()

    def _forget_compiled(self):
        for name in ("train_function", "test_function"):
            setattr(self.model, name, None)

    def _count(self, loss, y, sample_weight, training):
        size = tf.cast(tf.size(y), tf.float64)
        weight = size
        if sample_weight is not None:
            ratio = size / tf.cast(tf.size(sample_weight), tf.float64)
            weight = tf.reduce_sum(tf.cast(sample_weight, tf.float64)) * ratio
        extra = tf.add_n(self.model.losses) if self.model.losses else 0.0
        # Keras divides by the number of entries, or, if told so, by the sum of the weights.
        reduction = getattr(self.model.loss, "reduction", "sum_over_batch_size")
        divisor = weight if reduction == "mean_with_sample_weight" else size
        nll = tf.cast(tf.cast(loss, tf.float32) - tf.cast(extra, tf.float32), tf.float64) * divisor
        self.nll[training].assign_add(nll)
        self.tokens[training].assign_add(weight)
        if training:
            self.seen.assign_add(tf.cast(size, tf.int64))

    def read(self, training):
        """Mean cross-entropy of a token since the last time, or ``None`` if there was none."""
        nll, tokens = self.nll[training], self.tokens[training]
        mean = float(nll) / float(tokens) if float(tokens) else None
        nll.assign(0.0)
        tokens.assign(0.0)
        return mean
