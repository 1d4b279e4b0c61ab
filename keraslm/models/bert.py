"""The encoder: BERT and its heads."""

import keras
from keras import ops

from keraslm.layers.common import dense, register
from keraslm.layers.feed_forward import ACTIVATIONS
from keraslm.layers.transformer_block import make_norm
from keraslm.models.base import TransformerModel, optional_input, symbolic_inputs
from keraslm.models.trunk import Trunk

HEADS = (None, "masked_lm", "pooled", "next_sentence", "classifier", "token_classifier")


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
            ``"token_classifier"``: float32 logits ``(batch, seq, num_classes)``.
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
        vocab_size,
        num_layers=4,
        d_model=192,
        num_heads=3,
        ffn_dim=None,
        max_length=512,
        dropout=0.0,
        *,
        head="masked_lm",
        num_classes=None,
        pooler_activation="tanh",
        embeddings_initializer=None,
        name=None,
        trainable=True,
        dtype=None,
        **options,
    ):
        if head not in HEADS:
            raise ValueError(f"head must be one of {HEADS}; received {head!r}.")
        if head in ("classifier", "token_classifier") and not num_classes:
            raise ValueError(f"num_classes is missing: head={head!r} needs it.")
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
        if head == "masked_lm":
            inputs["masked_positions"] = optional_input("masked_positions", "int32")
            y = MaskedLMHead(config.d_model, config.activation, config.norm_epsilon,
                             config.initializer_range, dtype=dtype, name="masked_lm")(
                y, masked_positions=inputs["masked_positions"]
            )  # fmt: skip
            y = TokenBias(dtype="float32", name="token_bias")(trunk.logits(y))
        elif head is not None:
            y = _classifier(y, head, num_classes, pooler_activation, config, dtype)
        super().__init__(inputs=inputs, outputs=y, name=name, trainable=trainable)

        # === Config ===
        self.dtype_policy = dtype
        self.head = head
        self.num_classes = num_classes
        self.pooler_activation = pooler_activation
        self._finish(trunk, config, embeddings_initializer)

    def default_loss(self):
        return "mse" if self.head in (None, "pooled") else super().default_loss()

    def get_config(self):
        return {
            **super().get_config(),
            "head": self.head,
            "num_classes": self.num_classes,
            "pooler_activation": self.pooler_activation,
        }


def _classifier(hidden, head, num_classes, pooler_activation, config, dtype):
    """The heads that are one or two dense layers."""

    def layer(units, name, dtype, activation=None):
        return keras.layers.Dense(
            units,
            activation=activation,
            kernel_initializer=keras.initializers.RandomNormal(stddev=config.initializer_range),
            dtype=dtype,
            name=name,
        )

    def dropped(x):
        return keras.layers.Dropout(config.dropout, dtype=dtype, name="head_dropout")(x)

    if head == "token_classifier":
        return layer(num_classes, "classifier", "float32")(dropped(hidden))
    pooled = layer(config.d_model, "pooler", dtype, pooler_activation)(hidden[:, 0])
    if head == "pooled":
        return pooled
    if head == "next_sentence":
        return layer(2, "next_sentence", "float32")(pooled)
    return layer(num_classes, "classifier", "float32")(dropped(pooled))


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


@register
class MaskedLMHead(keras.layers.Layer):
    """BERT's transform before the tied output table: dense, activation, norm.

    Call arguments:
        hidden: float ``(batch, seq, d_model)``.
        masked_positions: int ``(batch, predictions)``, or ``None``: everywhere.

    Returns:
        float ``(batch, predictions or seq, d_model)``.
    """

    def __init__(self, d_model, activation, norm_epsilon, initializer_range=0.02, **kwargs):
        super().__init__(**kwargs)
        self.d_model = d_model
        self.activation = activation
        self.norm_epsilon = norm_epsilon
        self.initializer_range = initializer_range
        self.kernel_regularizer = None
        initializer = keras.initializers.RandomNormal(stddev=initializer_range)
        self.transform = dense(d_model, self, "transform", initializer)
        self.norm = make_norm("layer", norm_epsilon, dtype=self.dtype_policy, name="norm")

    def build(self, hidden_shape, masked_positions_shape=None):
        self.transform.build(hidden_shape)
        self.norm.build(hidden_shape)
        self.built = True

    def call(self, hidden, masked_positions=None):
        if masked_positions is not None:
            indices = ops.expand_dims(masked_positions, -1)
            hidden = ops.take_along_axis(hidden, indices, axis=1)  # (B, P, C)
        return self.norm(ACTIVATIONS[self.activation](self.transform(hidden)))

    def compute_output_spec(self, hidden, masked_positions=None):
        length = hidden.shape[1] if masked_positions is None else masked_positions.shape[1]
        shape = (hidden.shape[0], length, self.d_model)
        return keras.KerasTensor(shape, dtype=self.compute_dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "d_model": self.d_model,
            "activation": self.activation,
            "norm_epsilon": self.norm_epsilon,
            "initializer_range": self.initializer_range,
        }


@register
class TokenBias(keras.layers.Layer):
    """Adds a trained bias per token to logits ``(batch, seq, vocab_size)``."""

    def build(self, input_shape):
        self.bias = self.add_weight(name="bias", shape=(input_shape[-1],), initializer="zeros")
        self.built = True

    def call(self, logits):
        return logits + self.bias

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return super().get_config()  # Keras' own, without it, fails on a dtype policy
