"""Where a token stands: added encodings (sinusoidal, learned) and rotary ones."""

import keras
import numpy as np
from keras import ops

from keraslm.layers.common import fresh, positive, register


def sinusoidal_table(max_length, d_model):
    """float32 ``(max_length, d_model)``: sines in even, cosines in odd columns.

    Source: Vaswani et al. 2017, section 3.5.
    """
    positions = np.arange(max_length)[:, np.newaxis]
    rates = np.power(10000.0, -np.arange(0, d_model, 2) / d_model)
    table = np.zeros((max_length, d_model), "float32")
    table[:, 0::2] = np.sin(positions * rates)
    table[:, 1::2] = np.cos(positions * rates)[:, : d_model // 2]
    return table


@register
class PositionalEncoding(keras.layers.Layer):
    """Adds to its input an encoding of each position.

    Args:
        max_length: longest sequence.
        d_model: width of the input.
        kind: ``"sinusoidal"`` (fixed; Vaswani et al. 2017) or ``"learned"`` (a trained table).
        embeddings_initializer: for the learned table.

    Call arguments:
        x: float ``(batch, seq, d_model)``.
        positions: int ``(batch, seq)`` or ``(1, seq)``; default 0, 1, 2, …

    Returns:
        like ``x``.

    Raises:
        ValueError: ``x`` is longer than ``max_length`` or not ``d_model`` wide.

    Example:
        >>> y = keraslm.layers.PositionalEncoding(128, 64)(x)
    """

    def __init__(
        self, max_length, d_model, kind="sinusoidal", *, embeddings_initializer=None, **kwargs
    ):
        super().__init__(**kwargs)
        if kind not in ("sinusoidal", "learned"):
            raise ValueError(f"kind must be 'sinusoidal' or 'learned'; received {kind!r}.")
        self.max_length = positive("max_length", max_length)
        self.d_model = positive("d_model", d_model)
        self.kind = kind
        self.embeddings_initializer = keras.initializers.get(
            embeddings_initializer or keras.initializers.RandomNormal(stddev=0.02)
        )
        self.supports_masking = True

    def build(self, input_shape):
        self._check(input_shape)
        if self.kind == "learned":
            self.table = self.add_weight(
                name="embeddings",
                shape=(self.max_length, self.d_model),
                initializer=fresh(self.embeddings_initializer),
            )
        else:
            self.table = sinusoidal_table(self.max_length, self.d_model)
        self.built = True

    def call(self, x, positions=None):
        self._check(x.shape, positions)
        table = ops.cast(ops.convert_to_tensor(self.table), self.compute_dtype)
        if positions is None:
            return x + ops.expand_dims(table[: ops.shape(x)[1]], 0)
        return x + ops.take(table, positions, axis=0)

    def _check(self, shape, positions=None):
        if shape[-1] is not None and shape[-1] != self.d_model:
            raise ValueError(f"The input must be d_model={self.d_model} wide; received {shape}.")
        if positions is None and shape[1] is not None and shape[1] > self.max_length:
            raise ValueError(
                f"The input has {shape[1]} positions, more than max_length={self.max_length}. "
                "Shorten it, or build the layer with a larger max_length."
            )

    def compute_output_spec(self, x, positions=None):
        self._check(x.shape, positions)
        return keras.KerasTensor(x.shape, dtype=self.compute_dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "max_length": self.max_length,
            "d_model": self.d_model,
            "kind": self.kind,
            "embeddings_initializer": keras.initializers.serialize(self.embeddings_initializer),
        }


@register
class RotaryEmbedding(keras.layers.Layer):
    """Turns queries and keys by an angle that grows with their position (RoPE).

    Su et al. 2021, in the half-split arrangement of Llama: feature ``i`` is paired with feature
    ``i + head_dim / 2``.

    Args:
        base: wavelength base; larger for longer contexts.

    Call arguments:
        x: float ``(batch, heads, seq, head_dim)``, ``head_dim`` even.
        positions: int ``(batch, seq)`` or ``(1, seq)``; default 0, 1, 2, …

    Returns:
        like ``x``.
    """

    def __init__(self, base=10000.0, **kwargs):
        super().__init__(**kwargs)
        if base <= 0:
            raise ValueError(f"base must be positive; received {base!r}.")
        self.base = base
        self.supports_masking = True
        self.built = True

    def call(self, x, positions=None):
        _check_even(x.shape)
        half = x.shape[-1] // 2
        if positions is None:
            positions = ops.expand_dims(ops.arange(ops.shape(x)[-2], dtype="int32"), 0)
        rates = np.power(self.base, -np.arange(half) / half).astype("float32")
        # Angles in float32 whatever the policy: bfloat16 has 8 bits for the position.
        angles = ops.expand_dims(ops.cast(positions, "float32"), -1) * rates  # (B, T, D/2)
        angles = ops.expand_dims(angles, 1)  # (B, 1, T, D/2)
        cos = ops.cast(ops.cos(angles), x.dtype)
        sin = ops.cast(ops.sin(angles), x.dtype)
        first, second = x[..., :half], x[..., half:]
        return ops.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)

    def compute_output_spec(self, x, positions=None):
        _check_even(x.shape)
        return keras.KerasTensor(x.shape, dtype=x.dtype)

    def get_config(self):
        return {**super().get_config(), "base": self.base}


def _check_even(shape):
    if shape[-1] % 2:
        raise ValueError(f"head_dim must be even for rotary positions; received {shape[-1]}.")
