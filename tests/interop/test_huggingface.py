"""Checkpoints beside Hugging Face's own implementation, tiny and random, and bad ones."""

import contextlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

import keraslm
from keraslm.interop import FAMILIES, decoders, load_huggingface, save_huggingface
from keraslm.models import BERT, GPT
from keraslm.tokenizers import Tokenizer

VOCAB = 120
SHAPES = {
    "n_layer": dict(vocab_size=VOCAB, n_layer=2, n_embd=32, n_head=4, n_positions=48),
    "num_hidden_layers": dict(vocab_size=VOCAB, num_hidden_layers=2, hidden_size=32,
                              num_attention_heads=4, intermediate_size=56,
                              max_position_embeddings=48),
    "n_layers": dict(vocab_size=VOCAB, n_layers=2, dim=32, n_heads=4, hidden_dim=56,
                     max_position_embeddings=48),
}  # fmt: skip
GROUPED = {"num_key_value_heads": 2, "head_dim": 8}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 12, "beta_slow": 2,
        "mscale": 0.7, "mscale_all_dim": 0.5, "truncate": False, "rope_theta": 1e4}  # fmt: skip
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 16, "rope_theta": 1e4}  # fmt: skip
LLAMA = dict(positions="rotary", norm="rms", gated=True, activation="silu", use_bias=False)
EAGER = {"attn_implementation": "eager"}  # the other implementations leave soft caps out
MIXED = ["sliding_attention", "full_attention"]
CASES = [
    ("gpt2", "GPT2LMHeadModel", {}),
    ("gpt2", "GPT2LMHeadModel", {"activation_function": "gelu", "n_inner": 48}),
    ("llama", "LlamaForCausalLM", {**GROUPED, "rope_parameters": LLAMA3}),
    ("llama", "LlamaForCausalLM", {"tie_word_embeddings": True}),
    ("llama", "LlamaForCausalLM", {"rope_parameters": YARN}),
    ("mistral", "MistralForCausalLM", {**GROUPED, "sliding_window": 5}),
    ("qwen2", "Qwen2ForCausalLM", {"num_key_value_heads": 2, "tie_word_embeddings": True}),
    ("qwen3", "Qwen3ForCausalLM", GROUPED),
    (
        "qwen2",
        "Qwen2ForCausalLM",
        {
            "num_key_value_heads": 2,
            "use_sliding_window": True,
            "sliding_window": 4,
            "max_window_layers": 1,
        },
    ),
    (
        "gemma3_text",
        "Gemma3ForCausalLM",
        {**GROUPED, "query_pre_attn_scalar": 8, "sliding_window": 4, "layer_types": MIXED},
    ),
    ("starcoder2", "Starcoder2ForCausalLM", {"num_key_value_heads": 2, "sliding_window": 6}),
    ("starcoder2", "Starcoder2ForCausalLM", {"num_key_value_heads": 2, "use_bias": False}),
    ("gpt2", "GPT2LMHeadModel", {"scale_attn_weights": False}),
    ("gpt2", "GPT2LMHeadModel", {"activation_function": "gelu_fast"}),
    ("llama", "LlamaForCausalLM", {**GROUPED, "attention_bias": True}),
    ("llama", "LlamaForCausalLM", {"mlp_bias": True}),
    ("llama", "LlamaForCausalLM", {"attention_bias": True, "mlp_bias": True}),
    ("qwen3", "Qwen3ForCausalLM", {**GROUPED, "attention_bias": True}),
    (
        "gemma3_text",
        "Gemma3ForCausalLM",
        {**GROUPED, "attention_bias": True, "layer_types": MIXED, "sliding_window": 4},
    ),
    ("gemma3_text", "Gemma3ForCausalLM", {**GROUPED, "layer_types": ["full_attention"] * 2}),
    (
        "gemma3_text",
        "Gemma3ForCausalLM",
        {**GROUPED, "layer_types": ["sliding_attention"] * 2, "sliding_window": 4},
    ),
    (
        "gemma3_text",
        "Gemma3ForCausalLM",
        {
            **GROUPED,
            **EAGER,
            "final_logit_softcapping": 3.0,
            "layer_types": MIXED,
            "sliding_window": 4,
        },
    ),
    (
        "gemma2",
        "Gemma2ForCausalLM",
        {**GROUPED, **EAGER, "query_pre_attn_scalar": 30, "sliding_window": 4},
    ),
    (
        "gemma2",
        "Gemma2ForCausalLM",
        {**GROUPED, **EAGER, "attn_logit_softcapping": 1.0, "final_logit_softcapping": None},
    ),
    ("phi3", "Phi3ForCausalLM", {"num_key_value_heads": 2, "pad_token_id": 0, "sliding_window": 6}),
    (
        "phi3",
        "Phi3ForCausalLM",
        {
            "pad_token_id": 0,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 500.0,
                "partial_rotary_factor": 0.5,
            },
        },
    ),
    ("gpt_neox", "GPTNeoXForCausalLM", {}),
    (
        "gpt_neox",
        "GPTNeoXForCausalLM",
        {"use_parallel_residual": False, "attention_bias": False, "hidden_act": "gelu_fast"},
    ),
    (
        "gpt_neox",
        "GPTNeoXForCausalLM",
        {
            "tie_word_embeddings": True,
            "rope_parameters": {
                "rope_type": "linear",
                "factor": 2.0,
                "rope_theta": 1e3,
                "partial_rotary_factor": 0.5,
            },
        },
    ),
    ("bert", "BertForMaskedLM", {}),
    ("bert", "BertModel", {}),
    ("bert", "BertForSequenceClassification", {"num_labels": 3}),
    ("bert", "BertForTokenClassification", {"num_labels": 5}),
    ("bert", "BertForQuestionAnswering", {}),
    ("bert", "BertForNextSentencePrediction", {}),
    ("roberta", "RobertaForMaskedLM", {"type_vocab_size": 1, "pad_token_id": 1}),
    ("roberta", "RobertaForSequenceClassification", {"type_vocab_size": 1, "pad_token_id": 1}),
    ("xlm-roberta", "XLMRobertaForMaskedLM", {"type_vocab_size": 1, "pad_token_id": 1}),
    ("distilbert", "DistilBertForMaskedLM", {}),
    ("distilbert", "DistilBertForSequenceClassification", {"num_labels": 3}),
]


@pytest.fixture(scope="module")
def torch():
    pytest.importorskip("transformers", reason="transformers is not installed")
    return pytest.importorskip("torch", reason="torch is not installed")


def theirs(torch, kind, architecture, options):
    """A model of `transformers` with random weights that are far from those of a new one."""
    import transformers

    torch.manual_seed(0)
    config_class = getattr(transformers, architecture).config_class
    key = {"gpt2": "n_layer", "distilbert": "n_layers"}.get(kind, "num_hidden_layers")
    config = config_class(**{**SHAPES[key], **options})
    model = getattr(transformers, architecture)(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def answers(torch, model, ids, mask):
    """Logits of `transformers`, or hidden states."""
    with torch.no_grad():
        found = model(
            input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask.astype("int64"))
        )
    if hasattr(found, "start_logits"):
        return torch.stack([found.start_logits, found.end_logits], -1).numpy()
    return (found.logits if hasattr(found, "logits") else found.last_hidden_state).numpy()


def batch():
    ids = np.random.default_rng(0).integers(3, VOCAB, (3, 20))
    mask = np.arange(20) < np.array([[20], [7], [1]])
    return np.where(mask, ids, 1), mask


@pytest.mark.parametrize(("kind", "architecture", "options"), CASES)
def test_the_same_numbers_and_back(torch, kind, architecture, options, tmp_path):
    model = theirs(torch, kind, architecture, options)
    model.save_pretrained(tmp_path / "theirs")
    ours = load_huggingface(tmp_path / "theirs")
    ids, mask = batch()
    wanted = answers(torch, model, ids, mask)
    inputs = {"token_ids": ids, "padding_mask": mask}
    found = np.asarray(ours(inputs, training=False))
    per_token = found.ndim == 3
    off = np.abs(found - wanted)
    assert (off[mask] if per_token else off).max() < 2e-4

    save_huggingface(ours, tmp_path / "ours")
    again = type(model).from_pretrained(tmp_path / "ours").eval()
    off = np.abs(answers(torch, again, ids, mask) - wanted)
    assert (off[mask] if per_token else off).max() < 2e-4


def test_greedy_text(torch, tmp_path):
    model = theirs(torch, "qwen3", "Qwen3ForCausalLM", GROUPED)
    model.save_pretrained(tmp_path)
    lm = keraslm.from_pretrained(tmp_path)
    prompt = [5, 6, 7]
    with torch.no_grad():
        wanted = model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=30,
                                min_new_tokens=30, pad_token_id=0)  # fmt: skip
    config = lm.generation_config.replace(max_new_tokens=30, stop_ids=())
    assert lm.generator.generate([prompt], config)[0].ids == wanted[0, 3:].tolist()
    with pytest.raises(ValueError, match="There is no tokenizer.*Use .model on ids"):
        lm.generate("text")


def test_shards_and_bfloat16(torch, tmp_path):
    model = theirs(torch, "llama", "LlamaForCausalLM", GROUPED).to(torch.bfloat16)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert (tmp_path / "model.safetensors.index.json").is_file()
    ids, mask = batch()
    found = np.asarray(load_huggingface(tmp_path)(ids[:1]))
    wanted = answers(torch, model.float(), ids[:1], mask[:1])
    assert np.abs(found - wanted).max() < 1e-3
    assert load_huggingface(tmp_path, dtype="bfloat16").compute_dtype == "bfloat16"
    shard = next(tmp_path.glob("model-00002*"))
    shard.unlink()
    with pytest.raises(FileNotFoundError, match=f"lacks the shard {shard.name}"):
        load_huggingface(tmp_path)


# === Without torch ===


@pytest.fixture
def folder(tmp_path):
    gpt = GPT(40, 1, 16, 2, max_length=24)
    return save_huggingface(gpt, tmp_path / "hf")


def change(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    for key, value in changes.items():
        config.pop(key) if value is None else config.update({key: value})
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    "model",
    [
        lambda: GPT(40, 2, 16, 2, max_length=24),
        lambda: GPT(40, 2, 16, 2, positions="rotary", norm="rms", gated=True, activation="silu",
                    use_bias=False, tied=False, num_kv_heads=1),
        lambda: BERT(40, 2, 16, 2, head="masked_lm"),
        lambda: BERT(40, 2, 16, 2, head="masked_lm", token_types=0),
        lambda: BERT(40, 2, 16, 2, head="classifier", num_classes=3, token_types=0,
                     pooler_activation="relu", norm_epsilon=1e-12),
    ],
)  # fmt: skip
def test_our_models_come_back(model, tmp_path):
    model = model()
    for weight in model.weights:
        weight.assign_add(0.1 * np.random.default_rng(0).normal(size=weight.shape))
    back = load_huggingface(save_huggingface(model, tmp_path / "hf"))
    ids = np.array([[5, 6, 7, 8]])
    assert np.abs(np.asarray(back(ids)) - np.asarray(model(ids))).max() < 1e-5


def test_a_shape_that_no_family_has(tmp_path):
    with pytest.raises(ValueError, match="No Hugging Face family has this shape: gpt2, bert"):
        save_huggingface(GPT(40, 1, 16, 2, positions="sinusoidal"), tmp_path / "hf")
    for odd in ({"num_kv_heads": 1}, {"head_dim": 4}, {"qkv_bias": False}):
        with pytest.raises(ValueError, match="No Hugging Face family has this shape"):
            save_huggingface(GPT(40, 1, 16, 2, **odd), tmp_path / "hf")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "mamba"}, "model_type='mamba'; known are gpt2, bert.*A family is a table"),
        ({"vocab_size": None}, "lacks vocab_size"),
        ({"vocab_size": 41}, "wte.weight' has shape .40, 16.*config.json does not fit"),
        ({"n_layer": 2}, "lacks 12 tensors that the model needs, such as 'transformer.h.1"),
        ({"n_head": 3}, "describes no model: num_heads must divide"),
        ({"n_embd": -16}, "n_embd=-16, which cannot be"),
        ({"resid_pdrop": float("nan")}, "resid_pdrop=nan, which cannot be"),
        ({"n_layer": "2"}, "n_layer='2', which cannot be"),
        ({"n_layer": 0}, "n_layer=0, which cannot be"),
        ({"layer_norm_epsilon": -1e-5}, "config.json has layer_norm_epsilon=-1e-05, which cannot"),
        ({"vocab_size": 10**12}, "wte.weight' has shape .40, 16.*is .1000000000000, 16"),
        ({"scale_attn_by_inverse_layer_idx": True}, "layer_idx=True; only False is supported"),
        ({"activation_function": "swoosh"}, "the activation 'swoosh'; known are gelu"),
    ],
)
def test_bad_configs(folder, changes, message):
    change(folder, **changes)
    with pytest.raises(ValueError, match=message):
        load_huggingface(folder)


GPT2_ODD = ["n_layer", "n_embd", "resid_pdrop", "activation_function", "architectures"]
LLAMA_ODD = ["num_key_value_heads", "rope_parameters", "rms_norm_eps", "tie_word_embeddings"]
QWEN_ODD = ["layer_types", "sliding_window"]
BERT_ODD = ["type_vocab_size", "architectures", "id2label", "model_type", "pad_token_id"]


@pytest.mark.parametrize(
    ("make", "family", "keys"),
    [
        (lambda: GPT(40, 2, 16, 2, max_length=24), "gpt2", GPT2_ODD),
        (lambda: GPT(40, 2, 16, 2, **LLAMA), "llama", LLAMA_ODD),
        (lambda: GPT(40, 2, 16, 2, **LLAMA, qkv_bias=True, window=4), "qwen2", QWEN_ODD),
        (lambda: BERT(40, 2, 16, 2, head="classifier", num_classes=3), "bert", BERT_ODD),
    ],
)
def test_odd_values_are_told(make, family, keys, tmp_path):
    folder = save_huggingface(make(), tmp_path / "hf", family=family)
    whole = (folder / "config.json").read_text()
    for key in keys:
        for odd in ("x", -1, 10**12, float("nan"), True, [], [1], {}, {"a": 1}):
            change(folder, **{key: odd})
            with contextlib.suppress(ValueError):  # and nothing else; some values may be left out
                keraslm.from_pretrained(folder)
            (folder / "config.json").write_text(whole)


@pytest.mark.parametrize(
    ("make", "family", "changes", "message"),
    [
        (lambda: BERT(40, 1, 16, 2, head="masked_lm"), "bert",
         {"tie_word_embeddings": False}, "tie_word_embeddings=False; a masked-LM head"),
        (lambda: BERT(40, 1, 16, 2, head="masked_lm"), "bert",
         {"position_embedding_type": "relative_key"}, "only 'absolute' is supported"),
        (lambda: BERT(40, 1, 16, 2, head="masked_lm"), "bert",
         {"type_vocab_size": 0}, "for which the model has no weight 'token_type"),
        (lambda: BERT(40, 1, 16, 2, head="masked_lm"), "roberta",
         {"hidden_act": "relu"}, "only 'gelu' is supported"),
        (lambda: BERT(40, 1, 16, 2, head="masked_lm"), "roberta",
         {"pad_token_id": 0}, "only 1 is supported"),
        (lambda: BERT(40, 1, 16, 2, head="classifier", num_classes=3), "bert",
         {"problem_type": "ranking"}, "config.json: problem_type must be one of single_label"),
        (lambda: BERT(40, 1, 16, 2, head="classifier", num_classes=3), "bert",
         {"id2label": {"0": "a", "2": "b", "3": "c"}}, "id2label=.*which cannot be"),
        (lambda: BERT(40, 1, 16, 2, head="classifier", num_classes=3), "bert",
         {"architectures": ["BertForNothing"]}, "'BertForNothing', whose head is not computed"),
        (lambda: GPT(40, 2, 16, 2, **LLAMA), "llama",
         {"num_hidden_layers": 10**9}, "has 1000000000 blocks, but the weights are only"),
        (lambda: GPT(40, 2, 16, 2, **LLAMA), "llama",
         {"rope_parameters": {"rope_type": "yarn", "factor": 0}}, "cannot be; received"),
    ],
)  # fmt: skip
def test_what_would_be_computed_wrongly_is_refused(make, family, changes, message, tmp_path):
    folder = save_huggingface(make(), tmp_path / "hf", family=family)
    change(folder, **changes)
    with pytest.raises(ValueError, match=message):
        keraslm.from_pretrained(folder)


# === What transformers computes otherwise ===


GEMMA = ("Gemma3ForCausalLM", {**GROUPED, "layer_types": MIXED, "sliding_window": 4})
NEOX = ("GPTNeoXForCausalLM", {})
QWEN = ("Qwen2ForCausalLM", {"num_key_value_heads": 2})
LINEAR = {"rope_type": "linear", "factor": 2.0}
# model_type, its class, changes of a saved config.json, part of the refusal; None: equal logits
FIELDS = [
    ("gpt2", "GPT2LMHeadModel", {}, {"scale_attn_weights": False}, None),
    ("gpt2", "GPT2LMHeadModel", {}, {"reorder_and_upcast_attn": True}, None),
    ("gpt2", "GPT2LMHeadModel", {}, {"scale_attn_by_inverse_layer_idx": True}, "inverse_layer_idx"),
    ("gpt2", "GPT2LMHeadModel", {}, {"add_cross_attention": True}, "add_cross_attention=True"),
    ("gpt2", "GPT2LMHeadModel", {}, {"layer_norm_epsilon": 0.1}, None),
    ("mistral", "MistralForCausalLM", {"sliding_window": 3},
     {"layer_types": ["full_attention", "sliding_attention"]}, "layer_types="),
    ("gpt2", "GPT2LMHeadModel", {}, {"activation_function": "relu"}, None),
    ("gpt2", "GPT2LMHeadModel", {}, {"activation_function": "quick_gelu"}, "'quick_gelu'"),
    ("gpt2", "GPT2LMHeadModel", {}, {"architectures": ["GPT2ForSequenceClassification"]},
     "lacks 1 tensors.*score.weight"),
    ("bert", "BertForMaskedLM", {}, {"is_decoder": True}, "is_decoder=True"),
    ("bert", "BertForMaskedLM", {}, {"hidden_act": "gelu_new"}, None),
    ("bert", "BertForMaskedLM", {}, {"layer_norm_eps": 0.1}, None),
    ("bert", "BertForMaskedLM", {}, {"chunk_size_feed_forward": 5}, None),
    ("roberta", "RobertaForMaskedLM", {"type_vocab_size": 1}, {"is_decoder": True}, "is_decoder"),
    ("roberta", "RobertaForMaskedLM", {"type_vocab_size": 1}, {"pad_token_id": 3}, "pad_token_id"),
    ("xlm-roberta", "XLMRobertaForMaskedLM", {"type_vocab_size": 1}, {"hidden_act": "relu"},
     "hidden_act='relu'"),
    ("distilbert", "DistilBertForMaskedLM", {}, {"sinusoidal_pos_embds": True}, None),
    ("distilbert", "DistilBertForMaskedLM", {}, {"activation": "relu"}, None),
    ("llama", "LlamaForCausalLM", {}, {"is_causal": False}, "is_causal=False; only True"),
    ("llama", "LlamaForCausalLM", {}, {"attention_bias": True}, "_proj.bias'"),
    ("llama", "LlamaForCausalLM", {"mlp_bias": True}, {"mlp_bias": False}, "_proj.bias"),
    ("llama", "LlamaForCausalLM", {}, {"partial_rotary_factor": 0.5}, "partial_rotary_factor=0.5"),
    ("llama", "LlamaForCausalLM", {}, {"rope_parameters": {"partial_rotary_factor": 0.5}},
     "partial_rotary_factor=0.5"),
    ("llama", "LlamaForCausalLM", {}, {"rope_scaling": LINEAR}, None),
    ("llama", "LlamaForCausalLM", {"rope_parameters": {"rope_type": "default", "rope_theta": 50.0}},
     {"rope_scaling": LINEAR}, None),
    ("llama", "LlamaForCausalLM", {}, {"rope_theta": 70.0, "rope_parameters": None}, None),
    ("llama", "LlamaForCausalLM", {}, {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}},
     "rope_type must be one of .*received 'dynamic'"),
    ("llama", "LlamaForCausalLM", {}, {"rope_scaling": {"factor": 2.0}}, "no rope_type that it"),
    ("llama", "LlamaForCausalLM", {}, {"rope_scaling": {**LINEAR, "foo": 1}}, "has no 'foo'"),
    ("llama", "LlamaForCausalLM", {}, {"rope_parameters": {"full_attention": LINEAR}}, "two kinds"),
    ("llama", "LlamaForCausalLM", {}, {"rms_norm_eps": 0.1}, None),
    ("llama", "LlamaForCausalLM", {}, {"pretraining_tp": 2}, None),
    ("llama", "LlamaForCausalLM", {}, {"hidden_act": "gelu"}, None),
    ("llama", "LlamaForCausalLM", {}, {"quantization_config": {"quant_method": "gptq", "bits": 4}},
     "quantization_config="),
    ("llama", "LlamaForCausalLM", {}, {"auto_map": {"AutoModelForCausalLM": "modeling_x.X"},
                                       "architectures": ["XForCausalLM"]}, "'XForCausalLM'"),
    ("mistral", "MistralForCausalLM", GROUPED, {"sliding_window": 3}, None),
    ("mistral", "MistralForCausalLM", GROUPED, {"sliding_window": None}, None),
    ("mistral", "MistralForCausalLM", GROUPED, {"sliding_window": 0}, "sliding_window=0"),
    ("mistral", "MistralForCausalLM", GROUPED, {"attention_bias": True}, "attention_bias=True"),
    ("mistral", "MistralForCausalLM", GROUPED, {"is_causal": False}, "is_causal=False"),
    ("qwen2", *QWEN, {"use_sliding_window": True, "sliding_window": 3, "layer_types": None,
                      "max_window_layers": 1}, None),
    ("qwen2", *QWEN, {"use_sliding_window": True, "sliding_window": 3, "layer_types": MIXED}, None),
    ("qwen2", *QWEN, {"layer_types": ["chunked_attention", "full_attention"],
                      "use_sliding_window": True}, "layer_types="),
    ("qwen3", "Qwen3ForCausalLM", GROUPED, {"attention_bias": True}, "_proj.bias'"),
    ("gemma3_text", *GEMMA, {"query_pre_attn_scalar": 3}, None),
    ("gemma3_text", *GEMMA, {"final_logit_softcapping": 2.0}, None),
    ("gemma3_text", *GEMMA, {"attn_logit_softcapping": 2.0}, "attn_logit_softcapping=2.0"),
    ("gemma3_text", *GEMMA, {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
    ("gemma3_text", *GEMMA, {"hidden_activation": "silu"}, None),
    ("gemma3_text", *GEMMA, {"rope_scaling": LINEAR}, None),
    ("gemma3_text", *GEMMA, {"rope_parameters": None, "rope_theta": 90.0,
                             "rope_local_base_freq": 30.0}, None),
    ("gemma3_text", *GEMMA, {"rope_parameters": {"full_attention": {"rope_theta": 5e5}}}, None),
    ("gemma3_text", *GEMMA, {"sliding_window": 2}, None),
    ("gemma3_text", *GEMMA, {"layer_types": ["full_attention"] * 2}, None),
    ("starcoder2", "Starcoder2ForCausalLM", QWEN[1], {"use_bias": False}, "bias'"),
    ("starcoder2", "Starcoder2ForCausalLM", QWEN[1], {"sliding_window": 3}, None),
    ("gpt_neox", *NEOX, {"use_parallel_residual": False}, None),
    ("gpt_neox", *NEOX, {"rope_parameters": None, "rotary_pct": 0.5, "rotary_emb_base": 70}, None),
    ("gpt_neox", *NEOX, {"attention_bias": False}, "bias'"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "architecture", "options", "changes", "message"), FIELDS)
def test_every_field_of_a_config_is_computed_or_refused(
    torch, kind, architecture, options, changes, message, tmp_path
):
    pad = {"pad_token_id": 1} if "roberta" in kind else {}
    model = theirs(torch, kind, architecture, {**options, **pad})
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **changes}))
    if message:
        with pytest.raises(ValueError, match=message) as error:
            load_huggingface(tmp_path)
        assert str(tmp_path) in str(error.value)
        return
    model = type(model).from_pretrained(tmp_path).eval()
    ids, mask = batch()
    found = load_huggingface(tmp_path)({"token_ids": ids, "padding_mask": mask}, training=False)
    wanted = answers(torch, model, ids, mask)
    assert np.abs(np.asarray(found) - wanted)[mask].max() < 2e-4
    if len(config) and changes.keys() - {"chunk_size_feed_forward", "reorder_and_upcast_attn",
                                         "sinusoidal_pos_embds", "pretraining_tp"}:  # fmt: skip
        first = answers(torch, theirs(torch, kind, architecture, {**options, **pad}), ids, mask)
        same = "rope_parameters" in changes or changes.get("sliding_window", 0) is None
        assert same or np.abs(first - wanted)[mask].max() > 1e-4, "the change changes nothing"


def rename(folder, change):
    """Change the tensors of a file: a function from a dict to a dict."""
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    save_file(change(tensors), folder / "model.safetensors")


def logits_of(torch, folder):
    import transformers

    ids, _ = batch()
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.no_grad():
        return ids, model(torch.tensor(ids)).logits.numpy()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", ["gpt2", "llama", "gpt_neox"])
def test_an_output_table_beside_a_tied_one_is_used(torch, kind, tied, tmp_path):
    """As transformers 5 does: what the file holds wins over tie_word_embeddings."""
    architecture = next(name for family, name, _ in CASES if family == kind)
    theirs(torch, kind, architecture, {"tie_word_embeddings": True}).save_pretrained(tmp_path)
    prefix = FAMILIES[kind].prefix
    table = {"gpt2": "wte", "llama": "embed_tokens", "gpt_neox": "embed_in"}[kind]
    noise = 0.0 if tied else np.random.default_rng(1).normal(size=(VOCAB, 32)).astype("float32")
    rename(tmp_path, lambda t: {**t, "lm_head.weight": t[f"{prefix}{table}.weight"] + noise})
    ids, wanted = logits_of(torch, tmp_path)
    model = load_huggingface(tmp_path)
    assert model.transformer_config.tied is tied
    assert np.abs(np.asarray(model(ids)) - wanted).max() < 2e-4


@pytest.mark.parametrize("words", ["_orig_mod.", "module.", "module._orig_mod."])
def test_names_with_the_words_of_a_wrapper(words, folder):
    before = np.asarray(load_huggingface(folder)(np.array([[5, 6, 7]])))
    rename(folder, lambda t: {words + name: value for name, value in t.items()})
    np.testing.assert_array_equal(load_huggingface(folder)(np.array([[5, 6, 7]])), before)


def test_a_tied_table_under_the_name_of_the_head(folder):
    before = np.asarray(load_huggingface(folder)(np.array([[5, 6, 7]])))
    rename(folder, lambda t: {
        n.replace("transformer.wte.weight", "lm_head.weight"): v for n, v in t.items()
    })  # fmt: skip
    np.testing.assert_array_equal(load_huggingface(folder)(np.array([[5, 6, 7]])), before)


def test_names_with_a_compiled_part(folder):
    before = np.asarray(load_huggingface(folder)(np.array([[5, 6, 7]])))
    rename(folder, lambda t: {n.replace("h.0.", "h.0._orig_mod."): v for n, v in t.items()})
    np.testing.assert_array_equal(load_huggingface(folder)(np.array([[5, 6, 7]])), before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {**t, "transformer.h.0.attn.c_attn.lora_A.default.weight": np.zeros((4, 16))},
         "has tensors of an adapter, such as 'transformer.h.0.*merge_and_unload"),
        (lambda t: {n.replace("c_attn.w", "c_attn.base_layer.w"): v for n, v in t.items()},
         "has tensors of an adapter, such as .*base_layer"),
        (lambda t: {**t, "transformer.embeddings_project.weight": np.zeros((4, 16))},
         "1 tensors that the model does not have, such as 'transformer.embeddings_project.weight'"),
        (lambda t: {**t, "lm_head.bias": np.zeros(40)}, "such as 'lm_head.bias'"),
        (lambda t: {**t, "vision_tower.patch.weight": np.zeros(40)}, "such as 'vision_tower"),
        (lambda t: {**t, "transformer.h.0.attn.c_attn.qweight": np.zeros(4)}, "c_attn.qweight'"),
        (lambda t: {**t, **{f"_orig_mod.{n}": v for n, v in t.items()}}, "some tensors twice"),
    ],
)  # fmt: skip
def test_tensors_of_another_model_are_refused(change, message, folder):
    rename(folder, change)
    with pytest.raises(ValueError, match=message):
        load_huggingface(folder)


@pytest.mark.parametrize("alone", [True, False])
def test_an_adapter_is_refused(alone, folder):
    adapter = {"peft_type": "LORA", "base_model_name_or_path": "someone/base", "r": 4}
    (folder / "adapter_config.json").write_text(json.dumps(adapter))
    if alone:
        (folder / "config.json").unlink()
    for load in (load_huggingface, keraslm.from_pretrained):
        with pytest.raises(
            ValueError, match=r"adapter_config.json makes this an adapter of 'someo"
        ):
            load(folder)


def test_a_masked_lm_head_with_a_table_of_its_own_is_refused(tmp_path):
    folder = save_huggingface(BERT(40, 1, 16, 2, head="masked_lm"), tmp_path, family="bert")
    rename(folder, lambda t: {
        **t, "cls.predictions.decoder.weight": t["bert.embeddings.word_embeddings.weight"] + 0.0
    })  # fmt: skip
    load_huggingface(folder)
    rename(folder, lambda t: {
        **t, "cls.predictions.decoder.weight": t["bert.embeddings.word_embeddings.weight"] + 1.0
    })  # fmt: skip
    with pytest.raises(ValueError, match=r"'cls.predictions.decoder.weight' is not 'bert.embed"):
        load_huggingface(folder)
    assert load_huggingface(folder, head=None).head is None


def test_a_tokenizer_that_roberta_cannot_have(articles, tmp_path):
    tokenizer = Tokenizer.train(articles, "wordpiece", 300)  # its padding has the id 0
    bert = BERT(tokenizer.vocab_size, 1, 16, 2, head="masked_lm")
    with pytest.raises(ValueError, match="whose id must be 1; here it is 0. Save with family='be"):
        save_huggingface(bert, tmp_path / "hf", family="roberta", tokenizer=tokenizer)
    assert not (tmp_path / "hf").exists()


def test_bad_files(folder, tmp_path):
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    header = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 800]}}).encode()
    for content in (whole[:500], b"\xff" * 8 + whole[8:], b"", len(header).to_bytes(8, "little")
                    + header + bytes(8)):  # fmt: skip
        weights.write_bytes(content)
        with pytest.raises(ValueError, match="is damaged"):
            load_huggingface(folder)
    weights.unlink()
    with pytest.raises(FileNotFoundError, match=r"has no model\.safetensors"):
        load_huggingface(folder)
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ValueError, match="loading a pickle can run any program.*save_pretrained"):
        load_huggingface(folder)
    index = {"weight_map": {"a": "../../secret.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="names a file outside its folder"):
        load_huggingface(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        load_huggingface(folder)


def test_tensors_that_share_their_bytes(folder):
    tensor = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    header = json.dumps({"a": tensor, "b": tensor}).encode()
    content = len(header).to_bytes(8, "little") + header + bytes(8)
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="is damaged"):
        load_huggingface(folder)


def test_progress(folder, capfd):
    load_huggingface(folder, progress=True)
    assert capfd.readouterr().err.endswith("Loading hf: 100%\n")
    load_huggingface(folder)
    assert not capfd.readouterr().err


def test_tokenizer_that_does_not_fit(folder, lm):
    lm.tokenizer.save(folder / "tokenizer.json")
    with pytest.raises(ValueError, match="the tokenizer has 600 tokens, the model 40"):
        keraslm.from_pretrained(folder)
    data = json.loads(Tokenizer.train(["a b c"] * 9, "word", None).to_json())
    data["model"]["vocab"]["c"] = 40  # a hole before it
    (folder / "tokenizer.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match="the tokenizer has 41 tokens, the model 40"):
        keraslm.from_pretrained(folder)


def test_text_generator_both_ways(lm, tmp_path):
    folder = lm.save_huggingface(tmp_path / "hf")
    back = keraslm.from_pretrained(folder)
    assert back.generate("The government", max_new_tokens=8) == lm.generate(
        "The government", max_new_tokens=8
    )
    assert back.generation_config.stop_ids == lm.generation_config.stop_ids


def test_transformers_takes_our_tokenizers(torch, articles, tmp_path):
    import transformers

    for kind, size in (("bpe", 500), ("char", None), ("word", 500), ("wordpiece", 500)):
        tokenizer = Tokenizer.train(articles, kind, size)
        builder = BERT if kind == "wordpiece" else GPT
        model = builder(tokenizer.vocab_size, 1, 16, 2)
        folder = save_huggingface(model, tmp_path / kind, tokenizer=tokenizer)
        theirs = transformers.AutoTokenizer.from_pretrained(folder)
        for text in (*articles[:20], "", "  a  b\n\n c", "中文 Ünï [MASK] <|endoftext|> x"):
            ids = tokenizer.encode(text, add_special_tokens=True)
            assert theirs(text).input_ids == ids
            assert theirs.decode(ids, skip_special_tokens=True) == tokenizer.decode(ids)
        assert theirs.eos_token_id == tokenizer.eos_id


def test_names_on_the_hub(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FileNotFoundError, match="No folder nobody/nothing.*among the downloads"):
        keraslm.from_pretrained("nobody/nothing", offline=True)
    with pytest.raises(FileNotFoundError, match="No model at no/such/folder"):
        keraslm.from_pretrained("no/such/folder")


def test_downloads_are_found_without_a_network(lm, monkeypatch, tmp_path):
    """As huggingface_hub keeps them: a commit a folder, a branch a file."""
    constants = pytest.importorskip("huggingface_hub.constants", reason="needs huggingface_hub")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    kept = tmp_path / "models--someone--tiny"
    commits = ["a" * 40, "b" * 40]
    for commit, name in zip(commits, ("main", "v1"), strict=True):
        (kept / "refs").mkdir(parents=True, exist_ok=True)
        (kept / "refs" / name).write_text(commit)
    lm.save_huggingface(kept / "snapshots" / commits[0])
    save_huggingface(GPT(40, 1, 16, 2), kept / "snapshots" / commits[1])
    found = keraslm.from_pretrained("someone/tiny", offline=True)
    assert found.generate("The", max_new_tokens=4) == lm.generate("The", max_new_tokens=4)
    for revision in ("v1", commits[1]):
        pinned = keraslm.from_pretrained("someone/tiny", revision=revision, offline=True)
        assert pinned.model.vocab_size == 40 and pinned.tokenizer is None
    with pytest.raises(FileNotFoundError, match="no such model among the downloads"):
        keraslm.from_pretrained("someone/tiny", revision="v2", offline=True)
    kept.rename(tmp_path / "models--openai-community--gpt2")  # as people write it
    assert keraslm.from_pretrained("gpt2", revision="v1", offline=True).model.vocab_size == 40
    with pytest.raises(FileNotFoundError, match="No model at gtp2"):
        keraslm.from_pretrained("gtp2")


def test_every_family_is_tried(torch):
    assert {kind for kind, _, _ in CASES} == set(FAMILIES)


def test_the_example_of_the_page_is_the_real_one():
    page = Path(__file__).parents[2] / "docs" / "huggingface.md"
    if not page.is_file():
        pytest.skip("not a clone of the repository")
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    (family,) = [block for block in blocks if block.startswith("STARCODER2")]
    assert family in Path(decoders.__file__).read_text(encoding="utf-8")
    (case,) = [block for block in blocks if block.strip().startswith('("starcoder2"')]
    assert case in Path(__file__).read_text(encoding="utf-8")
