"""Heads: what is put on hidden states, one object each.

A head says which weights it has and what comes out, and builds its layers when it is called. The
tables at the end say which heads a model takes.
"""

from typing import Any, NamedTuple

import keras
from keras import ops

from keraslm.layers.common import count, dense, not_negative, one_of, positive, register
from keraslm.layers.feed_forward import ACTIVATIONS
from keraslm.layers.transformer_block import make_norm
from keraslm.models.base import optional_input
from keraslm.models.pooling import last_token


class Parts(NamedTuple):
    """What a head is built from.

    Attributes:
        trunk: the `keraslm.models.trunk.Trunk` whose hidden states it gets.
        inputs: symbolic inputs by name; a head may add its own.
        dtype: dtype policy of the model.
        num_classes: of a classifier.
        pooler_activation: of the dense layer on the first token.
        pad_id: id of the padding, of a decoder.
    """

    trunk: Any
    inputs: dict[str, Any]
    dtype: Any
    num_classes: int | None = None
    pooler_activation: str = "tanh"
    pad_id: int | None = None

    def dense(self, units, name, *, is_logits=True, activation=None, use_bias=True):
        """A dense layer with the initializer of the config; logits are float32."""
        spread = self.trunk.config.initializer_range
        return keras.layers.Dense(
            units,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=keras.initializers.RandomNormal(stddev=spread),
            dtype="float32" if is_logits else self.dtype,
            name=name,
        )

    def dropped(self, x):
        """Dropout in front of a classifier."""
        rate = self.trunk.config.dropout
        return keras.layers.Dropout(rate, dtype=self.dtype, name="head_dropout")(x)

    def pooled(self, hidden):
        """BERT's pooler: a dense layer on the first token, ``(batch, d_model)``."""
        width = self.trunk.config.d_model
        return self.dense(width, "pooler", is_logits=False, activation=self.pooler_activation)(
            hidden[:, 0]
        )


class Head:
    """No head: the hidden states as they are.

    Attributes:
        layers: names of the layers, whose weights are the head's.
        output: what comes out, in words.
        needs_classes: whether ``num_classes`` must be given.
        is_hidden: whether what comes out is in the model's dtype, and no logits.
    """

    layers: tuple[str, ...] = ()
    output = "hidden states (batch, seq, d_model)"
    needs_classes = False
    is_hidden = True

    def __call__(self, hidden, parts: Parts):
        """Symbolic output of symbolic hidden states ``(batch, seq, d_model)``."""
        return hidden


class Pooled(Head):
    """BERT's pooler alone."""

    layers = ("pooler",)
    output = "(batch, d_model)"

    def __call__(self, hidden, parts):
        return parts.pooled(hidden)


class Logits(Head):
    """A dense layer; float32 logits."""

    is_hidden = False
    needs_classes = True


class MaskedLM(Logits):
    """BERT's transform, the embedding table the other way round, a bias per token."""

    layers = ("masked_lm", "token_bias")
    output = "logits (batch, seq or predictions, vocab_size)"
    needs_classes = False

    def __call__(self, hidden, parts):
        config = parts.trunk.config
        positions = optional_input("masked_positions", "int32")
        parts.inputs["masked_positions"] = positions
        y = MaskedLMHead(
            config.d_model, config.activation, config.norm_epsilon, config.initializer_range,
            dtype=parts.dtype, name="masked_lm",
        )(hidden, masked_positions=positions)  # fmt: skip
        return TokenBias(dtype="float32", name="token_bias")(parts.trunk.logits(y))


class NextSentence(Logits):
    """Whether the second text follows the first: 0 if it does."""

    layers = ("pooler", "next_sentence")
    output = "logits (batch, 2)"
    needs_classes = False

    def __call__(self, hidden, parts):
        return parts.dense(2, "next_sentence")(parts.pooled(hidden))


class Classifier(Logits):
    """Classes of a text, from the pooled first token."""

    layers = ("pooler", "classifier")
    output = "logits (batch, num_classes)"

    def __call__(self, hidden, parts):
        pooled = parts.dropped(parts.pooled(hidden))
        return parts.dense(parts.num_classes, "classifier")(pooled)


class LastTokenClassifier(Logits):
    """Classes of a text, from its last token, as decoders have them."""

    layers = ("classifier",)
    output = "logits (batch, num_classes)"

    def __call__(self, hidden, parts):
        last = LastToken(parts.pad_id, dtype=parts.dtype, name="last_token")(
            hidden,
            token_ids=parts.inputs["token_ids"],
            padding_mask=parts.inputs["padding_mask"],
        )
        return parts.dense(parts.num_classes, "classifier", use_bias=False)(last)


class TokenClassifier(Logits):
    """Classes of each token."""

    layers = ("classifier",)
    output = "logits (batch, seq, num_classes)"

    def __call__(self, hidden, parts):
        return parts.dense(parts.num_classes, "classifier")(parts.dropped(hidden))


class Span(Logits):
    """Where an answer starts and where it ends."""

    layers = ("span",)
    output = "logits (batch, seq, 2): of the start and of the end"
    needs_classes = False

    def __call__(self, hidden, parts):
        return parts.dense(2, "span")(parts.dropped(hidden))


ENCODER_HEADS: dict[str | None, Head] = {
    None: Head(),
    "masked_lm": MaskedLM(),
    "pooled": Pooled(),
    "next_sentence": NextSentence(),
    "classifier": Classifier(),
    "token_classifier": TokenClassifier(),
    "span": Span(),
}
DECODER_HEADS: dict[str | None, Head] = {
    None: Head(),
    "classifier": LastTokenClassifier(),
    "token_classifier": TokenClassifier(),
}


def head_named(name, heads, num_classes):
    """A row of a table of heads, and ``num_classes`` as an int.

    Raises:
        ValueError: there is no such head, it needs ``num_classes``, or that is no number.
    """
    head = heads[one_of(*heads)("head", name)]
    if num_classes is not None:
        return head, positive("num_classes", num_classes)
    if head.needs_classes:
        raise ValueError(f"num_classes is missing: head={name!r} needs it.")
    return head, None


# === Layers ===


@register
class LastToken(keras.layers.Layer):
    """The hidden state of the last token that is no padding.

    Args:
        pad_id: id of the padding: tokens with it are passed over, as in `transformers`.

    Call arguments:
        hidden: float ``(batch, seq, d_model)``.
        token_ids: int ``(batch, seq)``.
        padding_mask: bool ``(batch, seq)``, True for real tokens, or ``None``.

    Returns:
        float ``(batch, d_model)``; of a row of nothing but padding, its first.
    """

    def __init__(self, pad_id=None, **kwargs):
        super().__init__(**kwargs)
        self.pad_id = None if pad_id is None else count("pad_id", pad_id)
        self.built = True

    def call(self, hidden, token_ids, padding_mask=None):
        real = ops.ones_like(token_ids) if padding_mask is None else padding_mask
        real = ops.cast(real, "int32")
        if self.pad_id is not None:
            real = real * ops.cast(ops.not_equal(token_ids, self.pad_id), "int32")
        none = 1 - ops.minimum(ops.sum(real, axis=1, keepdims=True), 1)
        first = ops.cast(ops.equal(ops.cumsum(ops.ones_like(real), axis=1), 1), "int32")
        return last_token(hidden, ops.cast(real + none * first, "bool"))

    def compute_output_spec(self, hidden, token_ids, padding_mask=None):
        return keras.KerasTensor((hidden.shape[0], hidden.shape[-1]), dtype=self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "pad_id": self.pad_id}


@register
class MaskedLMHead(keras.layers.Layer):
    """BERT's transform before the tied output table: dense, activation, norm.

    Call arguments:
        hidden: float ``(batch, seq, d_model)``.
        masked_positions: int ``(batch, predictions)``, or ``None``: everywhere.

    Returns:
        float ``(batch, predictions or seq, d_model)``.
    """

    def __init__(self, d_model, activation, norm_epsilon, initializer_range=0.02, **kwargs):
        super().__init__(**kwargs)
        self.d_model = positive("d_model", d_model)
        self.activation = one_of(*ACTIVATIONS)("activation", activation)
        self.norm_epsilon = not_negative("norm_epsilon", norm_epsilon)
        self.initializer_range = not_negative("initializer_range", initializer_range)
        self.kernel_regularizer = None
        initializer = keras.initializers.RandomNormal(stddev=initializer_range)
        self.transform = dense(d_model, self, "transform", initializer)
        self.norm = make_norm("layer", norm_epsilon, dtype=self.dtype_policy, name="norm")

    def build(self, hidden_shape, masked_positions_shape=None):
        self.transform.build(hidden_shape)
        self.norm.build(hidden_shape)
        self.built = True

    def call(self, hidden, masked_positions=None):
        if masked_positions is not None:
            indices = ops.expand_dims(masked_positions, -1)
            hidden = ops.take_along_axis(hidden, indices, axis=1)  # (B, P, C)
        return self.norm(ACTIVATIONS[self.activation](self.transform(hidden)))

    def compute_output_spec(self, hidden, masked_positions=None):
        length = hidden.shape[1] if masked_positions is None else masked_positions.shape[1]
        shape = (hidden.shape[0], length, self.d_model)
        return keras.KerasTensor(shape, dtype=self.compute_dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "d_model": self.d_model,
            "activation": self.activation,
            "norm_epsilon": self.norm_epsilon,
            "initializer_range": self.initializer_range,
        }


@register
class TokenBias(keras.layers.Layer):
    """Adds a trained bias per token to logits ``(batch, seq, vocab_size)``."""

    def build(self, input_shape):
        self.bias = self.add_weight(name="bias", shape=(input_shape[-1],), initializer="zeros")
        self.built = True

    def call(self, logits):
        return logits + self.bias

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return super().get_config()  # Keras' own, without it, fails on a dtype policy
