"""A decoder's blocks without its language head: hidden states or classes."""

from typing import Any

import keras

from keraslm.layers.common import count, register
from keraslm.models.base import TransformerModel, symbolic_inputs
from keraslm.models.heads import DECODER_HEADS, Parts, head_named
from keraslm.models.trunk import Trunk


@register
class GPTEncoder(TransformerModel):
    """The blocks of a `GPT` with another head than the language model's, or none.

    Such are classifiers, reward models and embedding models that were made of a decoder. It does
    not generate.

    Args:
        vocab_size, num_layers, d_model, num_heads, ffn_dim, max_length, dropout: as in `GPT`.
        head: what comes out, one tensor:
            ``None``: hidden states ``(batch, seq, d_model)``;
            ``"classifier"``: float32 logits ``(batch, num_classes)``, of the last token;
            ``"token_classifier"``: float32 logits ``(batch, seq, num_classes)``.
        num_classes: for the two classifiers.
        pad_id: id of the padding, which ``"classifier"`` passes over at the end of a text, even
            where ``padding_mask`` says that it is real; `transformers` does the same.
        embeddings_initializer: of the token table.
        options: the other fields of `TransformerConfig`, as in `GPT`.

    Inputs: int ids ``(batch, seq)``, or a dict; see `TransformerModel`.

    Example:
        >>> model = keraslm.models.GPTEncoder(vocab_size=1000, num_layers=2, d_model=64,
        ...                                   num_heads=4, head="classifier", num_classes=2)
        >>> tuple(model(np.array([[7, 8, 9]])).shape)
        (1, 2)
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
        head: str | None = None,
        num_classes: int | None = None,
        pad_id: int | None = None,
        embeddings_initializer: Any = None,
        name: str | None = None,
        trainable: bool = True,
        dtype: Any = None,
        **options: Any,
    ) -> None:
        put_on, num_classes = head_named(head, DECODER_HEADS, num_classes)
        config = self.make_config(
            vocab_size=vocab_size, num_layers=num_layers, d_model=d_model, num_heads=num_heads,
            ffn_dim=ffn_dim, max_length=max_length, dropout=dropout, **options,
        )  # fmt: skip
        pad_id = None if pad_id is None else count("pad_id", pad_id)
        if pad_id is not None and pad_id >= config.vocab_size:
            raise ValueError(
                f"pad_id must be from 0 to {config.vocab_size - 1}, or None; received {pad_id}."
            )
        dtype = keras.dtype_policies.get(dtype)

        # === Layers ===
        trunk = Trunk(config, dtype, embeddings_initializer)

        # === Functional model ===
        inputs, mask, positions = symbolic_inputs(dtype)
        hidden = trunk(inputs["token_ids"], attention_mask=mask, positions=positions)
        parts = Parts(trunk, inputs, dtype, num_classes, pad_id=pad_id)
        y = put_on(hidden, parts)
        super().__init__(inputs=inputs, outputs=y, name=name, trainable=trainable)

        # === Config ===
        self.dtype_policy = dtype
        self.head = head
        self.num_classes = num_classes
        self.pad_id = pad_id
        self._finish(trunk, config, embeddings_initializer)

    def default_loss(self) -> Any:
        return "mse" if DECODER_HEADS[self.head].is_hidden else super().default_loss()

    def get_config(self):
        return {
            **super().get_config(),
            "head": self.head,
            "num_classes": self.num_classes,
            "pad_id": self.pad_id,
        }
