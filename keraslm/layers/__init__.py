"""The layers that models are composed of. Pure Keras: they know nothing of text."""

import keras  # noqa: F401  (first: see keraslm/_registration.py)

from keraslm.layers.attention import AttentionOptions, MultiHeadAttention
from keraslm.layers.feed_forward import FeedForward, FeedForwardOptions
from keraslm.layers.masks import AttentionMask, SegmentPositions
from keraslm.layers.positions import PositionalEncoding, RotaryEmbedding
from keraslm.layers.token_embedding import TokenEmbedding
from keraslm.layers.transformer_block import BlockOptions, TransformerBlock

__all__ = [
    "AttentionMask",
    "AttentionOptions",
    "BlockOptions",
    "FeedForward",
    "FeedForwardOptions",
    "MultiHeadAttention",
    "PositionalEncoding",
    "RotaryEmbedding",
    "SegmentPositions",
    "TokenEmbedding",
    "TransformerBlock",
]
