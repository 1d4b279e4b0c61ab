"""What a transformer is, as data: every family is a row of these fields."""

import dataclasses

from keraslm.layers.common import positive


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
    """The architecture of a transformer.

    Args:
        vocab_size: number of tokens.
        num_layers: number of blocks.
        d_model: width.
        num_heads: attention heads; must divide ``d_model`` unless ``head_dim`` is given.
        ffn_dim: inner width of the feed-forward networks; default ``4 * d_model``.
        max_length: longest sequence.
        dropout: of embeddings, attention weights and residuals.
        num_kv_heads: key/value heads; default ``num_heads``.
        head_dim: width of a head; default ``d_model / num_heads``.
        norm: ``"layer"`` or ``"rms"``.
        norm_first: normalise before each part, with one more norm at the end.
        norm_epsilon: added to the variance.
        activation: ``"relu"``, ``"gelu"``, ``"gelu_tanh"`` or ``"silu"``.
        gated: gated feed-forward (SwiGLU, GeGLU).
        positions: ``"sinusoidal"``, ``"learned"``, ``"rotary"`` or ``None``.
        rotary_base: wavelength base of rotary positions.
        embedding_scale: embeddings times ``sqrt(d_model)``.
        embedding_norm: normalise the sum of the embeddings (BERT).
        token_types: number of token types (BERT's segments); 0: none.
        causal: a token sees no later token.
        tied: the output head is the embedding table.
        use_bias: in all projections.
        qkv_bias: in those of query, key and value; default as ``use_bias`` (Qwen2 has only these).
        qk_norm: normalise queries and keys, head by head (RMS), before their positions (Qwen3).
        window: a token sees only so many tokens back, itself included (Mistral).
        window_layers: numbers of the blocks that have the window; default all (Gemma 3, Qwen).
        window_rotary_base: ``rotary_base`` of the blocks with a window, which have no
            ``rotary_scaling`` then (Gemma 3); default the same as elsewhere.
        post_norm: with ``norm_first``, normalise what a part gives, too, before it is added
            (Gemma 3).
        rotary_scaling: how rotary positions are stretched for longer contexts; see
            `keraslm.layers.RotaryEmbedding`.
        initializer_range: spread of the normal initializers.
        kernel_regularizer: of all projections, for example ``"l2"``.

    Raises:
        ValueError: a value that cannot be.
    """

    vocab_size: int
    num_layers: int
    d_model: int
    num_heads: int
    ffn_dim: int | None = None
    max_length: int = 512
    dropout: float = 0.0
    num_kv_heads: int | None = None
    head_dim: int | None = None
    norm: str = "layer"
    norm_first: bool = False
    norm_epsilon: float = 1e-5
    activation: str = "relu"
    gated: bool = False
    positions: str | None = "sinusoidal"
    rotary_base: float = 10000.0
    embedding_scale: bool = False
    embedding_norm: bool = False
    token_types: int = 0
    causal: bool = False
    tied: bool = True
    use_bias: bool = True
    qkv_bias: bool | None = None
    qk_norm: bool = False
    window: int | None = None
    window_layers: tuple[int, ...] | None = None
    window_rotary_base: float | None = None
    post_norm: bool = False
    rotary_scaling: dict | None = None
    initializer_range: float = 0.02
    kernel_regularizer: object = None

    def __post_init__(self):
        if self.ffn_dim is None:
            object.__setattr__(self, "ffn_dim", 4 * self.d_model)
        if self.qkv_bias is None:
            object.__setattr__(self, "qkv_bias", self.use_bias)
        if self.num_kv_heads is None:
            object.__setattr__(self, "num_kv_heads", self.num_heads)
        for name in (
            "vocab_size", "num_layers", "d_model", "num_heads", "num_kv_heads", "ffn_dim",
            "max_length",
        ):  # fmt: skip
            object.__setattr__(self, name, positive(name, getattr(self, name)))
        if self.head_dim is None:
            if self.d_model % self.num_heads:
                raise ValueError(
                    f"num_heads must divide d_model; received d_model={self.d_model}, "
                    f"num_heads={self.num_heads}. Use a d_model that is a multiple of num_heads."
                )
            object.__setattr__(self, "head_dim", self.d_model // self.num_heads)
        object.__setattr__(self, "head_dim", positive("head_dim", self.head_dim))
        if self.positions not in ("sinusoidal", "learned", "rotary", None):
            raise ValueError(
                "positions must be 'sinusoidal', 'learned', 'rotary' or None; "
                f"received {self.positions!r}."
            )

        if self.window_layers is not None:
            object.__setattr__(self, "window_layers", tuple(self.window_layers))

    def attention(self, block):
        """What attention is like in a block, by its number: keyword arguments."""
        has_window = self.window is not None and block in (self.window_layers or (block,))
        base, scaling = self.rotary_base, self.rotary_scaling
        if has_window and self.window_rotary_base is not None:
            base, scaling = self.window_rotary_base, None
        is_rotary = self.positions == "rotary"
        return {
            "window": self.window if has_window else None,
            "rotary_base": base if is_rotary else None,
            "rotary_scaling": scaling if is_rotary else None,
        }

    @classmethod
    def field_names(cls):
        """Names of the fields."""
        return tuple(field.name for field in dataclasses.fields(cls))

    def to_dict(self):
        """The fields as a plain dict."""
        return {name: getattr(self, name) for name in self.field_names()}
