"""A backbone of KerasHub (once KerasNLP) into one of our models, and back.

A family is a row of `FAMILIES`, read in either direction. Weights differ only in how their axes are
grouped, ``(d_model, heads, head_dim)`` there and ``(d_model, heads * head_dim)`` here, and rotary
positions pair the same features, so every weight is the other's, reshaped.
"""

from typing import Any, NamedTuple

from keras import ops

from keraslm.models import BERT, GPT
from keraslm.models.loading import weights_of


class Family(NamedTuple):
    """What one class of KerasHub's takes.

    Args:
        builder: our class.
        names: what fills the braces of `LAYERS`.
        fields: our field of `TransformerConfig` → their argument.
        constants: our fields that this family fixes, beside the builder's own.
        fixed: their arguments for which we have no field → the one value that we compute.
        scaling: key of our ``rotary_scaling`` of type ``"llama3"`` → their argument.
        heads: our heads that the backbone has.
    """

    builder: Any
    names: dict[str, str]
    fields: dict[str, str]
    constants: dict[str, Any] = {}
    fixed: dict[str, Any] = {}
    scaling: dict[str, str] = {}
    heads: tuple[str | None, ...] = (None,)


# Our layer → theirs; a weight has the same name in both. Where it has not, our weight → theirs.
LAYERS = {
    "token_embedding": "{embeddings}token_embedding",
    "positions": "{embeddings}position_embedding",
    "token_type_embedding": "segment_embedding",
    "embedding_norm": "embeddings_layer_norm",
    "block_{i}/attention/query": "transformer_layer_{i}/{attention}/query",
    "block_{i}/attention/key": "transformer_layer_{i}/{attention}/key",
    "block_{i}/attention/value": "transformer_layer_{i}/{attention}/value",
    "block_{i}/attention/output": "transformer_layer_{i}/{attention}/attention_output",
    "block_{i}/attention_norm": "transformer_layer_{i}/self_attention_{norm}",
    "block_{i}/feed_forward/up": "transformer_layer_{i}/feedforward_intermediate_dense",
    "block_{i}/feed_forward/gate": "transformer_layer_{i}/feedforward_gate_dense",
    "block_{i}/feed_forward/down": "transformer_layer_{i}/feedforward_output_dense",
    "block_{i}/feed_forward_norm": "transformer_layer_{i}/feedforward_{norm}",
    "final_norm": "{final_norm}",
    "head/kernel": "token_embedding/reverse_embeddings",
    "pooler": "pooled_dense",
}

_SIZES = {"vocab_size": "vocabulary_size", "num_layers": "num_layers", "d_model": "hidden_dim",
          "ffn_dim": "intermediate_dim"}  # fmt: skip
_FIELDS = {**_SIZES, "num_heads": "num_heads", "max_length": "max_sequence_length",
           "dropout": "dropout"}  # fmt: skip
_ROTARY = {**_SIZES, "num_heads": "num_query_heads", "num_kv_heads": "num_key_value_heads",
           "rotary_base": "rope_max_wavelength", "norm_epsilon": "layer_norm_epsilon",
           "tied": "tie_word_embeddings"}  # fmt: skip
_NAMES = {"embeddings": "", "attention": "self_attention", "norm": "layer_norm",
          "final_norm": "layer_norm"}  # fmt: skip

LLAMA = Family(
    GPT,
    {**_NAMES, "norm": "layernorm", "final_norm": "sequence_output_layernorm"},
    _ROTARY,
    {"norm": "rms", "gated": True, "activation": "silu", "positions": "rotary", "use_bias": False},
    # Their dropout is at other places than ours. Their attention ignores the position scaling.
    {"dropout": 0, "rope_position_scaling_factor": 1},
    {"factor": "rope_frequency_adjustment_factor", "low_freq_factor": "rope_low_freq_factor",
     "high_freq_factor": "rope_high_freq_factor",
     "original_max_position_embeddings": "rope_pretraining_sequence_length"},
)  # fmt: skip
MISTRAL = LLAMA._replace(
    fields={"window": "sliding_window", "head_dim": "head_dim",
            **{ours: theirs for ours, theirs in _ROTARY.items() if ours != "tied"}},
    constants={**LLAMA.constants, "tied": False},
    fixed={"dropout": 0, "rope_scaling_factor": 1},
    scaling={},
)  # fmt: skip
QWEN = LLAMA._replace(
    constants={**LLAMA.constants, "qkv_bias": True},
    fixed={"dropout": 0, "rope_scaling_factor": 1, "use_sliding_window_attention": False},
    scaling={},
)
BERT_LIKE = Family(BERT, {**_NAMES, "attention": "self_attention_layer"}, _FIELDS)

# By the name of their class. A model goes into the first that has its shape.
FAMILIES = {
    "GPT2Backbone": Family(GPT, _NAMES, _FIELDS),
    "LlamaBackbone": LLAMA,
    "Llama3Backbone": LLAMA,
    "MistralBackbone": MISTRAL,
    "QwenBackbone": QWEN,
    "BertBackbone": BERT_LIKE._replace(
        fields={**_FIELDS, "token_types": "num_segments"},
        constants={"activation": "gelu_tanh"},
        heads=(None, "pooled"),
    ),
    "RobertaBackbone": BERT_LIKE._replace(
        names={**BERT_LIKE.names, "embeddings": "embeddings/"},
        constants={"token_types": 0, "norm_epsilon": 1e-5},
    ),
    "DistilBertBackbone": BERT_LIKE._replace(
        names={**BERT_LIKE.names, "embeddings": "token_and_position_embedding/"},
        constants={"token_types": 0},
    ),
}

# Our fields that change no hidden state and may have any value, where a family has no argument.
FREE = {"max_length", "rotary_base", "initializer_range", "kernel_regularizer"}


def from_keras_hub(
    backbone: Any, *, head: str | None = None, max_length: int | None = None, dtype: Any = None
) -> Any:
    """A model of ours with the weights of a KerasHub backbone.

    Given ``padding_mask`` and, for BERT, their ``segment_ids`` as ``token_types``, its hidden
    states ``(batch, seq, d_model)`` are the backbone's. The logits of a `GPT` are those of the
    backbone's ``token_embedding(hidden, reverse=True)``.

    Args:
        backbone: one of `FAMILIES`, of ``keras_hub.models`` or ``keras_nlp.models``; or a task
            without weights of its own, such as ``GPT2CausalLM``.
        head: of an encoder: ``None`` for hidden states; ``"pooled"`` for a ``BertBackbone``'s
            pooled output.
        max_length: longest sequence, for families with rotary positions, whose backbones name
            none; default 4096.
        dtype: dtype policy of the model; default the backbone's.

    Returns:
        a `keraslm.models.GPT` or `BERT`.

    Raises:
        ValueError: another class, a head that it lacks, or an argument that we cannot compute.

    Example:
        >>> import keras_hub
        >>> backbone = keras_hub.models.GPT2Backbone(  # or GPT2CausalLM.from_preset("gpt2_base_en")
        ...     vocabulary_size=100, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=64
        ... )
        >>> gpt = keraslm.interop.from_keras_hub(backbone)
    """
    task, backbone = backbone, getattr(backbone, "backbone", backbone)
    name = type(backbone).__name__
    if name not in FAMILIES:
        raise ValueError(
            f"backbone must be one of {', '.join(FAMILIES)}; received a {name}. Another family "
            "needs a row in FAMILIES."
        )
    family = FAMILIES[name]
    if len(task.weights) > len(backbone.weights):
        raise ValueError(
            f"backbone is a {type(task).__name__}, whose head would be lost. Pass its .backbone."
        )
    if head not in family.heads:
        raise ValueError(f"head must be one of {family.heads} for a {name}; received {head!r}.")
    for argument, value in family.fixed.items():
        if getattr(backbone, argument) != value:
            raise ValueError(
                f"{argument} must be {value!r} in a {name}, for we compute no other; received "
                f"{getattr(backbone, argument)!r}. Build the backbone with {argument}={value!r}."
            )
    fields = {ours: getattr(backbone, theirs) for ours, theirs in family.fields.items()}
    scaling = {ours: getattr(backbone, theirs) for ours, theirs in family.scaling.items()}
    if scaling.get("factor") is not None:
        fields["rotary_scaling"] = {"rope_type": "llama3", **scaling}
    if "max_length" not in fields:
        fields["max_length"] = 4096 if max_length is None else max_length
    elif max_length is not None:
        raise ValueError(
            f"max_length is {fields['max_length']} in this {name}; received {max_length!r}. Leave "
            "it out."
        )
    if family.builder is BERT:
        fields["head"] = head
    dtype = backbone.dtype_policy if dtype is None else dtype
    model = family.builder(**family.constants, **fields, dtype=dtype)
    for ours, theirs in _pairs(family, model, backbone):
        ours.assign(ops.reshape(theirs, ours.shape))
    return model


def to_keras_hub(model: Any) -> Any:
    """A KerasHub backbone with the weights of a model of ours.

    A backbone is a trunk. A `GPT`'s output table goes with it, and a pooler of `BERT` goes to a
    ``BertBackbone``; no other head does. A ``BertBackbone`` always has a pooler: from
    ``head=None`` it is a new one. Nor do initializers and regularizers go, nor the ``max_length``
    of rotary positions.

    Args:
        model: a `keraslm.models.GPT`, or a `BERT` with ``head=None`` or ``"pooled"``.

    Returns:
        the first backbone of `FAMILIES` that has the model's shape, in its dtype policy.

    Raises:
        ImportError: KerasHub is not installed.
        ValueError: another model, a head that would be lost, or a shape that no backbone has.

    Example:
        >>> backbone = keraslm.interop.to_keras_hub(gpt)
        >>> ids = np.array([[7, 8, 9]])
        >>> tuple(backbone({"token_ids": ids, "padding_mask": np.ones_like(ids)}).shape)
        (1, 3, 32)
    """
    if type(model) not in (GPT, BERT):
        raise ValueError(
            f"model must be a keraslm.models.GPT or BERT; received a {type(model).__name__}. Of a "
            "task, pass its .model."
        )
    kinds = {kind: family for kind, family in FAMILIES.items() if family.builder is type(model)}
    name, family = min(kinds.items(), key=lambda item: len(_differences(model, item[1])))
    if differences := _differences(model, family):
        raise ValueError(
            f"model has a shape that no backbone of KerasHub has: the nearest, {name}, needs "
            f"{' and '.join(differences)}. Build a model of that shape and copy the weights, or "
            "save this one with save_huggingface."
        )
    try:
        import keras_hub
    except ImportError as error:
        raise ImportError("to_keras_hub needs KerasHub. Run: pip install keras-hub") from error
    config = model.transformer_config
    arguments = {theirs: getattr(config, ours) for ours, theirs in family.fields.items()}
    if _scaling(config):
        arguments |= {
            theirs: config.rotary_scaling[ours] for ours, theirs in family.scaling.items()
        }
    backbone = getattr(keras_hub.models, name)(
        **arguments, **family.fixed, dtype=model.dtype_policy
    )
    for ours, theirs in _pairs(family, model, backbone):
        theirs.assign(ops.reshape(ours, theirs.shape))
    return backbone


def _differences(model, family):
    """What a family would lose of a model, as words: one for each field."""
    config = model.transformer_config
    sizes = {name: getattr(config, name) for name in ("vocab_size", "num_layers", "d_model")}
    wanted = family.builder.make_config(
        **sizes, num_heads=config.num_heads, head_dim=max(1, config.d_model // config.num_heads),
        **family.constants,
    ).to_dict()  # fmt: skip
    received = {**config.to_dict(), "rotary_scaling": _scaling(config)}
    if family.scaling and (received["rotary_scaling"] or {}).get("rope_type") == "llama3":
        wanted["rotary_scaling"] = received["rotary_scaling"]
    for name in FREE.union(family.fields):
        wanted[name] = received[name]
    if "token_types" in family.fields:  # an embedding cannot have no rows
        wanted["token_types"] = config.token_types or 1
    head = getattr(model, "head", None)
    if head not in family.heads:
        wanted["head"], received["head"] = None, head
    elif head == "pooled":
        wanted["pooler_activation"], received["pooler_activation"] = "tanh", model.pooler_activation
    return [
        f"{name}={wanted[name]!r}, not {received[name]!r}"
        for name in wanted
        if wanted[name] != received[name]
    ]


def _scaling(config):
    """The ``rotary_scaling`` of a config, None if it changes nothing."""
    scaling = config.rotary_scaling or {}
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    return None if kind == "default" else {**scaling, "rope_type": kind}


def _pairs(family, model, backbone):
    """Pairs of a weight of ours and the same of theirs."""
    table = {
        ours.replace("{i}", str(i)): theirs.format(i=i, **family.names)
        for ours, theirs in LAYERS.items()
        for i in range(model.transformer_config.num_layers)
    }
    mine = {}
    for path, weight in weights_of(model).items():
        layer, _, name = path.rpartition("/")
        mine[table.get(path, f"{table.get(layer)}/{name}")] = weight
    theirs = weights_of(backbone)
    lone = {path for path in set(mine) ^ set(theirs) if not path.startswith("pooled_dense/")}
    if lone:
        raise ValueError(
            f"Only one of the two models has {min(lone)!r}. Take them as they were before "
            "quantization or LoRA."
        )
    return [(weight, theirs[path]) for path, weight in mine.items()]
