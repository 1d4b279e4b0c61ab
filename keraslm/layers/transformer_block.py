"""The transformer block: attention, optional cross attention, feed-forward, residuals, norms."""

import keras

from keraslm.layers.attention import MultiHeadAttention
from keraslm.layers.common import positive, register
from keraslm.layers.feed_forward import FeedForward

NORMS = {
    "layer": keras.layers.LayerNormalization,
    "rms": keras.layers.RMSNormalization,
}


def make_norm(kind, epsilon, **kwargs):
    """A ``LayerNormalization`` (``"layer"``) or ``RMSNormalization`` (``"rms"``)."""
    if kind not in NORMS:
        raise ValueError(f"norm must be one of {sorted(NORMS)}; received {kind!r}.")
    norm = NORMS[kind](epsilon=epsilon, **kwargs)
    norm.supports_masking = True  # Keras' RMSNormalization leaves masks alone and says otherwise
    return norm


@register
class TransformerBlock(keras.layers.Layer):
    """One layer of a transformer, encoder or decoder.

    Args:
        d_model: width of input and output.
        num_heads: number of attention heads; must divide ``d_model`` unless ``head_dim`` is given.
        ffn_dim: inner width of the feed-forward network.
        dropout: share dropped in training after attention and feed-forward, and of attention
            weights unless ``attention_dropout`` says otherwise.
        norm_first: normalise before each part (GPT-2, Llama) instead of after its residual
            (Vaswani et al. 2017, BERT).
        post_norm: with ``norm_first``, normalise what each part gives, too (Gemma 3).
        norm: ``"layer"`` or ``"rms"``.
        norm_epsilon: added to the variance.
        activation, gated: of the `FeedForward`.
        causal: a token sees no later token.
        cross_attention: also attend to ``encoder_output``.
        attention_dropout, num_kv_heads, head_dim, rotary_base, rotary_scaling, window, qk_norm,
            qkv_bias: of the `MultiHeadAttention`.
        use_bias: of all projections.
        kernel_initializer, kernel_regularizer: of all projections (``"l2"`` or a regularizer).
        output_initializer: of the two that write to the residual, if another is wanted.

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

    Example:
        >>> block = keraslm.layers.TransformerBlock(64, 4, 256, 0.1)
        >>> y = block(x, attention_mask=mask, training=False)
    """

    def __init__(
        self,
        d_model,
        num_heads,
        ffn_dim,
        dropout=0.0,
        *,
        norm_first=False,
        post_norm=False,
        norm="layer",
        norm_epsilon=1e-5,
        activation="relu",
        gated=False,
        causal=False,
        cross_attention=False,
        attention_dropout=None,
        num_kv_heads=None,
        head_dim=None,
        rotary_base=None,
        rotary_scaling=None,
        window=None,
        qk_norm=False,
        use_bias=True,
        qkv_bias=None,
        kernel_initializer="glorot_uniform",
        output_initializer=None,
        kernel_regularizer=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.d_model = positive("d_model", d_model)
        self.num_heads = positive("num_heads", num_heads)
        self.ffn_dim = positive("ffn_dim", ffn_dim)
        self.dropout = dropout
        self.norm_first = norm_first
        self.post_norm = post_norm
        self.norm = norm
        self.norm_epsilon = norm_epsilon
        self.activation = activation
        self.gated = gated
        self.causal = causal
        self.cross_attention = cross_attention
        self.attention_dropout = attention_dropout
        self.num_kv_heads = num_kv_heads and positive("num_kv_heads", num_kv_heads)
        self.head_dim = head_dim and positive("head_dim", head_dim)
        self.rotary_base = rotary_base
        self.rotary_scaling = rotary_scaling
        self.window = window
        self.qk_norm = qk_norm
        self.use_bias = use_bias
        self.qkv_bias = qkv_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.output_initializer = (
            None if output_initializer is None else keras.initializers.get(output_initializer)
        )
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.supports_masking = True
        if post_norm and (not norm_first or cross_attention):
            raise ValueError("post_norm needs norm_first=True and cross_attention=False.")

        projections = {
            "use_bias": use_bias,
            "kernel_initializer": self.kernel_initializer,
            "output_initializer": self.output_initializer,
            "kernel_regularizer": self.kernel_regularizer,
            "dtype": self.dtype_policy,
        }
        attention = {
            "dropout": dropout if attention_dropout is None else attention_dropout,
            "num_kv_heads": num_kv_heads,
            "head_dim": head_dim,
            "qk_norm": qk_norm,
            "norm_epsilon": norm_epsilon,
            "qkv_bias": qkv_bias,
            **projections,
        }
        self.attention = MultiHeadAttention(
            d_model, num_heads, causal=causal, rotary_base=rotary_base,
            rotary_scaling=rotary_scaling, window=window, name="attention", **attention,
        )  # fmt: skip
        self.attention_norm = self._norm("attention_norm")
        if cross_attention:
            self.cross = MultiHeadAttention(d_model, num_heads, name="cross", **attention)
            self.cross_norm = self._norm("cross_norm")
        self.feed_forward = FeedForward(
            d_model, ffn_dim, activation, dropout, gated=gated, name="feed_forward", **projections
        )
        self.feed_forward_norm = self._norm("feed_forward_norm")
        if post_norm:
            self.attention_post_norm = self._norm("attention_post_norm")
            self.feed_forward_post_norm = self._norm("feed_forward_post_norm")
        self.residual_dropout = keras.layers.Dropout(
            dropout, dtype=self.dtype_policy, name="residual_dropout"
        )

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
        state = {"new": own}

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

    def get_config(self):
        return {
            **super().get_config(),
            "d_model": self.d_model,
            "num_heads": self.num_heads,
            "ffn_dim": self.ffn_dim,
            "dropout": self.dropout,
            "norm_first": self.norm_first,
            "post_norm": self.post_norm,
            "norm": self.norm,
            "norm_epsilon": self.norm_epsilon,
            "activation": self.activation,
            "gated": self.gated,
            "causal": self.causal,
            "cross_attention": self.cross_attention,
            "attention_dropout": self.attention_dropout,
            "num_kv_heads": self.num_kv_heads,
            "head_dim": self.head_dim,
            "rotary_base": self.rotary_base,
            "rotary_scaling": self.rotary_scaling,
            "window": self.window,
            "qk_norm": self.qk_norm,
            "use_bias": self.use_bias,
            "qkv_bias": self.qkv_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "output_initializer": self.output_initializer
            and keras.initializers.serialize(self.output_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }
