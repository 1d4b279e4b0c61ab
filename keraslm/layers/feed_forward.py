"""The position-wise network of a transformer block."""

import dataclasses
from typing import Any

import keras
from keras import ops

from keraslm.layers.common import dense, flag, one_of, positive, register
from keraslm.layers.options import REQUIRED, Initializers, Shape, TakesOptions, documented, option

ACTIVATIONS = {
    "relu": ops.relu,
    "gelu": lambda x: ops.gelu(x, approximate=False),
    "gelu_tanh": lambda x: ops.gelu(x, approximate=True),
    "silu": ops.silu,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeedForwardShape(Shape):
    """What a feed-forward network computes."""

    ffn_dim: int = option(REQUIRED, positive, "Inner width of the feed-forward network.")
    activation: str = option(
        "relu", one_of(*ACTIVATIONS),
        'Function between its projections: ``"relu"``, ``"gelu"`` (exact), ``"gelu_tanh"`` '
        '(GPT-2\'s) or ``"silu"``.',
    )  # fmt: skip
    gated: bool = option(
        False, flag,
        'Whether a second projection multiplies the activation: ``"silu"`` becomes SwiGLU, '
        '``"gelu"`` GeGLU.',
    )  # fmt: skip
    ffn_bias: bool | None = option(
        None, flag, "Whether the feed-forward network has biases; default ``use_bias``.",
        later=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ffn_bias == self.use_bias:
            self._set("ffn_bias", None)


@documented
@dataclasses.dataclass(frozen=True, kw_only=True)
class FeedForwardOptions(Initializers, FeedForwardShape):
    """Options of a `FeedForward`.

    Example:
        >>> options = FeedForwardOptions(d_model=64, ffn_dim=256, gated=True)
        >>> options.replace(activation="silu").gated
        True
    """


@register
class FeedForward(TakesOptions, keras.layers.Layer):
    """Two dense layers with an activation between; gated, three (Shazeer 2020).

    Args:
        options: a `FeedForwardOptions`, instead of the arguments above.

    Call arguments:
        x: float ``(batch, seq, d_model)``.

    Returns:
        like ``x``.

    Raises:
        ValueError: an option that cannot be.

    Example:
        >>> feed_forward = keraslm.layers.FeedForward(64, 256, activation="silu", gated=True)
        >>> tuple(feed_forward(np.zeros((2, 8, 64), "float32")).shape)
        (2, 8, 64)
    """

    options_class = FeedForwardOptions

    def __init__(
        self,
        d_model: int | None = None,
        ffn_dim: int | None = None,
        activation: str | None = None,
        dropout: float | None = None,
        *,
        options: FeedForwardOptions | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(
            options, d_model=d_model, ffn_dim=ffn_dim, activation=activation, dropout=dropout,
            **fields,
        )  # fmt: skip
        first = self.kernel_initializer
        last = self.output_initializer or first
        bias = self.use_bias if self.ffn_bias is None else self.ffn_bias
        self.up = dense(self.ffn_dim, self, "up", first, bias)
        self.gate = dense(self.ffn_dim, self, "gate", first, bias) if self.gated else None
        self.down = dense(self.d_model, self, "down", last, bias)
        self.output_dropout = keras.layers.Dropout(
            self.dropout, dtype=self.dtype_policy, name="output_dropout"
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
        y = self.up(x)  # (B, T, F)
        y = activate(y) if self.gate is None else activate(self.gate(x)) * y
        return self.output_dropout(self.down(y), training=training)  # (B, T, C)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.d_model)
