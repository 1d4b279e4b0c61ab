"""Text to ids and back: train, load, save. One format, ``tokenizer.json``."""

from keraslm.tokenizers.pruning import prune_tokenizer
from keraslm.tokenizers.roles import Roles
from keraslm.tokenizers.stream import TextStream
from keraslm.tokenizers.tokenizer import Encoding, Tokenizer

__all__ = ["Encoding", "Roles", "TextStream", "Tokenizer", "prune_tokenizer"]
