"""Every public layer, converted: the table of docs/export.md."""

import keras
import numpy as np
import pytest
from marks import slow_but

from keraslm import export, layers

LENGTH, WIDTH = 8, 32


def build():
    """A model with one output for each layer, and the names of the outputs."""
    keras.utils.set_random_seed(0)
    ids = keras.Input((LENGTH,), dtype="int32", name="token_ids")
    embed = layers.TokenEmbedding(40, WIDTH, scale=True)
    x = embed(ids)
    heads = keras.layers.Permute((2, 1, 3))(keras.layers.Reshape((LENGTH, 4, WIDTH // 4))(x))
    positions = layers.SegmentPositions()(ids)
    mask = layers.AttentionMask()(ids, segment_ids=ids)
    attention = layers.MultiHeadAttention
    block = layers.TransformerBlock
    found = {
        "TokenEmbedding": embed(x, reverse=True),
        "AttentionMask": attention(WIDTH, 4)(x, attention_mask=mask),
        "SegmentPositions": layers.PositionalEncoding(LENGTH, WIDTH)(x, positions=positions),
        "PositionalEncoding sinusoidal": layers.PositionalEncoding(LENGTH, WIDTH)(x),
        "PositionalEncoding learned": layers.PositionalEncoding(LENGTH, WIDTH, "learned")(x),
        "RotaryEmbedding": layers.RotaryEmbedding()(heads),
        "MultiHeadAttention causal": attention(WIDTH, 4, causal=True)(x),
        "MultiHeadAttention cross": attention(WIDTH, 4)(x, x[:, :5]),
        "MultiHeadAttention grouped rotary": attention(
            WIDTH, 4, num_kv_heads=2, rotary_base=1e4, causal=True)(x),
        "TransformerBlock post": block(WIDTH, 4, 64)(x),
        "TransformerBlock pre rms gated": block(
            WIDTH, 4, 64, norm_first=True, norm="rms", activation="silu", gated=True)(x),
        "TransformerBlock cross": block(WIDTH, 4, 64, cross_attention=True)(
            x, encoder_output=x[:, :5]),
    }  # fmt: skip
    for activation in ("relu", "gelu", "gelu_tanh", "silu"):
        found[f"FeedForward {activation}"] = layers.FeedForward(WIDTH, 64, activation)(x)
    return keras.Model(ids, list(found.values())), list(found)


@pytest.mark.parametrize(
    ("kind", "worst"), slow_but((0,), [(None, 1e-5), ("int8", 0.05), ("float16", 5e-3)])
)
def test_all_layers(kind, worst, tmp_path):
    model, names = build()
    path = export.tflite(model, tmp_path, lengths=LENGTH, quantization=kind, verify=False)
    ids = np.random.default_rng(0).integers(0, 40, LENGTH)
    outputs = export.LiteRTEncoder(path)(ids)
    wanted = model(np.array([ids]), training=False)
    for i, (name, reference) in enumerate(zip(names, wanted, strict=True)):
        reference = keras.ops.convert_to_numpy(reference)
        off = np.abs(outputs[f"output_{i}"] - reference).max() / np.abs(reference).max()
        assert off < worst, name


def test_no_layer_is_forgotten():
    named = {name.split()[0] for name in build()[1]}
    public = {
        name for name in layers.__all__ if issubclass(getattr(layers, name), keras.layers.Layer)
    }
    assert public <= named
