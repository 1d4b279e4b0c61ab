"""Token ids to vectors, and, with the same table, hidden states to logits."""

from typing import Any

import keras
from keras import ops

from keraslm.layers.common import flag, initializer, positive, register


@register
class TokenEmbedding(keras.layers.Layer):
    """A table of token vectors that also serves as the output head (Press & Wolf 2017).

    Args:
        vocab_size: number of tokens.
        d_model: width of a vector.
        scale: multiply the vectors by ``sqrt(d_model)`` (Vaswani et al. 2017, section 3.4).
        embeddings_initializer: for the table, for example a
            `keraslm.embeddings.VectorInitializer`; default normal with spread 0.02.

    Call arguments:
        inputs: int ids ``(batch, seq)``, from 0 to ``vocab_size - 1``; with ``reverse=True``
            float hidden states ``(batch, seq, d_model)``.
        reverse: hidden states to logits.

    Returns:
        float ``(batch, seq, d_model)``; reversed, float32 logits ``(batch, seq, vocab_size)``.

    Example:
        >>> embed = keraslm.layers.TokenEmbedding(vocab_size=1000, d_model=64)
        >>> hidden_states = embed(np.array([[7, 8, 9]]))
        >>> tuple(embed(hidden_states, reverse=True).shape)
        (1, 3, 1000)
    """

    def __init__(
        self,
        vocab_size: int,
        d_model: int,
        *,
        scale: bool = False,
        embeddings_initializer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.vocab_size = positive("vocab_size", vocab_size)
        self.d_model = positive("d_model", d_model)
        self.scale = flag("scale", scale)
        if embeddings_initializer is None:
            embeddings_initializer = keras.initializers.RandomNormal(stddev=0.02)
        self.embeddings_initializer = initializer("embeddings_initializer", embeddings_initializer)

    def build(self, input_shape=None):
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(self.vocab_size, self.d_model),
            initializer=self.embeddings_initializer,
        )
        self.built = True

    def call(self, inputs, reverse=False):
        table = ops.cast(ops.convert_to_tensor(self.embeddings), self.compute_dtype)
        if reverse:
            # One product of two matrices is faster than one of a batch.
            hidden = ops.reshape(ops.cast(inputs, self.compute_dtype), (-1, self.d_model))
            logits = ops.matmul(hidden, ops.transpose(table))
            shape = (-1, ops.shape(inputs)[1], self.vocab_size)
            return ops.cast(ops.reshape(logits, shape), "float32")
        x = ops.take(table, ops.cast(inputs, "int32"), axis=0)
        return x * self.d_model**0.5 if self.scale else x

    def compute_output_spec(self, inputs, reverse=False):
        if reverse:
            return keras.KerasTensor((*inputs.shape[:-1], self.vocab_size), dtype="float32")
        return keras.KerasTensor((*inputs.shape, self.d_model), dtype=self.compute_dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "vocab_size": self.vocab_size,
            "d_model": self.d_model,
            "scale": self.scale,
            "embeddings_initializer": keras.initializers.serialize(self.embeddings_initializer),
        }
