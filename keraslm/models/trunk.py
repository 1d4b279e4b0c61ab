"""Embeddings and blocks: the part that all transformers share."""

from typing import Any

import keras

from keraslm.layers.positions import PositionalEncoding
from keraslm.layers.token_embedding import TokenEmbedding
from keraslm.layers.transformer_block import TransformerBlock, make_norm


class Trunk:
    """Builds the layers that a config names and runs them, symbolically or on tensors.

    A plain object, not a layer: a model's summary, weights and ``.keras`` file show the blocks
    themselves.

    Args:
        config: a `TransformerConfig`.
        dtype: dtype policy of the layers.
        embeddings_initializer: of the token table; default normal.
    """

    def __init__(self, config, dtype=None, embeddings_initializer=None):
        self.config = config
        normal = keras.initializers.RandomNormal(stddev=config.initializer_range)
        # GPT-2: the residual sums 2 * num_layers outputs, so each starts smaller.
        residual = keras.initializers.RandomNormal(
            stddev=config.initializer_range * (2 * config.num_layers) ** -0.5
        )
        if embeddings_initializer is None:
            # Scaled embeddings start with unit rows, so that tied logits start small.
            scaled = keras.initializers.RandomNormal(stddev=config.d_model**-0.5)
            embeddings_initializer = scaled if config.embedding_scale else normal
        self.embed = TokenEmbedding(
            config.vocab_size,
            config.d_model,
            scale=config.embedding_scale,
            embeddings_initializer=embeddings_initializer,
            dtype=dtype,
            name="token_embedding",
        )
        self.token_types = (
            keras.layers.Embedding(
                config.token_types,
                config.d_model,
                embeddings_initializer=keras.initializers.RandomNormal(
                    stddev=config.initializer_range
                ),
                dtype=dtype,
                name="token_type_embedding",
            )
            if config.token_types
            else None
        )
        self.positions = (
            PositionalEncoding(
                config.max_length,
                config.d_model,
                config.positions,
                embeddings_initializer=normal,
                dtype=dtype,
                name="positions",
            )
            if config.positions in ("sinusoidal", "learned")
            else None
        )

        def norm(name):
            return make_norm(config.norm, config.norm_epsilon, dtype=dtype, name=name)

        self.embedding_norm = norm("embedding_norm") if config.embedding_norm else None
        self.dropout = (
            keras.layers.Dropout(config.dropout, dtype=dtype, name="embedding_dropout")
            if config.dropout
            else None
        )
        self.blocks = [
            TransformerBlock(
                options=config.block(i, kernel_initializer=normal, output_initializer=residual),
                dtype=dtype,
                name=f"block_{i}",
            )
            for i in range(config.num_layers)
        ]
        self.norm = norm("final_norm") if config.norm_first else None
        self.head = (
            None
            if config.tied
            else keras.layers.Dense(
                config.vocab_size,
                use_bias=False,
                kernel_initializer=keras.initializers.RandomNormal(stddev=config.initializer_range),
                dtype=dtype,
                name="head",
            )
        )
        self.to_float = keras.layers.Activation("linear", dtype="float32", name="logits")

    def logits(self, hidden):
        """float32 ``(batch, seq, vocab_size)`` of hidden states, by the tied table or the head."""
        y = self.embed(hidden, reverse=True) if self.head is None else self.head(hidden)
        y, cap = self.to_float(y), self.config.logits_softcap
        return y if cap is None else cap * keras.ops.tanh(y / cap)

    def __call__(
        self,
        token_ids,
        *,
        token_types=None,
        attention_mask=None,
        positions=None,
        cache=None,
        start=None,
        training=None,
    ):
        """Hidden states ``(batch, seq, d_model)``; with a cache, ``(hidden states, cache)``.

        ``cache``: keys and values of each block, by `cache_names`; see `TransformerBlock`.
        """
        x = self.embed(token_ids)  # (B, T, C)
        if self.token_types is not None:
            x = x + self.token_types(token_types)
        if self.positions is not None:
            x = self.positions(x, positions=positions)
        if self.embedding_norm is not None:
            x = self.embedding_norm(x)
        if self.dropout is not None:
            x = self.dropout(x, training=training)
        new_cache: dict[str, Any] = {}
        for i, block in enumerate(self.blocks):
            x = block(
                x,
                attention_mask=attention_mask,
                positions=positions,
                cache=None if cache is None else tuple(cache[name] for name in cache_names(i)),
                start=start,
                training=training,
            )
            if cache is not None:
                x, block_cache = x
                new_cache.update(zip(cache_names(i), block_cache, strict=True))
        if self.norm is not None:
            x = self.norm(x)
        return x if cache is None else (x, new_cache)


def cache_names(block):
    """Names of the keys and the values of a block, by its number, in a cache."""
    return f"kv_cache_k_{block}", f"kv_cache_v_{block}"
