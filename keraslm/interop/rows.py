"""What the tables of Hugging Face families are made of: a `Family` and its `Row`s."""

from typing import Any, NamedTuple

ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "gelu_python": "gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}


class Row(NamedTuple):
    """One tensor of theirs, and one or more weights of ours.

    Args:
        ours: path of a weight; several, joined by ``" + "``, stand side by side in theirs.
        theirs: name of the tensor.
        turned: theirs is ``(outputs, inputs)``, as in ``torch.nn.Linear``.
        skip: so many first rows of theirs are not ours (RoBERTa's positions begin at 2).
        plus: ours is theirs plus this (Gemma's norms multiply by one plus the weight).
        by_head: weights that stand side by side take turns head by head (GPT-NeoX).

    Example:
        >>> Row("block_0/attention/query/kernel", "h.0.attn.q_proj.weight", turned=True).turned
        True
    """

    ours: str
    theirs: str
    turned: bool = False
    skip: int = 0
    plus: float = 0.0
    by_head: bool = False


class Family(NamedTuple):
    """What loading and saving one ``model_type`` takes.

    Args:
        builder: ``"GPT"`` or ``"BERT"``; a ``"GPT"`` without its language head is a
            ``"GPTEncoder"``.
        fields: our field of `TransformerConfig` → their key in ``config.json``.
        constants: our fields that this family fixes.
        defaults: their values where ``config.json`` leaves a key out.
        rows: the table of the trunk.
        prefix: before the trunk's names in a model with a head.
        heads: head of ours → the class in ``architectures`` and the rows of the head. ``"lm"`` is
            the language head of a decoder.
        fixed: keys of ``config.json`` that have these values where they are there, and are
            written when saving, so that `transformers` computes what we do.
        same: keys that have the value of another key, likewise.
        written: keys that are only written when saving, where the default of `transformers` would
            not fit.
        free: our fields that are neither in ``fields`` nor fixed.
        options: further arguments of the builder.

    Example:
        >>> llama = FAMILIES["llama"]
        >>> llama.builder, llama.fields["num_layers"], llama.constants["norm"]
        ('GPT', 'num_hidden_layers', 'rms')
    """

    builder: str
    fields: dict[str, str]
    constants: dict[str, Any]
    defaults: dict[str, Any]
    rows: tuple[Row, ...]
    prefix: str
    heads: dict[str | None, tuple[str, tuple[Row, ...]]]
    fixed: dict[str, Any] = {}
    same: dict[str, str] = {}
    free: frozenset[str] = frozenset()
    options: dict[str, Any] = {}
    written: dict[str, Any] = {}


def dense(ours, theirs, bias=True, turned=True):
    """Rows of a kernel and a bias."""
    rows = [Row(f"{ours}/kernel", f"{theirs}.weight", turned)]
    return [*rows, Row(f"{ours}/bias", f"{theirs}.bias")] if bias else rows


def norm(ours, theirs):
    """Rows of a LayerNorm."""
    return [Row(f"{ours}/gamma", f"{theirs}.weight"), Row(f"{ours}/beta", f"{theirs}.bias")]


def rms(ours, theirs):
    """The row of an RMSNorm."""
    return [Row(f"{ours}/scale", f"{theirs}.weight")]


def decoder_heads(language, tokens="score", text=""):
    """Heads of a decoder, by the name of the class with the language head.

    Args:
        language: that name.
        tokens: name of the layer that classifies tokens; ``None``: there is no such class.
        text: what the names of the others have before ``"For"``, as ``"Text"`` of Gemma 3.
    """
    name = language.removesuffix("ForCausalLM").removesuffix("LMHeadModel") + text
    heads = {
        "lm": (language, (Row("head/kernel", "lm_head.weight", True),)),
        None: (f"{name}Model", ()),
        "classifier": (
            f"{name}ForSequenceClassification", (Row("classifier/kernel", "score.weight", True),)
        ),
    }  # fmt: skip
    if tokens is not None:
        rows = tuple(dense("classifier", tokens))
        heads["token_classifier"] = (f"{name}ForTokenClassification", rows)
    return heads
