"""Published shapes, with random weights that `transformers` saved, beside `transformers`."""

import gc

import numpy as np
import pytest

import keraslm
from keraslm.interop import load_huggingface

pytestmark = [pytest.mark.slow, pytest.mark.peer]

LLAMA3 = {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 8192, "rope_theta": 5e5}  # fmt: skip
THETA = {"rope_type": "default", "rope_theta": 1e6}


def decoder(vocab, width, inner, heads, kv_heads, **more):
    return {"vocab_size": vocab, "hidden_size": width, "intermediate_size": inner,
            "num_hidden_layers": 4, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
            **more}  # fmt: skip


# Name → class of theirs and its config; where it says cut, to 4 (Gemma: 6, Mistral: 2) blocks.
SHAPES = {
    "gpt2": ("GPT2LMHeadModel", {}),
    "gpt2-medium": ("GPT2LMHeadModel", {"n_embd": 1024, "n_layer": 24, "n_head": 16}),
    "bert-base": ("BertForMaskedLM", {}),
    "roberta-base": ("RobertaForMaskedLM", {
        "vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1,
        "layer_norm_eps": 1e-5, "pad_token_id": 1}),
    "distilbert-base": ("DistilBertForMaskedLM", {}),
    "llama-3.2-1b, cut": ("LlamaForCausalLM", decoder(
        128256, 2048, 8192, 32, 8, head_dim=64, rms_norm_eps=1e-5, rope_parameters=LLAMA3,
        max_position_embeddings=131072, tie_word_embeddings=True)),
    "qwen2.5-0.5b, cut": ("Qwen2ForCausalLM", decoder(
        151936, 896, 4864, 14, 2, rope_parameters=THETA, tie_word_embeddings=True)),
    "qwen3-0.6b, cut": ("Qwen3ForCausalLM", decoder(
        151936, 1024, 3072, 16, 8, head_dim=128, rope_parameters=THETA, tie_word_embeddings=True)),
    "mistral-7b, cut": ("MistralForCausalLM", {
        **decoder(32000, 4096, 14336, 32, 8, sliding_window=4096, rms_norm_eps=1e-5),
        "num_hidden_layers": 2}),
    "gemma-3-270m, cut": ("Gemma3ForCausalLM", {
        **decoder(262144, 640, 2048, 4, 1, head_dim=256, sliding_window=16),
        "num_hidden_layers": 6, "max_position_embeddings": 32768}),
}  # fmt: skip
# Real tokens of each row, of 40.
PADDING = {"none": (40, 40), "ragged": (40, 23, 7), "almost all": (1, 40)}


def logits(torch, model, ids, mask):
    with torch.no_grad():
        return model(torch.tensor(ids), attention_mask=torch.tensor(mask)).logits.numpy()


@pytest.mark.parametrize("name", SHAPES)
def test_logits_text_and_back(name, tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    architecture, options = SHAPES[name]
    torch.manual_seed(0)
    config_class = getattr(transformers, architecture).config_class
    theirs = getattr(transformers, architecture)(config_class(**options)).eval()
    theirs.save_pretrained(tmp_path / "theirs")
    ours = load_huggingface(tmp_path / "theirs")
    rng = np.random.default_rng(0)
    vocab = ours.vocab_size
    for lengths in PADDING.values():
        ids = rng.integers(5, vocab, (len(lengths), 40))
        mask = np.arange(40) < np.array(lengths)[:, None]
        ids[~mask] = 1  # what RoBERTa counts positions by
        found = np.asarray(ours({"token_ids": ids, "padding_mask": mask}))
        wanted = logits(torch, theirs, ids, mask)
        assert np.abs(found - wanted)[mask].max() < 2e-4

    if hasattr(ours, "step"):
        prompts = [rng.integers(5, vocab, n).tolist() for n in (9, 17)]
        lm = keraslm.tasks.TextGenerator(ours, None)
        config = lm.generation_config.replace(max_new_tokens=64)
        found = [result.ids for result in lm.generator.generate(prompts, config)]
        for prompt, text in zip(prompts, found, strict=True):
            with torch.no_grad():
                whole = theirs.generate(
                    torch.tensor([prompt]), do_sample=False, max_new_tokens=64, min_new_tokens=64,
                    pad_token_id=0, eos_token_id=None,
                )  # fmt: skip
            assert whole[0, len(prompt) :].tolist() == text

    keraslm.interop.save_huggingface(ours, tmp_path / "ours")
    wanted = logits(torch, theirs, ids, mask)
    del theirs, ours
    gc.collect()
    back = getattr(transformers, architecture).from_pretrained(tmp_path / "ours").eval()
    assert np.abs(logits(torch, back, ids, mask) - wanted)[mask].max() < 1e-5
