"""The transformer block: attention, optional cross attention, feed-forward, residuals, norms."""

import dataclasses
from typing import Any

import keras

from keraslm.layers.attention import (
    ROTARY_DEPENDS,
    AttentionOptions,
    AttentionShape,
    MultiHeadAttention,
)
from keraslm.layers.common import flag, not_negative, one_of, rate, register
from keraslm.layers.feed_forward import FeedForward, FeedForwardOptions, FeedForwardShape
from keraslm.layers.options import Initializers, TakesOptions, documented, option

NORMS = {
    "layer": keras.layers.LayerNormalization,
    "rms": keras.layers.RMSNormalization,
}


def make_norm(kind, epsilon, **kwargs):
    """A ``LayerNormalization`` (``"layer"``) or ``RMSNormalization`` (``"rms"``)."""
    norm = NORMS[one_of(*NORMS)("norm", kind)](epsilon=epsilon, **kwargs)
    norm.supports_masking = True  # Keras' RMSNormalization leaves masks alone and says otherwise
    return norm


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlockShape(FeedForwardShape, AttentionShape):
    """What a block computes: what its parts do, and how they are joined."""

    norm_first: bool = option(
        False, flag,
        "Whether to normalise before each part (GPT-2, Llama) instead of after its residual "
        "(Vaswani et al. 2017, BERT).",
    )  # fmt: skip
    post_norm: bool = option(
        False, flag,
        "With ``norm_first``, normalise what each part gives, too, before it is added (Gemma 3).",
    )  # fmt: skip
    norm: str = option(
        "layer", one_of(*NORMS), 'Kind of the norms: ``"layer"`` or ``"rms"``.'
    )  # fmt: skip
    norm_epsilon: float = option(1e-5, not_negative, "Epsilon of all norms.")
    parallel_residual: bool = option(
        False, flag,
        "With ``norm_first``, attention and feed-forward both read the block's input, and both are "
        "added to it (GPT-NeoX).",
        later=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.post_norm and not self.norm_first:
            raise ValueError("post_norm needs norm_first=True and cross_attention=False.")
        if self.parallel_residual and not self.norm_first:
            raise ValueError("parallel_residual needs norm_first=True and cross_attention=False.")


@documented
@dataclasses.dataclass(frozen=True, kw_only=True)
class BlockOptions(Initializers, BlockShape):
    """Options of a `TransformerBlock`.

    Example:
        >>> options = BlockOptions(d_model=64, num_heads=4, ffn_dim=256, norm="rms")
        >>> options.replace(dropout=0.1).norm
        'rms'
    """

    depends = ROTARY_DEPENDS

    cross_attention: bool = option(
        False, flag, "Whether the block also attends to ``encoder_output``."
    )
    attention_dropout: float | None = option(
        None, rate, "Share of attention weights dropped in training; default ``dropout``."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("post_norm", "parallel_residual"):
            if getattr(self, name) and self.cross_attention:
                raise ValueError(f"{name} needs norm_first=True and cross_attention=False.")

    def attention(self, **changes: Any) -> AttentionOptions:
        """Options of its attention."""
        dropout = self.dropout if self.attention_dropout is None else self.attention_dropout
        return self.part(AttentionOptions, dropout=dropout, **changes)


@register
class TransformerBlock(TakesOptions, keras.layers.Layer):
    """One layer of a transformer, encoder or decoder.

    Args:
        options: a `BlockOptions`, instead of the arguments above.

    Call arguments:
        x: float ``(batch, seq, d_model)``.
        attention_mask: bool, int or float, ``(batch, key)``, ``(batch, query, key)`` or
            ``(batch, heads, query, key)``; see `MultiHeadAttention`. Without it, a Keras mask on
            ``x`` hides padding.
        encoder_output: float ``(batch, key, …)``, for cross attention.
        encoder_mask: bool ``(batch, key)``, True where ``encoder_output`` is real.
        positions: int ``(batch, seq)`` or ``(1, seq)``, for rotary positions.
        cache: ``(keys, values)``, each ``(batch, num_kv_heads, length, head_dim)``, followed by
            the cross keys and values if there is cross attention (``encoder_output`` is then not
            read).
        start: int scalar, slot of the first token in the cache.

    Returns:
        like ``x``; ``(y, cache)`` if a cache was given.

    Raises:
        ValueError: an option that cannot be, or an input of another width.

    Example:
        >>> block = keraslm.layers.TransformerBlock(64, 4, 256, 0.1)
        >>> x, mask = np.zeros((2, 8, 64), "float32"), np.ones((2, 8), bool)
        >>> tuple(block(x, attention_mask=mask, training=False).shape)
        (2, 8, 64)
    """

    options_class = BlockOptions
    options: BlockOptions

    def __init__(
        self,
        d_model: int | None = None,
        num_heads: int | None = None,
        ffn_dim: int | None = None,
        dropout: float | None = None,
        *,
        options: BlockOptions | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(
            options, d_model=d_model, num_heads=num_heads, ffn_dim=ffn_dim, dropout=dropout,
            **fields,
        )  # fmt: skip
        self.attention = self._attention("attention")
        self.attention_norm = self._norm("attention_norm")
        if self.cross_attention:  # the memory has no order that the block knows
            self.cross = self._attention(
                "cross", causal=False, window=None, rotary_base=None, rotary_scaling=None,
                rotary_fraction=1.0,
            )  # fmt: skip
            self.cross_norm = self._norm("cross_norm")
        self.feed_forward = FeedForward(
            options=self.options.part(FeedForwardOptions),
            dtype=self.dtype_policy,
            name="feed_forward",
        )
        self.feed_forward_norm = self._norm("feed_forward_norm")
        if self.post_norm:
            self.attention_post_norm = self._norm("attention_post_norm")
            self.feed_forward_post_norm = self._norm("feed_forward_post_norm")
        self.residual_dropout = keras.layers.Dropout(
            self.dropout, dtype=self.dtype_policy, name="residual_dropout"
        )

    def _attention(self, name, **changes):
        options = self.options.attention(**changes)
        return MultiHeadAttention(options=options, dtype=self.dtype_policy, name=name)

    def _norm(self, name):
        return make_norm(self.norm, self.norm_epsilon, dtype=self.dtype_policy, name=name)

    def build(self, x_shape, encoder_output_shape=None):
        if x_shape[-1] != self.d_model:
            raise ValueError(f"The input must be d_model={self.d_model} wide; received {x_shape}.")
        self.attention.build(x_shape)
        self.attention_norm.build(x_shape)
        if self.cross_attention:
            self.cross.build(x_shape, encoder_output_shape or x_shape)
            self.cross_norm.build(x_shape)
        self.feed_forward.build(x_shape)
        self.feed_forward_norm.build(x_shape)
        if self.post_norm:
            self.attention_post_norm.build(x_shape)
            self.feed_forward_post_norm.build(x_shape)
        self.residual_dropout.build(x_shape)
        self.built = True

    def call(
        self,
        x,
        attention_mask=None,
        *,
        encoder_output=None,
        encoder_mask=None,
        positions=None,
        cache=None,
        start=None,
        training=None,
        mask=None,
        x_mask=None,
    ):
        if isinstance(attention_mask, bool):
            raise ValueError(
                f"attention_mask must be a tensor; received {attention_mask}. "
                f"Write block(x, training={attention_mask})."
            )
        if attention_mask is None and cache is None:  # a cache has other keys than the input
            # Keras calls the mask of a lone tensor argument ``mask``, else ``x_mask``.
            attention_mask = mask if x_mask is None else x_mask
        own, memory = (None, None) if cache is None else (cache[:2], cache[2:] or None)
        state: dict[str, Any] = {"new": own}

        def attend(h):
            y = self.attention(
                h, attention_mask=attention_mask, positions=positions, cache=own, start=start,
                training=training,
            )  # fmt: skip
            if own is not None:
                y, state["new"] = y
            if self.post_norm:
                y = self.attention_post_norm(y)
            return self.residual_dropout(y, training=training)

        def feed(h):
            y = self.feed_forward(h, training=training)
            return self.feed_forward_post_norm(y) if self.post_norm else y

        def attend_to_encoder(h):
            if memory is not None:
                y, _ = self.cross(h, attention_mask=encoder_mask, cache=memory, training=training)
            else:
                y = self.cross(h, encoder_output, attention_mask=encoder_mask, training=training)
            return self.residual_dropout(y, training=training)

        self._check_encoder_output(encoder_output, memory)
        if self.parallel_residual:
            x = x + attend(self.attention_norm(x)) + feed(self.feed_forward_norm(x))
        else:
            x = self._residual(x, attend, self.attention_norm)
            if self.cross_attention:
                x = self._residual(x, attend_to_encoder, self.cross_norm)
            x = self._residual(x, feed, self.feed_forward_norm)
        if cache is None:
            return x
        return x, (*state["new"], *(memory or ()))

    def _residual(self, x, part, norm):
        return x + part(norm(x)) if self.norm_first else norm(x + part(x))

    def _check_encoder_output(self, encoder_output, memory):
        if self.cross_attention and encoder_output is None and not memory:
            raise ValueError(
                "encoder_output is missing: this block was built with cross_attention=True."
            )
        if not self.cross_attention and encoder_output is not None:
            raise ValueError(
                "encoder_output would be ignored: build this block with cross_attention=True."
            )

    def compute_output_spec(
        self, x, attention_mask=None, *, encoder_output=None, cache=None, **kwargs
    ):
        self._check_encoder_output(encoder_output, cache and cache[2:])
        y = keras.KerasTensor(x.shape, dtype=self.compute_dtype)
        if cache is None:
            return y
        return y, tuple(keras.KerasTensor(c.shape, dtype=c.dtype) for c in cache)
