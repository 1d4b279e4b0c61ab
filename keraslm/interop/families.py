"""Hugging Face's families as data: what their configs and tensors are called here.

A family is a `Family`: rules for ``config.json`` and a table of names. Both are read in either
direction, so a family that loads also saves. ``{i}`` is the number of a block.
"""

from typing import Any, NamedTuple

ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
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
    """

    ours: str
    theirs: str
    turned: bool = False
    skip: int = 0
    plus: float = 0.0


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
        free: our fields that are neither in ``fields`` nor fixed.
        options: further arguments of the builder.
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


def _dense(ours, theirs, bias=True, turned=True):
    rows = [Row(f"{ours}/kernel", f"{theirs}.weight", turned)]
    return [*rows, Row(f"{ours}/bias", f"{theirs}.bias")] if bias else rows


def _norm(ours, theirs):
    return [Row(f"{ours}/gamma", f"{theirs}.weight"), Row(f"{ours}/beta", f"{theirs}.bias")]


def _rms(ours, theirs):
    return [Row(f"{ours}/scale", f"{theirs}.weight")]


# === Decoders ===


def _decoder_heads(language, tokens="score"):
    """Heads of a decoder, by the name of the class with the language head.

    Args:
        language: that name.
        tokens: name of the layer that classifies tokens.
    """
    name = language.removesuffix("ForCausalLM").removesuffix("LMHeadModel")
    return {
        "lm": (language, (Row("head/kernel", "lm_head.weight", True),)),
        None: (f"{name}Model", ()),
        "classifier": (f"{name}ForSequenceClassification",
                       (Row("classifier/kernel", "score.weight", True),)),
        "token_classifier": (f"{name}ForTokenClassification", tuple(_dense("classifier", tokens))),
    }  # fmt: skip


_QKV = " + ".join(f"block_{{i}}/attention/{name}/{{part}}" for name in ("query", "key", "value"))

GPT2 = Family(
    builder="GPT",
    fields={
        "vocab_size": "vocab_size", "num_layers": "n_layer", "d_model": "n_embd",
        "num_heads": "n_head", "ffn_dim": "n_inner", "max_length": "n_positions",
        "dropout": "resid_pdrop", "norm_epsilon": "layer_norm_epsilon",
        "activation": "activation_function", "tied": "tie_word_embeddings",
    },
    constants={},
    defaults={"n_inner": None, "resid_pdrop": 0.1, "layer_norm_epsilon": 1e-5,
              "activation_function": "gelu_new", "tie_word_embeddings": True},
    rows=(
        Row("token_embedding/embeddings", "wte.weight"),
        Row("positions/embeddings", "wpe.weight"),
        *_norm("block_{i}/attention_norm", "h.{i}.ln_1"),
        Row(_QKV.replace("{part}", "kernel"), "h.{i}.attn.c_attn.weight"),
        Row(_QKV.replace("{part}", "bias"), "h.{i}.attn.c_attn.bias"),
        *_dense("block_{i}/attention/output", "h.{i}.attn.c_proj", turned=False),
        *_norm("block_{i}/feed_forward_norm", "h.{i}.ln_2"),
        *_dense("block_{i}/feed_forward/up", "h.{i}.mlp.c_fc", turned=False),
        *_dense("block_{i}/feed_forward/down", "h.{i}.mlp.c_proj", turned=False),
        *_norm("final_norm", "ln_f"),
    ),
    prefix="transformer.",
    heads=_decoder_heads("GPT2LMHeadModel", tokens="classifier"),
    fixed={"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False,
           "add_cross_attention": False},
)  # fmt: skip


def _llama_like(architecture, qkv_bias=False, qk_norm=False, free=(), **fields):
    rows = [
        Row("token_embedding/embeddings", "embed_tokens.weight"),
        *_rms("block_{i}/attention_norm", "layers.{i}.input_layernorm"),
        *_rms("block_{i}/feed_forward_norm", "layers.{i}.post_attention_layernorm"),
        *_rms("final_norm", "norm"),
        *_dense("block_{i}/attention/output", "layers.{i}.self_attn.o_proj", False),
    ]
    for ours, theirs in (("query", "q"), ("key", "k"), ("value", "v")):
        attention = f"layers.{{i}}.self_attn.{theirs}"
        rows += _dense(f"block_{{i}}/attention/{ours}", f"{attention}_proj", qkv_bias)
        if qk_norm and ours != "value":
            rows += _rms(f"block_{{i}}/attention/{ours}_norm", f"{attention}_norm")
    for part in ("gate", "up", "down"):
        rows += _dense(f"block_{{i}}/feed_forward/{part}", f"layers.{{i}}.mlp.{part}_proj", False)
    return Family(
        builder="GPT",
        fields={
            "vocab_size": "vocab_size", "num_layers": "num_hidden_layers",
            "d_model": "hidden_size", "num_heads": "num_attention_heads",
            "num_kv_heads": "num_key_value_heads", "head_dim": "head_dim",
            "ffn_dim": "intermediate_size", "max_length": "max_position_embeddings",
            "norm_epsilon": "rms_norm_eps", "activation": "hidden_act",
            "tied": "tie_word_embeddings", **fields,
        },
        constants={"norm": "rms", "norm_first": True, "gated": True, "positions": "rotary",
                   "use_bias": False, "qkv_bias": qkv_bias, "qk_norm": qk_norm},
        defaults={"num_key_value_heads": None, "head_dim": None, "hidden_act": "silu",
                  "rms_norm_eps": 1e-6, "tie_word_embeddings": False, "sliding_window": None},
        rows=tuple(rows),
        prefix="model.",
        heads=_decoder_heads(architecture),
        fixed={"attention_bias": False, "mlp_bias": False, "partial_rotary_factor": 1.0},
        free=frozenset({"rotary_base", "rotary_scaling", *free}),
    )  # fmt: skip


def _mistral():
    like = _llama_like("MistralForCausalLM", window="sliding_window")
    return like._replace(defaults={**like.defaults, "sliding_window": 4096})


def _qwen(architecture, **options):
    """Blocks with and without a window; which has one stands in ``layer_types``."""
    like = _llama_like(architecture, free=("window_layers",), window="sliding_window", **options)
    defaults = {"use_sliding_window": False, "max_window_layers": 28, "sliding_window": 4096}
    return like._replace(defaults={**like.defaults, **defaults})


def _gemma3():
    """Four norms a block, each of one plus its weight; windows with positions of their own."""
    like = _llama_like("Gemma3ForCausalLM", qk_norm=True, window="sliding_window")
    names = {
        "block_{i}/feed_forward_norm/scale": "layers.{i}.pre_feedforward_layernorm.weight",
        "block_{i}/attention_post_norm/scale": "layers.{i}.post_attention_layernorm.weight",
        "block_{i}/feed_forward_post_norm/scale": "layers.{i}.post_feedforward_layernorm.weight",
    }
    rows = [row for row in like.rows if row.ours not in names]
    rows += [Row(ours, theirs) for ours, theirs in names.items()]
    text = _decoder_heads("Gemma3TextForCausalLM")
    del text["token_classifier"]
    return like._replace(
        heads={**text, "lm": like.heads["lm"]},
        fields={**like.fields, "activation": "hidden_activation"},
        constants={**like.constants, "post_norm": True, "embedding_scale": True},
        defaults={**like.defaults, "hidden_activation": "gelu_pytorch_tanh", "head_dim": 256,
                  "tie_word_embeddings": True, "sliding_window": 4096,
                  "sliding_window_pattern": 6, "query_pre_attn_scalar": 256,
                  "rope_theta": 1e6, "rope_local_base_freq": 1e4, "pad_token_id": 0},
        rows=tuple(row._replace(plus=1.0 if row.ours.endswith("/scale") else 0.0) for row in rows),
        fixed={"attention_bias": False, "final_logit_softcapping": None,
               "attn_logit_softcapping": None, "use_bidirectional_attention": False},
        same={"query_pre_attn_scalar": "head_dim"},
        free=like.free | {"window_layers", "window_rotary_base"},
    )  # fmt: skip


STARCODER2 = Family(
    builder="GPT",
    fields={  # ours: theirs
        "vocab_size": "vocab_size", "num_layers": "num_hidden_layers", "d_model": "hidden_size",
        "num_heads": "num_attention_heads", "num_kv_heads": "num_key_value_heads",
        "ffn_dim": "intermediate_size", "max_length": "max_position_embeddings",
        "dropout": "residual_dropout", "norm_epsilon": "norm_epsilon", "activation": "hidden_act",
        "tied": "tie_word_embeddings", "window": "sliding_window",
    },
    constants={"positions": "rotary"},  # beside what makes any GPT
    defaults={  # where config.json is silent
        "residual_dropout": 0.0, "norm_epsilon": 1e-5, "hidden_act": "gelu_pytorch_tanh",
        "tie_word_embeddings": True, "sliding_window": None,
    },
    rows=(
        Row("token_embedding/embeddings", "embed_tokens.weight"),
        *_norm("block_{i}/attention_norm", "layers.{i}.input_layernorm"),
        *_dense("block_{i}/attention/query", "layers.{i}.self_attn.q_proj"),
        *_dense("block_{i}/attention/key", "layers.{i}.self_attn.k_proj"),
        *_dense("block_{i}/attention/value", "layers.{i}.self_attn.v_proj"),
        *_dense("block_{i}/attention/output", "layers.{i}.self_attn.o_proj"),
        *_norm("block_{i}/feed_forward_norm", "layers.{i}.post_attention_layernorm"),
        *_dense("block_{i}/feed_forward/up", "layers.{i}.mlp.c_fc"),
        *_dense("block_{i}/feed_forward/down", "layers.{i}.mlp.c_proj"),
        *_norm("final_norm", "norm"),
    ),
    prefix="model.",
    heads=_decoder_heads("Starcoder2ForCausalLM"),
    fixed={"use_bias": True},  # other values are refused; written when saving
    free=frozenset({"rotary_base", "rotary_scaling"}),  # configs.py reads them
)  # fmt: skip


# === Encoders ===


def _encoder_rows(attention, output, output_norm, up, down, norm):
    names = zip(("query", "key", "value", "output"), (*attention, output), strict=True)
    return [
        *(row for ours, theirs in names for row in _dense(f"block_{{i}}/attention/{ours}", theirs)),
        *_norm("block_{i}/attention_norm", output_norm),
        *_dense("block_{i}/feed_forward/up", up),
        *_dense("block_{i}/feed_forward/down", down),
        *_norm("block_{i}/feed_forward_norm", norm),
    ]


_LAYER = "encoder.layer.{i}"
_BERT_BLOCK = _encoder_rows(
    [f"{_LAYER}.attention.self.{name}" for name in ("query", "key", "value")],
    f"{_LAYER}.attention.output.dense", f"{_LAYER}.attention.output.LayerNorm",
    f"{_LAYER}.intermediate.dense", f"{_LAYER}.output.dense", f"{_LAYER}.output.LayerNorm",
)  # fmt: skip
_BERT_FIELDS = {
    "vocab_size": "vocab_size", "num_layers": "num_hidden_layers", "d_model": "hidden_size",
    "num_heads": "num_attention_heads", "ffn_dim": "intermediate_size",
    "max_length": "max_position_embeddings", "dropout": "hidden_dropout_prob",
    "norm_epsilon": "layer_norm_eps", "activation": "hidden_act", "token_types": "type_vocab_size",
}  # fmt: skip
_BERT_DEFAULTS = {"hidden_dropout_prob": 0.1, "layer_norm_eps": 1e-12, "hidden_act": "gelu",
                  "type_vocab_size": 2, "max_position_embeddings": 512}  # fmt: skip
_POOLER = tuple(_dense("pooler", "{prefix}pooler.dense"))
_CLASSIFIER = tuple(_dense("classifier", "classifier"))
_SPAN = tuple(_dense("span", "qa_outputs"))


def _bert_like(name, skip, masked_lm, classifier, **heads):
    return Family(
        builder="BERT",
        fields=_BERT_FIELDS,
        constants={},
        defaults=_BERT_DEFAULTS,
        rows=(
            Row("token_embedding/embeddings", "embeddings.word_embeddings.weight"),
            Row("positions/embeddings", "embeddings.position_embeddings.weight", skip=skip),
            Row("token_type_embedding/embeddings", "embeddings.token_type_embeddings.weight"),
            *_norm("embedding_norm", "embeddings.LayerNorm"),
            *_BERT_BLOCK,
        ),
        prefix=f"{name.lower()}.",
        heads={
            None: (f"{name}Model", ()),
            "pooled": (f"{name}Model", _POOLER),
            "masked_lm": (f"{name}ForMaskedLM", masked_lm),
            "classifier": (f"{name}ForSequenceClassification", classifier),
            "token_classifier": (f"{name}ForTokenClassification", _CLASSIFIER),
            "span": (f"{name}ForQuestionAnswering", _SPAN),
            **heads,
        },
        fixed={"position_embedding_type": "absolute", "is_decoder": False},
    )


_NEXT = ("BertForNextSentencePrediction",
         (*_POOLER, *_dense("next_sentence", "cls.seq_relationship")))  # fmt: skip
BERT = _bert_like(
    "Bert", 0,
    (*_dense("masked_lm/transform", "cls.predictions.transform.dense"),
     *_norm("masked_lm/norm", "cls.predictions.transform.LayerNorm"),
     Row("token_bias/bias", "cls.predictions.bias")),
    (*_POOLER, *_CLASSIFIER), next_sentence=_NEXT,
)  # fmt: skip
ROBERTA = _bert_like(
    "Roberta", 2,
    (*_dense("masked_lm/transform", "lm_head.dense"),
     *_norm("masked_lm/norm", "lm_head.layer_norm"),
     Row("token_bias/bias", "lm_head.bias")),
    (*_dense("pooler", "classifier.dense"), *_dense("classifier", "classifier.out_proj")),
)  # fmt: skip
ROBERTA = ROBERTA._replace(
    constants={"activation": "gelu"},  # that of its head, whatever hidden_act is
    # Positions begin after the id of the padding.
    fixed={**ROBERTA.fixed, "hidden_act": "gelu", "pad_token_id": 1},
)
XLM_ROBERTA = ROBERTA._replace(
    heads={head: (name.replace("Roberta", "XLMRoberta"), rows)
           for head, (name, rows) in ROBERTA.heads.items()}
)  # fmt: skip

_DISTIL = "transformer.layer.{i}"
DISTILBERT = Family(
    builder="BERT",
    fields={"vocab_size": "vocab_size", "num_layers": "n_layers", "d_model": "dim",
            "num_heads": "n_heads", "ffn_dim": "hidden_dim",
            "max_length": "max_position_embeddings", "dropout": "dropout",
            "activation": "activation"},
    constants={"token_types": 0},
    defaults={"dropout": 0.1, "activation": "gelu", "max_position_embeddings": 512},
    rows=(
        Row("token_embedding/embeddings", "embeddings.word_embeddings.weight"),
        Row("positions/embeddings", "embeddings.position_embeddings.weight"),
        *_norm("embedding_norm", "embeddings.LayerNorm"),
        *_encoder_rows(
            [f"{_DISTIL}.attention.{name}_lin" for name in "qkv"], f"{_DISTIL}.attention.out_lin",
            f"{_DISTIL}.sa_layer_norm", f"{_DISTIL}.ffn.lin1", f"{_DISTIL}.ffn.lin2",
            f"{_DISTIL}.output_layer_norm",
        ),
    ),
    prefix="distilbert.",
    heads={
        None: ("DistilBertModel", ()),
        "masked_lm": (
            "DistilBertForMaskedLM",
            (*_dense("masked_lm/transform", "vocab_transform"),
             *_norm("masked_lm/norm", "vocab_layer_norm"),
             Row("token_bias/bias", "vocab_projector.bias")),
        ),
        "classifier": ("DistilBertForSequenceClassification",
                       (*_dense("pooler", "pre_classifier"), *_CLASSIFIER)),
        "token_classifier": ("DistilBertForTokenClassification", _CLASSIFIER),
        "span": ("DistilBertForQuestionAnswering", _SPAN),
    },
    options={"pooler_activation": "relu"},
)  # fmt: skip

# By ``model_type``.
FAMILIES = {
    "gpt2": GPT2,
    "bert": BERT,
    "roberta": ROBERTA,
    "xlm-roberta": XLM_ROBERTA,
    "distilbert": DISTILBERT,
    "llama": _llama_like("LlamaForCausalLM"),
    "mistral": _mistral(),
    "qwen2": _qwen("Qwen2ForCausalLM", qkv_bias=True),
    "qwen3": _qwen("Qwen3ForCausalLM", qk_norm=True),
    "gemma3_text": _gemma3(),
    "starcoder2": STARCODER2,
}
