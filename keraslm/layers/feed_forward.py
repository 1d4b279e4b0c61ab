"""The position-wise network of a transformer block."""

import keras
from keras import ops

from keraslm.layers.common import check_rate, dense, positive, register

ACTIVATIONS = {
    "relu": ops.relu,
    "gelu": lambda x: ops.gelu(x, approximate=False),
    "gelu_tanh": lambda x: ops.gelu(x, approximate=True),
    "silu": ops.silu,
}


@register
class FeedForward(keras.layers.Layer):
    """Two dense layers with an activation between; gated, three (Shazeer 2020).

    Args:
        d_model: width of input and output.
        ffn_dim: width between.
        activation: ``"relu"``, ``"gelu"`` (exact), ``"gelu_tanh"`` (GPT-2's) or ``"silu"``.
        gated: multiply the activation by a second projection: ``"silu"`` becomes SwiGLU,
            ``"gelu"`` GeGLU.
        dropout: share of outputs dropped in training.
        use_bias, kernel_initializer, kernel_regularizer: of the dense layers.
        output_initializer: of the last one, if another is wanted.

    Call arguments:
        x: float ``(batch, seq, d_model)``.

    Returns:
        like ``x``.

    Example:
        >>> y = keraslm.layers.FeedForward(64, 256, activation="silu", gated=True)(x)
    """

    def __init__(
        self,
        d_model,
        ffn_dim,
        activation="relu",
        dropout=0.0,
        *,
        gated=False,
        use_bias=True,
        kernel_initializer="glorot_uniform",
        output_initializer=None,
        kernel_regularizer=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        d_model, ffn_dim = positive("d_model", d_model), positive("ffn_dim", ffn_dim)
        check_rate(dropout=dropout)
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"activation must be one of {sorted(ACTIVATIONS)}; received {activation!r}."
            )
        self.d_model = d_model
        self.ffn_dim = ffn_dim
        self.activation = activation
        self.dropout = dropout
        self.gated = gated
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.output_initializer = (
            None if output_initializer is None else keras.initializers.get(output_initializer)
        )
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.supports_masking = True

        initializer = self.kernel_initializer
        self.up = dense(ffn_dim, self, "up", initializer, use_bias)
        self.gate = dense(ffn_dim, self, "gate", initializer, use_bias) if gated else None
        self.down = dense(d_model, self, "down", self.output_initializer or initializer, use_bias)
        self.output_dropout = keras.layers.Dropout(
            dropout, dtype=self.dtype_policy, name="output_dropout"
        )

    def build(self, input_shape):
        self.up.build(input_shape)
        if self.gate is not None:
            self.gate.build(input_shape)
        self.down.build((*input_shape[:-1], self.ffn_dim))
        self.output_dropout.build(input_shape)
        self.built = True

    def call(self, x, training=None):
        activate = ACTIVATIONS[self.activation]
        y = self.up(x)
        y = activate(y) if self.gate is None else activate(self.gate(x)) * y
        return self.output_dropout(self.down(y), training=training)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.d_model)

    def get_config(self):
        return {
            **super().get_config(),
            "d_model": self.d_model,
            "ffn_dim": self.ffn_dim,
            "activation": self.activation,
            "dropout": self.dropout,
            "gated": self.gated,
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "output_initializer": self.output_initializer
            and keras.initializers.serialize(self.output_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }
