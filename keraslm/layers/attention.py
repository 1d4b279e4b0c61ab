"""Multi-head attention: self and cross, causal, masked, with shared key/value heads and a cache."""

import keras
from keras import ops

from keraslm.layers import masks
from keraslm.layers.common import check_rate, dense, positive, register
from keraslm.layers.positions import RotaryEmbedding


@register
class MultiHeadAttention(keras.layers.Layer):
    """Attention of several heads (Vaswani et al. 2017), with what generation needs.

    Args:
        d_model: width of the output, and of queries and values together.
        num_heads: number of query heads.
        dropout: share of attention weights dropped in training.
        num_kv_heads: number of key/value heads, each shared by ``num_heads / num_kv_heads`` query
            heads (grouped-query attention, Ainslie et al. 2023); default ``num_heads``.
        head_dim: width of a head; default ``d_model / num_heads``.
        causal: a query sees no later key.
        rotary_base: turn queries and keys by rotary positions with this base; default: do not.
        rotary_scaling: of the `RotaryEmbedding`.
        window: a query sees only so many keys back, its own included; needs ``causal``.
        qk_norm: normalise queries and keys (RMS over ``head_dim``) before the rotary positions.
        norm_epsilon: of that.
        use_bias: of the four projections.
        qkv_bias: of query, key and value, if another is wanted.
        kernel_initializer, kernel_regularizer: of the four projections.
        output_initializer: of the last one, if another is wanted.

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
        ValueError: heads that do not divide, or a mask of another rank.

    Example:
        >>> attention = keraslm.layers.MultiHeadAttention(64, 4, causal=True)
        >>> y = attention(x, x, attention_mask=mask)
    """

    def __init__(
        self,
        d_model,
        num_heads,
        dropout=0.0,
        *,
        num_kv_heads=None,
        head_dim=None,
        causal=False,
        rotary_base=None,
        rotary_scaling=None,
        window=None,
        qk_norm=False,
        norm_epsilon=1e-6,
        use_bias=True,
        qkv_bias=None,
        kernel_initializer="glorot_uniform",
        output_initializer=None,
        kernel_regularizer=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        d_model, num_heads = positive("d_model", d_model), positive("num_heads", num_heads)
        num_kv_heads = positive("num_kv_heads", num_kv_heads)
        check_rate(dropout=dropout)
        if head_dim is None and d_model % num_heads:
            raise ValueError(
                f"num_heads must divide d_model; received d_model={d_model}, "
                f"num_heads={num_heads}. Use a d_model that is a multiple of num_heads."
            )
        if num_heads % num_kv_heads:
            raise ValueError(
                f"num_kv_heads must divide num_heads; received num_heads={num_heads}, "
                f"num_kv_heads={num_kv_heads}."
            )
        self.d_model = d_model
        self.num_heads = num_heads
        self.num_kv_heads = num_kv_heads
        self.head_dim = d_model // num_heads if head_dim is None else positive("head_dim", head_dim)
        if window is not None and not causal:
            raise ValueError("window needs causal=True: it counts back from a token.")
        self.dropout = dropout
        self.causal = causal
        self.rotary_base = rotary_base
        self.rotary_scaling = rotary_scaling
        self.window = window and positive("window", window)
        self.qk_norm = qk_norm
        self.norm_epsilon = norm_epsilon
        self.use_bias = use_bias
        self.qkv_bias = use_bias if qkv_bias is None else qkv_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.output_initializer = (
            None if output_initializer is None else keras.initializers.get(output_initializer)
        )
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.supports_masking = True

        def projection(heads, name):
            units = heads * self.head_dim
            return dense(units, self, name, self.kernel_initializer, self.qkv_bias)

        self.query = projection(num_heads, "query")
        self.key = projection(num_kv_heads, "key")
        self.value = projection(num_kv_heads, "value")
        initializer = self.output_initializer or self.kernel_initializer
        self.output_projection = dense(d_model, self, "output", initializer, use_bias)
        self.query_norm, self.key_norm = (
            keras.layers.RMSNormalization(
                epsilon=norm_epsilon, dtype=self.dtype_policy, name=f"{name}_norm"
            )
            if qk_norm
            else None
            for name in ("query", "key")
        )
        self.rotary = (
            None
            if rotary_base is None
            else RotaryEmbedding(
                rotary_base, scaling=rotary_scaling, dtype=self.dtype_policy, name="rotary"
            )
        )
        self.score_dropout = keras.layers.Dropout(
            dropout, dtype=self.dtype_policy, name="score_dropout"
        )

    def build(self, query_shape, value_shape=None, key_shape=None):
        value_shape = value_shape or query_shape
        self.query.build(query_shape)
        for layer, shape in ((self.key, key_shape or value_shape), (self.value, value_shape)):
            if not layer.built:  # `project` may have come first
                layer.build(shape)
        self.output_projection.build((*query_shape[:-1], self.num_heads * self.head_dim))
        self.score_dropout.build((None, self.num_heads, None, None))
        if self.qk_norm:
            self.query_norm.build((None, self.num_heads, None, self.head_dim))
            self.key_norm.build((None, self.num_kv_heads, None, self.head_dim))
        self.built = True

    def project(self, value, key=None, positions=None):
        """Keys and values of a memory, each ``(batch, num_kv_heads, key, head_dim)``."""
        keys = self._split(self.key(value if key is None else key), self.num_kv_heads)
        if self.key_norm is not None:
            keys = self.key_norm(keys)
        if self.rotary is not None:
            keys = self.rotary(keys, positions=positions)
        return keys, self._split(self.value(value), self.num_kv_heads)

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
        if self.query_norm is not None:
            queries = self.query_norm(queries)
        if self.rotary is not None:
            queries = self.rotary(queries, positions=positions)
        if cache is not None and start is None:
            keys, values = cache
        else:
            keys, values = self.project(query if value is None else value, key, positions)
            if cache is not None:
                at = (0, 0, start, 0)
                keys = ops.slice_update(cache[0], at, ops.cast(keys, cache[0].dtype))
                values = ops.slice_update(cache[1], at, ops.cast(values, cache[1].dtype))
                cache = (keys, values)
        penalty = self._penalty(queries, keys, attention_mask, start if cache is not None else None)
        y, scores = self._attend(queries, keys, values, penalty, training)
        outputs = [self.output_projection(y)]
        if return_attention_scores:
            outputs.append(scores)
        if cache is not None:
            outputs.append(cache)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _attend(self, queries, keys, values, penalty, training):
        """Weighted values ``(B, T, H·D)`` and the weights, float32 ``(B, H, T, S)``."""
        length, one_token = _length(queries), queries.shape[2] == 1
        groups = self.num_heads // self.num_kv_heads
        queries = queries * (self.head_dim**-0.5)
        if groups > 1:  # the query heads of one group stand one below the other
            queries = ops.reshape(queries, (-1, self.num_kv_heads, groups * length, self.head_dim))
        keys = ops.cast(keys, queries.dtype)
        if one_token:  # turn the one query, not the whole cache
            scores = _turned(ops.matmul(keys, _turned(queries)))
        else:
            scores = ops.matmul(queries, _turned(keys))
        scores = ops.cast(scores, "float32")
        if groups > 1:
            scores = ops.reshape(scores, (-1, self.num_heads, length, _length(keys)))
        if penalty is not None:
            scores = scores - penalty
        scores = ops.softmax(scores, axis=-1)  # (B, H, T, S)
        weights = self.score_dropout(ops.cast(scores, self.compute_dtype), training=training)
        if groups > 1:
            weights = ops.reshape(weights, (-1, self.num_kv_heads, groups * length, _length(keys)))
        y = ops.matmul(weights, ops.cast(values, self.compute_dtype))
        if groups > 1:
            y = ops.reshape(y, (-1, self.num_heads, length, self.head_dim))
        y = ops.transpose(y, (0, 2, 1, 3))  # (B, T, H, D)
        return ops.reshape(y, (-1, length, self.num_heads * self.head_dim)), scores

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

    def _split(self, x, heads):
        """``(B, T, heads · D)`` → ``(B, heads, T, D)``."""
        x = ops.reshape(x, (-1, ops.shape(x)[1], heads, self.head_dim))
        return ops.transpose(x, (0, 2, 1, 3))

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

    def get_config(self):
        return {
            **super().get_config(),
            "d_model": self.d_model,
            "num_heads": self.num_heads,
            "dropout": self.dropout,
            "num_kv_heads": self.num_kv_heads,
            "head_dim": self.head_dim,
            "causal": self.causal,
            "rotary_base": self.rotary_base,
            "rotary_scaling": self.rotary_scaling,
            "window": self.window,
            "qk_norm": self.qk_norm,
            "norm_epsilon": self.norm_epsilon,
            "use_bias": self.use_bias,
            "qkv_bias": self.qkv_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "output_initializer": self.output_initializer
            and keras.initializers.serialize(self.output_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }


def _turned(x):
    """``(…, A, B)`` → ``(…, B, A)``."""
    return ops.transpose(x, (0, 1, 3, 2))


def _length(x):
    """Length of ``(batch, heads, length, width)``."""
    return ops.shape(x)[2]
