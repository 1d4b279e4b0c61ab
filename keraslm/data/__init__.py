"""Corpora to batches: read, clean, split, pack for next-token or mask for BERT training.

Importing this loads neither TensorFlow nor gensim; each is loaded by the functions that need it.
"""

from keraslm.data.cleaning import clean_text, clean_wikitext
from keraslm.data.masking import MaskedLM, masked_lm_dataset
from keraslm.data.packing import PackedTokens, TokenStream, encode_documents, pack
from keraslm.data.readers import read_blocks, read_texts, wikipedia_sample
from keraslm.data.split import split_texts

__all__ = [
    "MaskedLM",
    "PackedTokens",
    "TokenStream",
    "clean_text",
    "clean_wikitext",
    "encode_documents",
    "masked_lm_dataset",
    "pack",
    "read_blocks",
    "read_texts",
    "split_texts",
    "wikipedia_sample",
]
