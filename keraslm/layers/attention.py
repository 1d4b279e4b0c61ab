"""Multi-head attention: self and cross, causal, masked, with shared key/value heads and a cache."""

import dataclasses
from typing import Any

import keras
from keras import ops

from keraslm._types import Tensor
from keraslm.layers import masks
from keraslm.layers.common import (
    above_zero,
    dense,
    flag,
    not_negative,
    portion,
    positive,
    register,
)
from keraslm.layers.options import REQUIRED, Initializers, Shape, TakesOptions, documented, option
from keraslm.layers.positions import RotaryEmbedding, checked_scaling


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttentionShape(Shape):
    """What attention computes."""

    num_heads: int = option(
        REQUIRED, positive,
        "Number of query heads; must divide ``d_model`` unless ``head_dim`` is given.",
    )  # fmt: skip
    num_kv_heads: int | None = option(
        None, positive,
        "Number of key/value heads, each shared by ``num_heads / num_kv_heads`` query heads "
        "(grouped-query attention, Ainslie et al. 2023); default ``num_heads``.",
    )  # fmt: skip
    head_dim: int | None = option(
        None, positive, "Width of a head; default ``d_model / num_heads``."
    )
    causal: bool = option(False, flag, "Whether a token sees no later token.")
    rotary_base: float | None = option(
        None, above_zero,
        "Wavelength base of the rotary positions of queries and keys; default: they have none.",
    )  # fmt: skip
    rotary_scaling: dict | None = option(
        None, checked_scaling,
        "How rotary positions are stretched for longer contexts; see `RotaryEmbedding`.",
    )  # fmt: skip
    window: int | None = option(
        None, positive,
        "A token sees only so many tokens back, itself included; needs ``causal=True``.",
    )  # fmt: skip
    qk_norm: bool = option(
        False, flag,
        "Whether queries and keys are normalised, head by head (RMS), before their positions.",
    )  # fmt: skip
    norm_epsilon: float = option(
        1e-6, not_negative,
        "Epsilon of the query/key RMSNorm; used only with ``qk_norm=True``.",
    )  # fmt: skip
    qkv_bias: bool | None = option(
        None, flag,
        "Whether the projections to query, key and value have a bias; default ``use_bias``.",
    )  # fmt: skip
    output_bias: bool | None = option(
        None, flag, "Whether the output projection has a bias; default ``use_bias``.", later=True
    )
    rotary_fraction: float = option(
        1.0, portion,
        "Share of each head's features, the first ones, that rotary positions turn (GPT-NeoX).",
        later=True,
    )  # fmt: skip
    attention_scale: float | None = option(
        None, above_zero,
        "Factor of the products of queries and keys; default ``head_dim ** -0.5``.", later=True,
    )  # fmt: skip
    attention_softcap: float | None = option(
        None, above_zero,
        "Scores are kept between minus and plus this by a tanh (Gemma 2); default: they are not.",
        later=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head_dim is None and self.d_model % self.num_heads:
            raise ValueError(
                f"num_heads must divide d_model; received d_model={self.d_model}, "
                f"num_heads={self.num_heads}. Use a d_model that is a multiple of num_heads."
            )
        derived = {
            "num_kv_heads": self.num_heads,
            "head_dim": self.d_model // self.num_heads,
            "qkv_bias": self.use_bias,
        }
        for name, value in derived.items():
            if getattr(self, name) is None:
                self._set(name, value)
        if self.output_bias == self.use_bias:
            self._set("output_bias", None)
        if self.attention_scale == (self.head_dim or 1) ** -0.5:
            self._set("attention_scale", None)
        if self.num_heads % (self.num_kv_heads or 1):
            raise ValueError(
                f"num_kv_heads must divide num_heads; received num_heads={self.num_heads}, "
                f"num_kv_heads={self.num_kv_heads}."
            )
        if self.window is not None and not self.causal:
            raise ValueError("window needs causal=True: it counts back from a token.")


def _is_turned(values):
    return values["rotary_base"] is not None


ROTARY_DEPENDS = {
    name: (_is_turned, "rotary_base, without which there are no rotary positions")
    for name in ("rotary_scaling", "rotary_fraction")
}


@documented
@dataclasses.dataclass(frozen=True, kw_only=True)
class AttentionOptions(Initializers, AttentionShape):
    """Options of a `MultiHeadAttention`.

    Example:
        >>> options = AttentionOptions(d_model=64, num_heads=4, causal=True)
        >>> attention = keraslm.layers.MultiHeadAttention(options=options)
    """

    depends = ROTARY_DEPENDS


@register
class MultiHeadAttention(TakesOptions, keras.layers.Layer):
    """Attention of several heads (Vaswani et al. 2017), with what generation needs.

    ``softmax(queries · keysᵀ / sqrt(head_dim)) · values`` in each head, then one projection of all.

    Args:
        options: an `AttentionOptions`, instead of the arguments above.

    Call arguments:
        query: float ``(batch, query, …)``.
        value: float ``(batch, key, …)``; default ``query`` (self attention).
        key: float ``(batch, key, …)``; default ``value``.
        attention_mask: bool or int (non-zero: visible) or float (added to the scores), of shape
            ``(batch, key)``, ``(batch, query, key)`` or ``(batch, heads, query, key)``. Without
            it, a Keras mask on ``value`` hides padding.
        positions: int ``(batch, query)`` or ``(1, query)``, for rotary positions.
        cache: ``(keys, values)``, each ``(batch, num_kv_heads, length, head_dim)`` in the compute
            dtype. With
            ``start``, the new keys and values are written from that slot on and the query sees
            the slots up to its own. Without ``start``, the cache is read as it is (the memory of
            cross attention, from `project`).
        start: int scalar, the slot of the first token.
        return_attention_scores: also return float32 ``(batch, heads, query, key)``.

    Returns:
        float ``(batch, query, d_model)``; then the scores if asked for; then the new cache if a
        cache was given.

    Raises:
        ValueError: an option that cannot be, heads that do not divide, or a mask of another rank.

    Example:
        >>> attention = keraslm.layers.MultiHeadAttention(64, 4, causal=True)
        >>> x = np.zeros((2, 8, 64), "float32")
        >>> tuple(attention(x, x, attention_mask=np.ones((2, 8), bool)).shape)
        (2, 8, 64)
    """

    options_class = AttentionOptions

    def __init__(
        self,
        d_model: int | None = None,
        num_heads: int | None = None,
        dropout: float | None = None,
        *,
        options: AttentionOptions | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(options, d_model=d_model, num_heads=num_heads, dropout=dropout, **fields)
        first = self.kernel_initializer
        last = self.output_initializer or first
        units, kv_units = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        self.query = dense(units, self, "query", first, self.qkv_bias)
        self.key = dense(kv_units, self, "key", first, self.qkv_bias)
        self.value = dense(kv_units, self, "value", first, self.qkv_bias)
        output_bias = self.use_bias if self.output_bias is None else self.output_bias
        self.output_projection = dense(self.d_model, self, "output", last, output_bias)
        self.query_norm = self._norm("query_norm") if self.qk_norm else None
        self.key_norm = self._norm("key_norm") if self.qk_norm else None
        self.rotary = None
        if self.rotary_base is not None:
            self.rotary = RotaryEmbedding(
                self.rotary_base, self.rotary_scaling, self.rotary_fraction,
                dtype=self.dtype_policy, name="rotary",
            )  # fmt: skip
        self.score_dropout = keras.layers.Dropout(
            self.dropout, dtype=self.dtype_policy, name="score_dropout"
        )

    def _norm(self, name):
        return keras.layers.RMSNormalization(
            epsilon=self.norm_epsilon, dtype=self.dtype_policy, name=name
        )

    def build(self, query_shape, value_shape=None, key_shape=None):
        value_shape = value_shape or query_shape
        self.query.build(query_shape)
        for layer, shape in ((self.key, key_shape or value_shape), (self.value, value_shape)):
            if not layer.built:  # `project` may have come first
                layer.build(shape)
        self.output_projection.build((*query_shape[:-1], self.num_heads * self.head_dim))
        self.score_dropout.build((None, self.num_heads, None, None))
        for norm, heads in (
            (self.query_norm, self.num_heads),
            (self.key_norm, self.num_kv_heads),
        ):
            if norm is not None:
                norm.build((None, heads, None, self.head_dim))
        self.built = True

    def call(
        self,
        query,
        value=None,
        key=None,
        attention_mask=None,
        *,
        positions=None,
        cache=None,
        start=None,
        return_attention_scores=False,
        training=None,
        query_mask=None,
        value_mask=None,
        mask=None,
    ):
        if attention_mask is None and cache is None:  # a cache has other keys than the input
            # Keras calls the mask of a lone tensor argument ``mask``, else ``query_mask``.
            own_mask = query_mask if mask is None else mask
            attention_mask = own_mask if value is None else value_mask

        queries = self._split(self.query(query), self.num_heads)  # (B, H, T, D)
        queries = self._placed(queries, self.query_norm, positions)
        if cache is not None and start is None:
            keys, values = cache
        else:
            keys, values = self.project(query if value is None else value, key, positions)
            if cache is not None:
                at = (0, 0, start, 0)
                keys = ops.slice_update(cache[0], at, ops.cast(keys, cache[0].dtype))
                values = ops.slice_update(cache[1], at, ops.cast(values, cache[1].dtype))
                cache = (keys, values)  # (B, K, S, D) each

        scale = self.head_dim**-0.5 if self.attention_scale is None else self.attention_scale
        scores = self._scores(queries * scale, keys)  # (B, H, T, S)
        if self.attention_softcap is not None:
            scores = self.attention_softcap * ops.tanh(scores / self.attention_softcap)
        penalty = self._penalty(queries, keys, attention_mask, start if cache is not None else None)
        if penalty is not None:
            scores = scores - penalty
        one_key = scores.shape[-1] == 1  # a text of one token: all ones, of which Keras warns
        scores = ops.exp(scores - scores) if one_key else ops.softmax(scores, axis=-1)
        weights = self.score_dropout(ops.cast(scores, self.compute_dtype), training=training)
        y = self._weighted(weights, values)  # (B, H, T, D)
        y = self.output_projection(self._joined(y))  # (B, T, C)

        outputs = [y]
        if return_attention_scores:
            outputs.append(scores)
        if cache is not None:
            outputs.append(cache)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def project(
        self, value: Tensor, key: Tensor = None, positions: Tensor = None
    ) -> tuple[Tensor, Tensor]:
        """Keys and values of a memory, each ``(batch, num_kv_heads, key, head_dim)``."""
        keys = self.key(value if key is None else key)  # (B, S, K·D)
        keys = self._split(keys, self.num_kv_heads)  # (B, K, S, D)
        keys = self._placed(keys, self.key_norm, positions)
        values = self._split(self.value(value), self.num_kv_heads)  # (B, K, S, D)
        return keys, values

    def _placed(self, x, norm, positions):
        """Queries or keys, normalised and turned by their positions."""
        if norm is not None:
            x = norm(x)
        return x if self.rotary is None else self.rotary(x, positions=positions)

    def _scores(self, queries, keys):
        """Products of queries and keys, float32 ``(B, H, T, S)``."""
        one_token = queries.shape[2] == 1
        length, keys = _length(queries), ops.cast(keys, queries.dtype)
        queries = self._grouped(queries)  # (B, K, G·T, D)
        if one_token:  # transpose the one query, not the whole cache
            scores = _transposed(ops.matmul(keys, _transposed(queries)))
        else:
            scores = ops.matmul(queries, _transposed(keys))  # (B, K, G·T, S)
        return self._ungrouped(ops.cast(scores, "float32"), length)  # (B, H, T, S)

    def _weighted(self, weights, values):
        """Sums of the values, ``(B, H, T, D)``."""
        y = ops.matmul(self._grouped(weights), ops.cast(values, self.compute_dtype))
        return self._ungrouped(y, _length(weights))

    def _split(self, x, heads):
        """``(B, T, H·D)`` → ``(B, H, T, D)``."""
        x = ops.reshape(x, (-1, ops.shape(x)[1], heads, self.head_dim))  # (B, T, H, D)
        return ops.transpose(x, (0, 2, 1, 3))  # (B, H, T, D)

    def _joined(self, x):
        """``(B, H, T, D)`` → ``(B, T, H·D)``."""
        length = _length(x)
        x = ops.transpose(x, (0, 2, 1, 3))  # (B, T, H, D)
        return ops.reshape(x, (-1, length, self.num_heads * self.head_dim))  # (B, T, H·D)

    def _grouped(self, x):
        """``(B, H, T, N)`` → ``(B, K, G·T, N)``: query heads of one group below each other."""
        groups = self.num_heads // self.num_kv_heads
        if groups == 1:
            return x
        return ops.reshape(x, (-1, self.num_kv_heads, groups * _length(x), ops.shape(x)[3]))

    def _ungrouped(self, x, length):
        """``(B, K, G·T, N)`` → ``(B, H, T, N)``."""
        if self.num_heads == self.num_kv_heads:
            return x
        return ops.reshape(x, (-1, self.num_heads, length, ops.shape(x)[3]))

    def _penalty(self, queries, keys, attention_mask, start):
        """What is taken off the scores: float32 that broadcasts to ``(B, H, T, S)``, or None."""
        penalty = None
        if self.causal or start is not None:
            start = 0 if start is None else start
            visible = masks.causal(_length(queries), _length(keys), start, self.window)
            penalty = masks.penalty(visible)
        if attention_mask is not None:
            mask = masks.penalty(ops.convert_to_tensor(attention_mask))
            # Hidden for both reasons is no more hidden than for one.
            penalty = mask if penalty is None else ops.minimum(penalty + mask, masks.HIDDEN)
        return penalty

    def compute_output_spec(
        self,
        query,
        value=None,
        key=None,
        attention_mask=None,
        *,
        cache=None,
        return_attention_scores=False,
        **kwargs,
    ):
        batch, length = query.shape[:2]
        outputs = [keras.KerasTensor((batch, length, self.d_model), dtype=self.compute_dtype)]
        if return_attention_scores:
            memory = query if value is None else value
            keys = memory.shape[1] if cache is None else cache[0].shape[2]
            outputs.append(
                keras.KerasTensor((batch, self.num_heads, length, keys), dtype="float32")
            )
        if cache is not None:
            outputs.append(tuple(keras.KerasTensor(c.shape, dtype=c.dtype) for c in cache))
        return outputs[0] if len(outputs) == 1 else tuple(outputs)


def _transposed(x):
    """``(…, A, B)`` → ``(…, B, A)``."""
    return ops.transpose(x, (0, 1, 3, 2))


def _length(x):
    """Length of ``(batch, heads, length, width)``."""
    return ops.shape(x)[2]
