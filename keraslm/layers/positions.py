"""Where a token stands: added encodings (sinusoidal, learned) and rotary ones."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keraslm.layers.common import (
    above_zero,
    fresh,
    initializer,
    one_of,
    portion,
    positive,
    register,
)


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
        >>> tuple(keraslm.layers.PositionalEncoding(128, 64)(np.zeros((2, 8, 64), "float32")).shape)
        (2, 8, 64)
    """

    def __init__(
        self,
        max_length: int,
        d_model: int,
        kind: str = "sinusoidal",
        *,
        embeddings_initializer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.max_length = positive("max_length", max_length)
        self.d_model = positive("d_model", d_model)
        self.kind = one_of("sinusoidal", "learned")("kind", kind)
        if embeddings_initializer is None:
            embeddings_initializer = keras.initializers.RandomNormal(stddev=0.02)
        self.embeddings_initializer = initializer("embeddings_initializer", embeddings_initializer)
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
            positions = ops.expand_dims(ops.arange(ops.shape(x)[1], dtype="int32"), 0)  # (1, T)
        return x + ops.take(table, positions, axis=0)  # (B, T, C)

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
        scaling: how the wavelengths are stretched for a context longer than that of training, a
            dict in the spelling of Hugging Face ``rope_scaling``: ``{"rope_type": "linear",
            "factor": 4.0}``; ``"llama3"`` with ``factor``, ``low_freq_factor``,
            ``high_freq_factor``, ``original_max_position_embeddings``; ``"yarn"`` (Peng et al.
            2023) with ``factor``, ``original_max_position_embeddings`` and, if wanted,
            ``beta_fast``, ``beta_slow``, ``truncate``, ``attention_factor``, or ``mscale`` and
            ``mscale_all_dim`` together.
        fraction: share of the features, the first ones, that are turned (GPT-NeoX).

    Call arguments:
        x: float ``(batch, heads, seq, head_dim)``, ``head_dim`` even.
        positions: int ``(batch, seq)`` or ``(1, seq)``; default 0, 1, 2, …

    Returns:
        like ``x``.

    Example:
        >>> rotary = keraslm.layers.RotaryEmbedding(scaling={"rope_type": "linear", "factor": 4.0})
        >>> tuple(rotary(np.zeros((2, 4, 8, 16), "float32")).shape)
        (2, 4, 8, 16)
    """

    def __init__(
        self,
        base: float = 10000.0,
        scaling: dict[str, Any] | None = None,
        fraction: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.base = above_zero("base", base)
        self.scaling = scaling
        self.fraction = portion("fraction", fraction)
        rotary_rates(base, 8, scaling)  # raises if the scaling is not one
        self.supports_masking = True
        self.built = True

    def call(self, x, positions=None):
        width = self._width(x.shape)
        if positions is None:
            positions = ops.expand_dims(ops.arange(ops.shape(x)[-2], dtype="int32"), 0)
        rates, factor = rotary_rates(self.base, width, self.scaling)
        # Angles in float32 whatever the policy: bfloat16 has 8 bits for the position.
        angles = ops.expand_dims(ops.cast(positions, "float32"), -1) * rates  # (B, T, D/2)
        angles = ops.expand_dims(angles, 1)  # (B, 1, T, D/2)
        cos, sin = ops.cos(angles), ops.sin(angles)
        if factor != 1.0:
            cos, sin = cos * factor, sin * factor
        cos, sin = ops.cast(cos, x.dtype), ops.cast(sin, x.dtype)
        first, second, *rest = self._parts(x, width)  # (B, H, T, D/2), …, those that stay
        turned = [first * cos - second * sin, second * cos + first * sin]
        return ops.concatenate([*turned, *rest], axis=-1)

    def _width(self, shape):
        """How many features are turned."""
        width = int(shape[-1] * self.fraction)
        if width % 2:
            raise ValueError(f"head_dim must be even for rotary positions; received {width}.")
        return width

    @staticmethod
    def _parts(x, width):
        if width == x.shape[-1]:
            return ops.split(x, 2, axis=-1)
        return ops.split(x, [width // 2, width], axis=-1)

    def compute_output_spec(self, x, positions=None):
        self._width(x.shape)
        return keras.KerasTensor(x.shape, dtype=x.dtype)

    def get_config(self):
        config = {**super().get_config(), "base": self.base, "scaling": self.scaling}
        if self.fraction != 1.0:  # earlier versions do not know it
            config["fraction"] = self.fraction
        return config


def checked_scaling(name, value):
    """The check of a rotary scaling: `rotary_rates` takes it."""
    rotary_rates(10000.0, 8, value)
    return value


def rotary_rates(base, width, scaling=None):
    """Radians a position for each pair of features, and what the result is multiplied by.

    Args:
        base: wavelength base.
        width: of a head, even.
        scaling: as in `RotaryEmbedding`.

    Returns:
        float32 ``(width / 2,)`` and a float.

    Raises:
        ValueError: an unknown scaling, or one that lacks a number.
    """
    rates = np.power(float(base), -np.arange(width // 2) / (width // 2))
    scaling = scaling or {}
    if not isinstance(scaling, dict):
        raise ValueError(f"scaling must be a dict or None; received {scaling!r}.")
    kind = scaling.get("rope_type", scaling.get("type", "default" if not scaling else None))
    if not isinstance(kind, str) or kind not in ("default", *SCALINGS):
        raise ValueError(f"rope_type must be one of {('default', *SCALINGS)}; received {kind!r}.")
    if unknown := sorted(set(scaling) - {"rope_type", "type", *KEYS.get(kind, ())}, key=str):
        raise ValueError(
            f"The rope scaling {kind!r} has no {unknown[0]!r}; received {scaling}. It takes "
            f"{', '.join(KEYS.get(kind, ())) or 'nothing'}."
        )
    if kind == "default":
        return rates.astype("float32"), 1.0
    odd = f"The rope scaling {kind!r} has a value that cannot be; received {scaling}."
    try:
        with np.errstate(all="ignore"):
            rates, factor = SCALINGS[kind](rates, base, width, scaling)
    except KeyError as error:
        raise ValueError(f"The rope scaling {kind!r} needs {error}; received {scaling}.") from error
    except (ArithmeticError, TypeError, ValueError) as error:
        raise ValueError(odd) from error
    if not np.isfinite([*rates, factor]).all() or min(*rates, factor) <= 0:
        raise ValueError(odd)
    if kind == "llama3" and not scaling["low_freq_factor"] < scaling["high_freq_factor"]:
        raise ValueError(
            f"The rope scaling 'llama3' needs low_freq_factor below high_freq_factor; received "
            f"{scaling}."
        )
    return rates.astype("float32"), factor


def _linear(rates, base, width, scaling):
    return rates / scaling["factor"], 1.0


def _llama3(rates, base, width, scaling):
    """Long wavelengths are stretched, short ones are not, those between partly."""
    turns = scaling["original_max_position_embeddings"] * rates / (2 * np.pi)
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return kept * rates + (1 - kept) * rates / scaling["factor"], 1.0


def _yarn(rates, base, width, scaling):
    """As Llama 3's, by the index of the pair, and the attention is sharpened."""
    length, factor = scaling["original_max_position_embeddings"], scaling["factor"]

    def index(turns):
        return width * np.log(length / (turns * 2 * np.pi)) / (2 * np.log(base))

    low, high = index(scaling.get("beta_fast") or 32), index(scaling.get("beta_slow") or 1)
    if scaling.get("truncate", True):
        low, high = np.floor(low), np.ceil(high)
    low, high = max(low, 0), min(high, width - 1)
    kept = 1 - np.clip((np.arange(width // 2) - low) / (high - low or 1e-3), 0, 1)
    return kept * rates + (1 - kept) * rates / factor, float(_sharpness(scaling))


def _sharpness(scaling):
    """YaRN's factor of attention, where it is not given: of the paper, or DeepSeek's two parts."""
    if scaling.get("attention_factor") is not None:
        return scaling["attention_factor"]
    log = np.log(max(scaling["factor"], 1.0))
    if scaling.get("mscale") and scaling.get("mscale_all_dim"):
        return (0.1 * scaling["mscale"] * log + 1) / (0.1 * scaling["mscale_all_dim"] * log + 1)
    return 0.1 * log + 1


SCALINGS = {"linear": _linear, "llama3": _llama3, "yarn": _yarn}
# What each reads. Transformers writes the length for all of them.
_LENGTHS = ("factor", "original_max_position_embeddings")
KEYS = {
    "linear": _LENGTHS,
    "llama3": (*_LENGTHS, "low_freq_factor", "high_freq_factor"),
    "yarn": (
        *_LENGTHS, "beta_fast", "beta_slow", "truncate", "attention_factor", "mscale",
        "mscale_all_dim",
    ),
}  # fmt: skip
