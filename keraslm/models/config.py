"""What a transformer is, as data: every family is a row of these fields."""

import dataclasses
from typing import Any

from keraslm.layers.common import above_zero, count, flag, not_negative, one_of, positive
from keraslm.layers.options import (
    REQUIRED,
    also_by_place,
    documented,
    option,
    regularizer_data,
)
from keraslm.layers.transformer_block import BlockOptions, BlockShape


def block_numbers(name: str, value: Any) -> tuple[int, ...]:
    """Numbers of blocks, as a tuple."""
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{name} must be numbers of blocks; received {value!r}.")
    return tuple(count(name, number) for number in value)


def _is_turned(values):
    return values["positions"] == "rotary"


def _has_window(values):
    return values["window"] is not None


# Arguments by place were possible in version 0.1: what it had, in its order.
BY_PLACE = (
    "vocab_size", "num_layers", "d_model", "num_heads", "ffn_dim", "max_length", "dropout",
    "num_kv_heads", "head_dim", "norm", "norm_first", "norm_epsilon", "activation", "gated",
    "positions", "rotary_base", "embedding_scale", "embedding_norm", "token_types", "causal",
    "tied", "use_bias", "qkv_bias", "qk_norm", "window", "window_layers", "window_rotary_base",
    "post_norm", "rotary_scaling", "initializer_range", "kernel_regularizer",
)  # fmt: skip


@documented
@also_by_place(*BY_PLACE)
@dataclasses.dataclass(frozen=True, kw_only=True)
class TransformerConfig(BlockShape):
    """The architecture of a transformer.

    Its fields are those of a block and those of what is around the blocks.

    Raises:
        ValueError: a value that cannot be, or one that does not count beside the others.

    Example:
        >>> config = TransformerConfig(vocab_size=1000, num_layers=2, d_model=64, num_heads=4)
        >>> config.ffn_dim, config.head_dim
        (256, 16)
    """

    depends = {
        "rotary_scaling": (_is_turned, 'positions="rotary"'),
        "rotary_fraction": (_is_turned, 'positions="rotary"'),
        "window_layers": (lambda values: _has_window(values) and values["window_layers"],
                          "window, the tokens that they see, and a block at least"),
        "window_rotary_base": (lambda values: _has_window(values) and _is_turned(values),
                               'positions="rotary" and window, whose blocks have it'),
    }  # fmt: skip

    vocab_size: int = option(REQUIRED, positive, "Number of tokens.")
    num_layers: int = option(REQUIRED, positive, "Number of blocks.")
    ffn_dim: int | None = option(  # type: ignore[assignment]  # a block needs one
        None, positive, "Inner width of the feed-forward networks; default ``4 * d_model``."
    )
    max_length: int = option(512, positive, "Longest sequence.")
    positions: str | None = option(
        "sinusoidal", one_of("sinusoidal", "learned", "rotary", None),
        'How tokens know where they stand: ``"sinusoidal"``, ``"learned"``, ``"rotary"`` or '
        "``None``.",
    )  # fmt: skip
    rotary_base: float = option(
        10000.0, above_zero, 'Wavelength base of ``positions="rotary"``.'
    )  # fmt: skip
    embedding_scale: bool = option(
        False, flag, "Whether embeddings are multiplied by ``sqrt(d_model)``."
    )
    embedding_norm: bool = option(
        False, flag, "Whether the sum of the embeddings is normalised (BERT)."
    )
    token_types: int = option(0, count, "Number of token types (BERT's segments); 0: none.")
    tied: bool = option(True, flag, "Whether the output table is that of the embedding.")
    window_layers: tuple[int, ...] | None = option(
        None, block_numbers,
        "Numbers of the blocks that have the window; default all (Gemma 3, Qwen).",
    )  # fmt: skip
    window_rotary_base: float | None = option(
        None, above_zero,
        "``rotary_base`` of the blocks with a window, which have no ``rotary_scaling`` then "
        "(Gemma 3); default the same as elsewhere.",
    )  # fmt: skip
    logits_softcap: float | None = option(
        None, above_zero,
        "Logits are kept between minus and plus this by a tanh (Gemma 2); default: they are not.",
        later=True,
    )  # fmt: skip
    initializer_range: float = option(0.02, not_negative, "Spread of the normal initializers.")
    kernel_regularizer: Any = option(
        None, regularizer_data, 'Regularizer of all projections, such as ``"l2"``, kept as data.'
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ffn_dim is None:
            self._set("ffn_dim", 4 * self.d_model)
        if self.window_layers and max(self.window_layers) >= self.num_layers:
            raise ValueError(
                f"window_layers must be numbers of blocks, from 0 to {self.num_layers - 1}; "
                f"received {self.window_layers}."
            )
        if self.positions == "rotary":
            turned = int((self.head_dim or 0) * self.rotary_fraction)
            if turned % 2:
                raise ValueError(
                    f"head_dim must be even for rotary positions; received {self.head_dim}, of "
                    f"which {turned} features are turned."
                )

    def attention(self, block: int) -> dict[str, Any]:
        """What attention is like in a block, by its number, where blocks differ."""
        has_window = self.window is not None and block in (self.window_layers or (block,))
        base: float | None = self.rotary_base
        scaling = self.rotary_scaling
        if has_window and self.window_rotary_base is not None:
            base, scaling = self.window_rotary_base, None
        if self.positions != "rotary":
            base, scaling = None, None
        return {
            "window": self.window if has_window else None,
            "rotary_base": base,
            "rotary_scaling": scaling,
        }

    def block(self, number: int, **initializers: Any) -> BlockOptions:
        """Options of a block, by its number.

        Args:
            number: of the block, from 0.
            initializers: the options that a config does not have.
        """
        return self.part(BlockOptions, **self.attention(number), **initializers)
