"""Ids in, tensors out: plain ``keras.Model`` classes built from `keraslm.layers`."""

import keras  # noqa: F401  (first: see keraslm/_registration.py)

from keraslm.models.bert import BERT
from keraslm.models.config import TransformerConfig
from keraslm.models.gpt import GPT
from keraslm.models.gpt_encoder import GPTEncoder
from keraslm.models.loading import load
from keraslm.models.transformer import Transformer

__all__ = ["BERT", "GPT", "GPTEncoder", "Transformer", "TransformerConfig", "load"]
