"""The transformer of "Attention is all you need", as a trunk or a language model."""

from typing import Any

import keras

from keraslm.layers.common import register
from keraslm.models.base import TransformerModel, symbolic_inputs
from keraslm.models.trunk import Trunk


@register
class Transformer(TransformerModel):
    """Embeddings times ``sqrt(d_model)``, sinusoidal positions, blocks (Vaswani et al. 2017).

    Args:
        vocab_size: number of tokens.
        d_model: width.
        num_heads: attention heads; must divide ``d_model``.
        ffn_dim: inner width of the feed-forward networks.
        max_length: longest sequence.
        dropout: share dropped in training.
        num_layers: number of blocks.
        head: ``None``: hidden states ``(batch, seq, d_model)``, to put layers of your own on;
            ``"lm"``: float32 logits ``(batch, seq, vocab_size)`` through the tied table, or,
            with ``tied=False``, one of its own.
        embeddings_initializer: of the token table.
        options: the other fields of `TransformerConfig`, such as ``causal=True``.

    Inputs: int ids ``(batch, seq)``, or a dict; see `TransformerModel`.

    Example:
        >>> trunk = keraslm.models.Transformer(1000, 64, 4, 256, 128, 0.1)
        >>> ids = keras.Input((None,), dtype="int32")
        >>> x = keras.layers.GlobalAveragePooling1D()(trunk(ids))
        >>> classifier = keras.Model(ids, keras.layers.Dense(2, "softmax")(x))
    """

    family = "transformer"

    def __init__(
        self,
        vocab_size: int,
        d_model: int = 192,
        num_heads: int = 3,
        ffn_dim: int | None = None,
        max_length: int = 256,
        dropout: float = 0.0,
        *,
        num_layers: int = 2,
        head: str | None = None,
        embeddings_initializer: Any = None,
        name: str | None = None,
        trainable: bool = True,
        dtype: Any = None,
        **options: Any,
    ) -> None:
        if head not in (None, "lm"):
            raise ValueError(f"head must be None or 'lm'; received {head!r}.")
        config = self.make_config(
            vocab_size=vocab_size, num_layers=num_layers, d_model=d_model, num_heads=num_heads,
            ffn_dim=ffn_dim, max_length=max_length, dropout=dropout, **options,
        )  # fmt: skip
        dtype = keras.dtype_policies.get(dtype)

        # === Layers ===
        trunk = Trunk(config, dtype, embeddings_initializer)

        # === Functional model ===
        inputs, mask, positions = symbolic_inputs(dtype)
        y = trunk(inputs["token_ids"], attention_mask=mask, positions=positions)
        if head == "lm":
            y = trunk.logits(y)
        super().__init__(inputs=inputs, outputs=y, name=name, trainable=trainable)

        # === Config ===
        self.dtype_policy = dtype
        self.head = head
        self._finish(trunk, config, embeddings_initializer)

    def default_loss(self) -> Any:
        return super().default_loss() if self.head == "lm" else "mse"

    def get_config(self):
        return {**super().get_config(), "head": self.head}
