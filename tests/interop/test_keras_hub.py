"""Models beside KerasHub's backbones, tiny and random, and what neither side can hold."""

import sys

import numpy as np
import pytest
from keras import ops

from keraslm.interop.huggingface import weights_of
from keraslm.interop.keras_hub import from_keras_hub, to_keras_hub
from keraslm.models import BERT, GPT

VOCAB, LENGTH = 60, 12
SIZES = dict(vocabulary_size=VOCAB, num_layers=2, hidden_dim=24, intermediate_dim=40)
PLAIN = dict(**SIZES, num_heads=4, max_sequence_length=LENGTH, dropout=0.2)
GROUPED = dict(**SIZES, num_query_heads=4, num_key_value_heads=2, rope_max_wavelength=500)
LLAMA3 = dict(rope_frequency_adjustment_factor=8.0, rope_low_freq_factor=1.0,
              rope_high_freq_factor=4.0, rope_pretraining_sequence_length=16)  # fmt: skip
CASES = [
    ("GPT2Backbone", PLAIN),
    ("LlamaBackbone", GROUPED),
    ("LlamaBackbone", {**GROUPED, **LLAMA3, "tie_word_embeddings": True}),
    ("MistralBackbone", {**GROUPED, "sliding_window": 3, "head_dim": 8}),
    ("QwenBackbone", {**GROUPED, "layer_norm_epsilon": 1e-5}),
    ("BertBackbone", {**PLAIN, "num_segments": 3}),
    ("RobertaBackbone", PLAIN),
    ("DistilBertBackbone", PLAIN),
]
OURS = dict(vocab_size=VOCAB, num_layers=1, d_model=16, num_heads=2, max_length=LENGTH)
LLAMA = dict(OURS, norm="rms", positions="rotary", activation="silu", gated=True, use_bias=False)


@pytest.fixture(scope="module")
def hub():
    return pytest.importorskip("keras_hub", reason="KerasHub is not installed").models


def shaken(model):
    """The model with weights far from new ones: a new norm hides another, a new bias a lost one."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(weight + 0.2 * rng.normal(size=weight.shape))
    return model


def batch():
    """Ids, token types, and a mask with padding of three lengths."""
    rng, mask = np.random.default_rng(1), np.arange(LENGTH) < np.array([[LENGTH], [5], [1]])
    return rng.integers(0, VOCAB, mask.shape), rng.integers(0, 3, mask.shape), mask


def hidden_of_ours(model):
    ids, types, mask = batch()  # a trunk without token types takes no notice of them
    return model.trunk(ids, token_types=types, attention_mask=mask, training=False)


def outputs_of_theirs(backbone):
    ids, types, mask = batch()
    inputs = {"token_ids": ids, "segment_ids": types, "padding_mask": mask.astype("int32")}
    outputs = backbone({key: inputs[key] for key in backbone.input}, training=False)
    return outputs if isinstance(outputs, dict) else {"sequence_output": outputs}


def off(ours, theirs):
    """The largest difference where there is no padding."""
    return np.abs(ops.convert_to_numpy(ours - theirs))[batch()[2]].max()


@pytest.mark.parametrize(("name", "options"), CASES)
def test_the_same_numbers_and_back(hub, name, options):
    theirs = shaken(getattr(hub, name)(**options))
    ours = from_keras_hub(theirs, **({"head": "pooled"} if name == "BertBackbone" else {}))
    wanted = (outputs := outputs_of_theirs(theirs))["sequence_output"]
    assert off(hidden_of_ours(ours), wanted) < 2e-5
    assert ours.transformer_config.dropout == options.get("dropout", 0)
    ids, types, mask = batch()
    inputs = {"token_ids": ids, "padding_mask": mask}
    if isinstance(ours, GPT):
        assert off(ours(inputs), theirs.token_embedding(wanted, reverse=True)) < 1e-5
    if name == "BertBackbone":
        pooled = ours({**inputs, "token_types": types})
        np.testing.assert_allclose(pooled, outputs["pooled_output"], atol=1e-5)
    # From a model of ours that was none of theirs, and to ours again.
    ours = shaken(type(ours).from_config(ours.get_config()))
    assert type(back := to_keras_hub(ours)) is type(theirs)
    assert off(hidden_of_ours(ours), outputs_of_theirs(back)["sequence_output"]) < 1e-5
    again = from_keras_hub(back, head=getattr(ours, "head", None))
    weights, found = weights_of(ours), weights_of(again)
    assert set(weights) == set(found)
    assert all(np.array_equal(weights[path], found[path]) for path in weights)


def test_a_task_an_old_name_and_dtypes(hub):
    old = pytest.importorskip("keras_nlp").models
    backbone = old.GPT2Backbone(**PLAIN, dtype="mixed_bfloat16")
    ours = from_keras_hub(hub.GPT2CausalLM(backbone=backbone))
    assert ours.dtype_policy.name == to_keras_hub(ours).dtype_policy.name == "mixed_bfloat16"
    assert from_keras_hub(backbone, dtype="float32").dtype_policy.name == "float32"
    assert from_keras_hub(hub.Llama3Backbone(**GROUPED), max_length=77).max_length == 77
    bert = from_keras_hub(hub.BertBackbone(**PLAIN))
    assert bert.head is None and type(to_keras_hub(bert)) is hub.BertBackbone


def test_what_we_cannot_hold(hub):
    gpt2 = hub.GPT2Backbone(**PLAIN)
    with pytest.raises(ValueError, match="must be one of GPT2Backbone.*received a OPTBackbone"):
        from_keras_hub(hub.OPTBackbone(**PLAIN))
    with pytest.raises(ValueError, match="head must be one of .*GPT2Backbone; received 'pooled'"):
        from_keras_hub(gpt2, head="pooled")
    with pytest.raises(ValueError, match="max_length is 12 in this GPT2.*received 99"):
        from_keras_hub(gpt2, max_length=99)
    with pytest.raises(ValueError, match="dropout must be 0 in a LlamaBackbone.*received 0.1"):
        from_keras_hub(hub.LlamaBackbone(**GROUPED, dropout=0.1))
    with pytest.raises(ValueError, match="rope_scaling_factor must be 1 .*received 4.0"):
        from_keras_hub(hub.MistralBackbone(**GROUPED, rope_scaling_factor=4.0))
    with pytest.raises(ValueError, match="a BertTextClassifier, whose head would be lost"):
        from_keras_hub(hub.BertTextClassifier(backbone=hub.BertBackbone(**PLAIN), num_classes=2))


def test_adapters_of_keras_are_merged(hub):
    gpt2 = hub.GPT2Backbone(**PLAIN)
    layer = gpt2.get_layer("transformer_layer_0")._feedforward_output_dense
    layer.enable_lora(2)
    layer.lora_kernel_b.assign(np.random.default_rng(0).normal(size=layer.lora_kernel_b.shape))
    ids = np.array([[1, 2, 3, 4]])
    mask = np.ones_like(ids)
    found = from_keras_hub(gpt2).trunk(ids)
    theirs = gpt2({"token_ids": ids, "padding_mask": mask})
    np.testing.assert_allclose(found, theirs, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: GPT(**OURS, activation="relu", norm_epsilon=1e-6),
         "GPT2Backbone, needs norm_epsilon=1e-05, not 1e-06 and activation='gelu_tanh', not"),
        (lambda: GPT(**OURS, tied=False), "GPT2Backbone, needs tied=True, not False"),
        (lambda: GPT(**LLAMA, dropout=0.1), "LlamaBackbone, needs dropout=0.0, not 0.1"),
        (lambda: GPT(**LLAMA, rotary_scaling={"rope_type": "linear", "factor": 2.0}),
         "LlamaBackbone, needs rotary_scaling=None, not {'rope_type': 'linear'"),
        (lambda: BERT(**OURS, head=None), "BertBackbone, needs activation='gelu_tanh', not 'gelu'"),
        (lambda: BERT(**OURS, activation="gelu_tanh"), "needs head=None, not 'masked_lm'"),
        (lambda: BERT(**OURS, token_types=0, head="pooled"), "needs head=None, not 'pooled'"),
        (lambda: BERT(**OURS, activation="gelu_tanh", head="pooled", pooler_activation="relu"),
         "needs pooler_activation='tanh', not 'relu'"),
        (lambda: "a folder", "GPT or BERT; received a str"),
    ],
)  # fmt: skip
def test_what_they_cannot_hold(model, message):
    with pytest.raises(ValueError, match=message):
        to_keras_hub(model())


def test_without_keras_hub(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(ImportError, match="pip install keras-hub"):
        to_keras_hub(GPT(**OURS))
