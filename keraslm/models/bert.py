"""The encoder: BERT and its heads."""

from typing import Any

import keras
from keras import ops

from keraslm.layers.common import activation, register
from keraslm.models.base import TransformerModel, optional_input, symbolic_inputs
from keraslm.models.heads import ENCODER_HEADS, Parts, head_named
from keraslm.models.trunk import Trunk


@register
class BERT(TransformerModel):
    """An encoder that sees both sides (Devlin et al. 2019), with one head, by name.

    Args:
        vocab_size: number of tokens.
        num_layers: number of blocks.
        d_model: width.
        num_heads: attention heads; must divide ``d_model``.
        ffn_dim: inner width of the feed-forward networks; default ``4 * d_model``.
        max_length: longest sequence.
        dropout: share dropped in training.
        head: what comes out, one tensor:
            ``None``: hidden states ``(batch, seq, d_model)``;
            ``"masked_lm"``: float32 logits ``(batch, seq, vocab_size)``, or
            ``(batch, predictions, vocab_size)`` at ``masked_positions``;
            ``"pooled"``: tanh of a dense layer on the first token, ``(batch, d_model)``;
            ``"next_sentence"``: float32 logits ``(batch, 2)``;
            ``"classifier"``: float32 logits ``(batch, num_classes)``;
            ``"token_classifier"``: float32 logits ``(batch, seq, num_classes)``;
            ``"span"``: float32 logits ``(batch, seq, 2)`` of where an answer starts and ends.
        num_classes: for the two classifiers.
        pooler_activation: of the dense layer on the first token, by its Keras name.
        embeddings_initializer: of the token table.
        options: the other fields of `TransformerConfig`.

    Inputs: int ids ``(batch, seq)``, or a dict with ``token_ids`` and, if wanted,
        ``padding_mask``, ``segment_ids`` (documents of a packed row; see `TransformerModel`),
        ``token_types``, int ``(batch, seq)``: BERT's sentence A (0) or B (1),
        ``masked_positions``, int ``(batch, predictions)``, with ``head="masked_lm"`` only: the
        head runs on these alone.

    Example:
        >>> bert = keraslm.models.BERT(vocab_size=1000, num_layers=2, d_model=64, num_heads=4)
        >>> bert.compile()
    """

    family = "bert"

    def __init__(
        self,
        vocab_size: int,
        num_layers: int = 4,
        d_model: int = 192,
        num_heads: int = 3,
        ffn_dim: int | None = None,
        max_length: int = 512,
        dropout: float = 0.0,
        *,
        head: str | None = "masked_lm",
        num_classes: int | None = None,
        pooler_activation: Any = "tanh",
        embeddings_initializer: Any = None,
        name: str | None = None,
        trainable: bool = True,
        dtype: Any = None,
        **options: Any,
    ) -> None:
        put_on, num_classes = head_named(head, ENCODER_HEADS, num_classes)
        pooler_activation = activation("pooler_activation", pooler_activation)
        config = self.make_config(
            vocab_size=vocab_size, num_layers=num_layers, d_model=d_model, num_heads=num_heads,
            ffn_dim=ffn_dim, max_length=max_length, dropout=dropout, **options,
        )  # fmt: skip
        dtype = keras.dtype_policies.get(dtype)

        # === Layers ===
        trunk = Trunk(config, dtype, embeddings_initializer)

        # === Functional model ===
        inputs, mask, positions = symbolic_inputs(dtype)
        token_types = None
        if config.token_types:
            inputs["token_types"] = optional_input("token_types", "int32")
            token_types = _TokenTypes(name="token_types_or_zeros", dtype=dtype)(
                inputs["token_ids"], token_types=inputs["token_types"]
            )
        y = trunk(
            inputs["token_ids"], token_types=token_types, attention_mask=mask, positions=positions
        )
        parts = Parts(trunk, inputs, dtype, num_classes, pooler_activation)
        y = put_on(y, parts)
        super().__init__(inputs=inputs, outputs=y, name=name, trainable=trainable)

        # === Config ===
        self.dtype_policy = dtype
        self.head = head
        self.num_classes = num_classes
        self.pooler_activation = pooler_activation
        self._finish(trunk, config, embeddings_initializer)

    def default_loss(self) -> Any:
        return "mse" if ENCODER_HEADS[self.head].is_hidden else super().default_loss()

    def get_config(self):
        return {
            **super().get_config(),
            "head": self.head,
            "num_classes": self.num_classes,
            "pooler_activation": self.pooler_activation,
        }


@register
class _TokenTypes(keras.layers.Layer):
    """Token types, zeros if they are missing: int ``(batch, seq)``."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.built = True

    def call(self, token_ids, token_types=None):
        return ops.zeros_like(token_ids) if token_types is None else token_types

    def compute_output_spec(self, token_ids, token_types=None):
        return keras.KerasTensor(token_ids.shape, dtype="int32")

    def get_config(self):
        return super().get_config()  # Keras' own, without it, fails on a dtype policy
