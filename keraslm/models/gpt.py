"""The decoder: GPT-2's shape by default, Llama's and others' by its arguments."""

from typing import Any

import keras
from keras import ops

from keraslm.generation.cache import Cache, CacheEntry, init_cache
from keraslm.layers.common import register
from keraslm.models.base import TransformerModel, symbolic_inputs
from keraslm.models.trunk import Trunk, cache_names


@register
class GPT(TransformerModel):
    """A decoder-only language model (Radford et al. 2019).

    Args:
        vocab_size: number of tokens.
        num_layers: number of blocks.
        d_model: width.
        num_heads: attention heads; must divide ``d_model``.
        ffn_dim: inner width of the feed-forward networks; default ``4 * d_model``.
        max_length: longest sequence.
        dropout: share dropped in training.
        embeddings_initializer: of the token table, for example a
            `keraslm.embeddings.VectorInitializer`.
        options: the other fields of `TransformerConfig`; ``norm="rms", positions="rotary",
            activation="silu", gated=True, use_bias=False, tied=False`` is Llama's shape.

    Inputs: int ids ``(batch, seq)``, or a dict; see `TransformerModel`.

    Outputs: float32 logits ``(batch, seq, vocab_size)``.

    Example:
        >>> gpt = keraslm.models.GPT(vocab_size=100, num_layers=1, d_model=16, num_heads=2)
        >>> ids = np.arange(34).reshape(2, 17)
        >>> tuple(gpt(ids).shape)
        (2, 17, 100)
        >>> gpt.compile()
        >>> history = gpt.fit(ids[:, :-1], ids[:, 1:], verbose=0)
    """

    family = "gpt"

    def __init__(
        self,
        vocab_size: int,
        num_layers: int = 4,
        d_model: int = 192,
        num_heads: int = 3,
        ffn_dim: int | None = None,
        max_length: int = 256,
        dropout: float = 0.0,
        *,
        embeddings_initializer: Any = None,
        name: str | None = None,
        trainable: bool = True,
        dtype: Any = None,
        **options: Any,
    ) -> None:
        config = self.make_config(
            vocab_size=vocab_size, num_layers=num_layers, d_model=d_model, num_heads=num_heads,
            ffn_dim=ffn_dim, max_length=max_length, dropout=dropout, **options,
        )  # fmt: skip
        if not config.causal:
            raise ValueError("A GPT is causal: it generates from left to right. Use BERT instead.")
        dtype = keras.dtype_policies.get(dtype)

        # === Layers ===
        trunk = Trunk(config, dtype, embeddings_initializer)

        # === Functional model ===
        inputs, mask, positions = symbolic_inputs(dtype)
        hidden = trunk(inputs["token_ids"], attention_mask=mask, positions=positions)
        logits = trunk.logits(hidden)
        super().__init__(inputs=inputs, outputs=logits, name=name, trainable=trainable)

        # === Config ===
        self.dtype_policy = dtype
        self._finish(trunk, config, embeddings_initializer)

    # === The step protocol: what generation and every export run ===

    def cache_spec(self, batch: Any, length: Any) -> dict[str, CacheEntry]:
        """Keys and values of each block, under the names that LiteRT-LM has for them.

        Args:
            batch: number of rows.
            length: number of slots, at least as many as tokens will be written.

        Returns:
            ``kv_cache_k_<i>`` and ``kv_cache_v_<i>`` of block ``i``, each ``(batch, num_kv_heads,
            length, head_dim)`` in the compute dtype.
        """
        config = self.transformer_config
        shape = (batch, config.num_kv_heads, length, config.head_dim)
        entry = CacheEntry(shape, self.compute_dtype, length_axis=2)
        return {name: entry for i in range(config.num_layers) for name in cache_names(i)}

    def init_cache(self, batch: Any, length: Any) -> Cache:
        """An empty cache: zeros, as `cache_spec` describes it."""
        return init_cache(self, batch, length)

    def step(
        self,
        token_ids: Any,
        cache: Cache,
        start: Any,
        pad: Any = None,
        last_only: bool = False,
    ) -> tuple[Any, Cache]:
        """Run some tokens, writing their keys and values into the cache.

        Args:
            token_ids: int ``(batch, seq)``; one token a row when decoding, more to prefill.
            cache: from `init_cache` or the step before.
            start: int scalar, the slot of the first token: how many came before.
            pad: int ``(batch,)``, how many slots at the left of each row are padding.
            last_only: logits of the last token only.

        Returns:
            float32 logits ``(batch, seq or 1, vocab_size)`` and the new cache.

        Raises:
            ValueError: the tokens do not fit in the cache (if their number and ``start`` are
                known; inside a graph the last slots would be overwritten).
        """
        length = token_ids.shape[1] or ops.shape(token_ids)[1]
        keys = cache["kv_cache_k_0"]
        slots = keys.shape[2]
        if all(isinstance(n, int) for n in (length, start, slots)) and start + length > slots:
            raise ValueError(
                f"The cache has {slots} slots; received {length} tokens from slot {start} on. Make "
                "it longer with init_cache."
            )
        positions = ops.expand_dims(start + ops.arange(length, dtype="int32"), 0)  # (1, T)
        mask = None
        if pad is not None:
            pad = ops.expand_dims(ops.cast(pad, "int32"), 1)  # (B, 1)
            mask = (
                ops.expand_dims(ops.arange(ops.shape(keys)[2], dtype="int32"), 0) >= pad
            )  # (B, S)
            positions = ops.maximum(positions - pad, 0)
        hidden, cache = self.trunk(
            token_ids,
            attention_mask=mask,
            positions=positions,
            cache=cache,
            start=start,
            training=False,
        )
        if last_only:
            hidden = hidden[:, -1:]
        return self.trunk.logits(hidden), cache
