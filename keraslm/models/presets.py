"""Families and sizes, as data."""

from typing import Any

# What makes a family, in the fields of TransformerConfig.
FAMILIES: dict[str, dict[str, Any]] = {
    # Radford et al. 2019.
    "gpt": {
        "norm_first": True,
        "activation": "gelu_tanh",
        "positions": "learned",
        "causal": True,
    },
    # Devlin et al. 2019.
    "bert": {
        "norm_epsilon": 1e-12,
        "activation": "gelu",
        "positions": "learned",
        "embedding_norm": True,
        "token_types": 2,
    },
    # Vaswani et al. 2017.
    "transformer": {"embedding_scale": True},
}

# The size dial. Parameters without the embedding: about 12 * num_layers * d_model ** 2.
SIZES = {
    "nano": {"num_layers": 3, "d_model": 128, "num_heads": 4, "max_length": 256},
    "tiny": {"num_layers": 4, "d_model": 192, "num_heads": 3, "max_length": 256},
    "mini": {"num_layers": 6, "d_model": 384, "num_heads": 6, "max_length": 256},
    "small": {"num_layers": 12, "d_model": 768, "num_heads": 12, "max_length": 1024},
    "medium": {"num_layers": 24, "d_model": 1024, "num_heads": 16, "max_length": 1024},
}


def sized(size):
    """Fields of a size.

    Raises:
        ValueError: an unknown size.
    """
    if not isinstance(size, str) or size not in SIZES:
        raise ValueError(f"size must be one of {list(SIZES)}; received {size!r}.")
    return dict(SIZES[size])
