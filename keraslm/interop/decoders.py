"""Hugging Face's decoders as data: see `keraslm.interop.families`."""

from keraslm.interop.rows import Family, Row, decoder_heads, dense, norm, rms

_QKV = " + ".join(f"block_{{i}}/attention/{name}/{{part}}" for name in ("query", "key", "value"))

GPT2 = Family(
    builder="GPT",
    fields={
        "vocab_size": "vocab_size", "num_layers": "n_layer", "d_model": "n_embd",
        "num_heads": "n_head", "ffn_dim": "n_inner", "max_length": "n_positions",
        "dropout": "resid_pdrop", "norm_epsilon": "layer_norm_epsilon",
        "activation": "activation_function", "tied": "tie_word_embeddings",
        "attention_scale": "scale_attn_weights",
    },
    constants={},
    defaults={"scale_attn_weights": True, "n_inner": None, "resid_pdrop": 0.1,
              "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new",
              "tie_word_embeddings": True},
    rows=(
        Row("token_embedding/embeddings", "wte.weight"),
        Row("positions/embeddings", "wpe.weight"),
        *norm("block_{i}/attention_norm", "h.{i}.ln_1"),
        Row(_QKV.replace("{part}", "kernel"), "h.{i}.attn.c_attn.weight"),
        Row(_QKV.replace("{part}", "bias"), "h.{i}.attn.c_attn.bias"),
        *dense("block_{i}/attention/output", "h.{i}.attn.c_proj", turned=False),
        *norm("block_{i}/feed_forward_norm", "h.{i}.ln_2"),
        *dense("block_{i}/feed_forward/up", "h.{i}.mlp.c_fc", turned=False),
        *dense("block_{i}/feed_forward/down", "h.{i}.mlp.c_proj", turned=False),
        *norm("final_norm", "ln_f"),
    ),
    prefix="transformer.",
    heads=decoder_heads("GPT2LMHeadModel", tokens="classifier"),
    fixed={"scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False},
)  # fmt: skip


_ATTENTION_BIAS = {"qkv_bias": "attention_bias", "output_bias": "attention_bias"}
_ROTARY = frozenset({"rotary_base", "rotary_scaling"})  # configs.py reads them


def _llama_like(architecture, qkv_bias=None, qk_norm=False, free=(), biases=(), **fields):
    """Llama and its kin. ``qkv_bias``: always there or never; default: ``biases`` say it."""
    rows = [
        Row("token_embedding/embeddings", "embed_tokens.weight"),
        *rms("block_{i}/attention_norm", "layers.{i}.input_layernorm"),
        *rms("block_{i}/feed_forward_norm", "layers.{i}.post_attention_layernorm"),
        *rms("final_norm", "norm"),
        *dense("block_{i}/attention/output", "layers.{i}.self_attn.o_proj"),
    ]
    for ours, theirs in (("query", "q"), ("key", "k"), ("value", "v")):
        attention = f"layers.{{i}}.self_attn.{theirs}"
        rows += dense(f"block_{{i}}/attention/{ours}", f"{attention}_proj")
        if qk_norm and ours != "value":
            rows += rms(f"block_{{i}}/attention/{ours}_norm", f"{attention}_norm")
    for part in ("gate", "up", "down"):
        rows += dense(f"block_{{i}}/feed_forward/{part}", f"layers.{{i}}.mlp.{part}_proj")
    biases = dict(biases)
    fixed = {key: False for key in ("attention_bias", "mlp_bias") if key not in biases.values()}
    return Family(
        builder="GPT",
        fields={
            "vocab_size": "vocab_size", "num_layers": "num_hidden_layers",
            "d_model": "hidden_size", "num_heads": "num_attention_heads",
            "num_kv_heads": "num_key_value_heads", "head_dim": "head_dim",
            "ffn_dim": "intermediate_size", "max_length": "max_position_embeddings",
            "norm_epsilon": "rms_norm_eps", "activation": "hidden_act",
            "tied": "tie_word_embeddings", **biases, **fields,
        },
        constants={"norm": "rms", "norm_first": True, "gated": True, "positions": "rotary",
                   "use_bias": False, "qk_norm": qk_norm,
                   **({} if biases else {"qkv_bias": bool(qkv_bias)})},
        defaults={"num_key_value_heads": None, "head_dim": None, "hidden_act": "silu",
                  "rms_norm_eps": 1e-6, "tie_word_embeddings": False, "sliding_window": None,
                  **dict.fromkeys(biases.values(), False)},
        rows=tuple(rows),
        prefix="model.",
        heads=decoder_heads(architecture),
        fixed=fixed,
        free=_ROTARY.union(free),
    )  # fmt: skip


def _with_defaults(family, **defaults):
    return family._replace(defaults={**family.defaults, **defaults})


LLAMA = _llama_like(
    "LlamaForCausalLM", biases={**_ATTENTION_BIAS, "ffn_bias": "mlp_bias"}
)  # fmt: skip
MISTRAL = _with_defaults(
    _llama_like("MistralForCausalLM", window="sliding_window"),
    sliding_window=4096, num_key_value_heads=8,
)  # fmt: skip


def _qwen(architecture, **options):
    """Blocks with and without a window; which has one stands in ``layer_types``."""
    like = _llama_like(architecture, free=("window_layers",), window="sliding_window", **options)
    return _with_defaults(
        like, use_sliding_window=False, max_window_layers=28, sliding_window=4096,
        num_key_value_heads=32,
    )  # fmt: skip


QWEN2 = _qwen("Qwen2ForCausalLM", qkv_bias=True)
QWEN3 = _with_defaults(
    _qwen("Qwen3ForCausalLM", qk_norm=True, biases=_ATTENTION_BIAS), head_dim=128
)  # fmt: skip


def _gemma(architecture, free=(), **options):
    """Four norms a block, each of one plus its weight; every so many blocks have no window."""
    like = _llama_like(
        architecture, biases=_ATTENTION_BIAS, free=("window_layers", *free),
        window="sliding_window", attention_scale="query_pre_attn_scalar",
        logits_softcap="final_logit_softcapping", **options,
    )  # fmt: skip
    names = {
        "block_{i}/feed_forward_norm/scale": "layers.{i}.pre_feedforward_layernorm.weight",
        "block_{i}/attention_post_norm/scale": "layers.{i}.post_attention_layernorm.weight",
        "block_{i}/feed_forward_post_norm/scale": "layers.{i}.post_feedforward_layernorm.weight",
    }
    rows = [row for row in like.rows if row.ours not in names]
    rows += [Row(ours, theirs) for ours, theirs in names.items()]
    like = like._replace(
        fields={**like.fields, "activation": "hidden_activation"},
        constants={**like.constants, "post_norm": True, "embedding_scale": True},
        rows=tuple(row._replace(plus=1.0 if row.ours.endswith("/scale") else 0.0) for row in rows),
        fixed={"use_bidirectional_attention": False},
    )
    return _with_defaults(
        like, hidden_activation="gelu_pytorch_tanh", head_dim=256, num_key_value_heads=4,
        tie_word_embeddings=True, sliding_window=4096, query_pre_attn_scalar=256,
    )  # fmt: skip


GEMMA2 = _with_defaults(
    _gemma("Gemma2ForCausalLM", attention_softcap="attn_logit_softcapping"),
    sliding_window_pattern=2, attn_logit_softcapping=50.0, final_logit_softcapping=30.0,
    pad_token_id=0,
)  # fmt: skip
GEMMA3 = _with_defaults(
    _gemma("Gemma3ForCausalLM", qk_norm=True, free=("window_rotary_base",)),
    sliding_window_pattern=6, final_logit_softcapping=None,
    rope_theta=1e6, rope_local_base_freq=1e4, pad_token_id=0,
)  # fmt: skip
# transformers reads it and does not compute it.
GEMMA3 = GEMMA3._replace(
    fixed={**GEMMA3.fixed, "attn_logit_softcapping": None},
    heads=decoder_heads("Gemma3ForCausalLM", tokens=None, text="Text"),
)


def _phi3():
    """Llama with the projections of attention, and those of the gated network, side by side."""
    like = _llama_like("Phi3ForCausalLM", dropout="resid_pdrop", window="sliding_window",
                       free=("rotary_fraction",))  # fmt: skip
    fused = {
        "layers.{i}.self_attn.qkv_proj.weight": _QKV.replace("{part}", "kernel"),
        "layers.{i}.mlp.gate_up_proj.weight": " + ".join(
            f"block_{{i}}/feed_forward/{part}/kernel" for part in ("gate", "up")
        ),
    }
    apart = {ours for row in fused.values() for ours in row.split(" + ")}
    rows = [row for row in like.rows if row.ours not in apart and not row.ours.endswith("/bias")]
    rows += [Row(ours, theirs, turned=True) for theirs, ours in fused.items()]
    return _with_defaults(
        like._replace(rows=tuple(rows), written={"pad_token_id": None, "eos_token_id": None}),
        rms_norm_eps=1e-5, resid_pdrop=0.0,
        original_max_position_embeddings=4096,
    )  # fmt: skip


PHI3 = _phi3()
GPT_NEOX = Family(
    builder="GPT",
    fields={
        "vocab_size": "vocab_size", "num_layers": "num_hidden_layers", "d_model": "hidden_size",
        "num_heads": "num_attention_heads", "ffn_dim": "intermediate_size",
        "max_length": "max_position_embeddings", "dropout": "hidden_dropout",
        "norm_epsilon": "layer_norm_eps", "activation": "hidden_act",
        "tied": "tie_word_embeddings", "parallel_residual": "use_parallel_residual",
        **_ATTENTION_BIAS,
    },
    constants={"positions": "rotary"},
    defaults={
        "hidden_dropout": 0.0, "layer_norm_eps": 1e-5, "hidden_act": "gelu",
        "tie_word_embeddings": False, "use_parallel_residual": True, "attention_bias": True,
        "rotary_pct": 0.25,
    },
    rows=(
        Row("token_embedding/embeddings", "embed_in.weight"),
        *norm("block_{i}/attention_norm", "layers.{i}.input_layernorm"),
        Row(_QKV.replace("{part}", "kernel"), "layers.{i}.attention.query_key_value.weight",
            turned=True, by_head=True),
        Row(_QKV.replace("{part}", "bias"), "layers.{i}.attention.query_key_value.bias",
            by_head=True),
        *dense("block_{i}/attention/output", "layers.{i}.attention.dense"),
        *norm("block_{i}/feed_forward_norm", "layers.{i}.post_attention_layernorm"),
        *dense("block_{i}/feed_forward/up", "layers.{i}.mlp.dense_h_to_4h"),
        *dense("block_{i}/feed_forward/down", "layers.{i}.mlp.dense_4h_to_h"),
        *norm("final_norm", "final_layer_norm"),
    ),
    prefix="gpt_neox.",
    heads=decoder_heads("GPTNeoXForCausalLM", tokens="classifier"),
    free=_ROTARY | {"rotary_fraction"},
)  # fmt: skip


STARCODER2 = Family(
    builder="GPT",
    fields={  # ours: theirs
        "vocab_size": "vocab_size", "num_layers": "num_hidden_layers", "d_model": "hidden_size",
        "num_heads": "num_attention_heads", "num_kv_heads": "num_key_value_heads",
        "ffn_dim": "intermediate_size", "max_length": "max_position_embeddings",
        "dropout": "residual_dropout", "norm_epsilon": "norm_epsilon", "activation": "hidden_act",
        "tied": "tie_word_embeddings", "window": "sliding_window", "use_bias": "use_bias",
    },
    constants={"positions": "rotary"},  # beside what makes any GPT
    defaults={  # where config.json is silent
        "use_bias": True, "residual_dropout": 0.0, "norm_epsilon": 1e-5,
        "hidden_act": "gelu_pytorch_tanh", "tie_word_embeddings": True, "sliding_window": None,
    },
    rows=(
        Row("token_embedding/embeddings", "embed_tokens.weight"),
        *norm("block_{i}/attention_norm", "layers.{i}.input_layernorm"),
        *dense("block_{i}/attention/query", "layers.{i}.self_attn.q_proj"),
        *dense("block_{i}/attention/key", "layers.{i}.self_attn.k_proj"),
        *dense("block_{i}/attention/value", "layers.{i}.self_attn.v_proj"),
        *dense("block_{i}/attention/output", "layers.{i}.self_attn.o_proj"),
        *norm("block_{i}/feed_forward_norm", "layers.{i}.post_attention_layernorm"),
        *dense("block_{i}/feed_forward/up", "layers.{i}.mlp.c_fc"),
        *dense("block_{i}/feed_forward/down", "layers.{i}.mlp.c_proj"),
        *norm("final_norm", "norm"),
    ),
    prefix="model.",
    heads=decoder_heads("Starcoder2ForCausalLM"),
    free=_ROTARY,
)  # fmt: skip
