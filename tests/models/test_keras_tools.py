"""What Keras does to any model: clones, parts in other models, configs, LoRA, quantization."""

import warnings

import keras
import numpy as np
import pytest
from marks import slow_but

import keraslm
from keraslm.models import BERT, GPT, Transformer
from keraslm.models.loading import weights_of
from keraslm.tasks import TextClassifier, TextGenerator
from keraslm.tokenizers import Tokenizer

LLAMA = {"norm": "rms", "positions": "rotary", "gated": True, "tied": False}
KINDS = [
    (GPT, {}),
    (GPT, {**LLAMA, "dtype": "mixed_bfloat16"}),
    (BERT, {}),
    (BERT, {"head": "classifier", "num_classes": 3}),
    (Transformer, {}),
]


def every_input(model, ids):
    """All inputs of a model: a clone's are not optional."""
    ones = {"padding_mask": np.ones(ids.shape, bool)}
    return {k: ids if k == "token_ids" else ones.get(k, 0 * ids) for k in model.input}


@pytest.mark.parametrize(("cls", "fields"), KINDS)
def test_clones_and_models_on_an_inner_layer(cls, fields, small, ids, numpy, tmp_path):
    model = small(cls, **fields)
    model.compile()
    inputs = every_input(model, ids)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(numpy(clone(inputs)), numpy(model(inputs)))
    another = cls.from_config(model.get_config())
    another.set_weights(model.get_weights())
    np.testing.assert_array_equal(numpy(another(ids)), numpy(model(ids)))

    part = keras.Model(model.input, keras.layers.Dense(3)(model.get_layer("block_0").output))
    part.save(tmp_path / "part.keras")
    part.save_weights(tmp_path / "part.weights.h5")
    loaded, empty = keras.models.load_model(tmp_path / "part.keras"), keras.models.clone_model(part)
    empty.load_weights(tmp_path / "part.weights.h5")
    for other in (loaded, empty):
        np.testing.assert_array_equal(numpy(other(inputs)), numpy(part(inputs)))


ARGUMENTS = {
    "FeedForward": {"d_model": 8, "ffn_dim": 16},
    "MaskedLMHead": {"d_model": 8, "activation": "gelu", "norm_epsilon": 1e-6},
    "MultiHeadAttention": {"d_model": 8, "num_heads": 2},
    "PositionalEncoding": {"max_length": 8, "d_model": 8},
    "TokenEmbedding": {"vocab_size": 9, "d_model": 8},
    "TransformerBlock": {"d_model": 8, "num_heads": 2, "ffn_dim": 16},
    "Dense": {"units": 3},
}
LAYERS = {
    name.removeprefix("keraslm>"): cls
    for name, cls in keras.saving.get_custom_objects().items()
    if name.startswith("keraslm>") and issubclass(cls, keras.layers.Layer)
    and not issubclass(cls, keras.Model)
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(LAYERS))
@pytest.mark.parametrize("dtype", [None, "mixed_bfloat16", keras.DTypePolicy("float64")])
def test_the_config_of_every_layer_under_every_kind_of_dtype(name, dtype):
    layer = LAYERS[name](**ARGUMENTS.get(name, {}), dtype=dtype, name="one")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is LAYERS[name] and again.get_config() == layer.get_config()
    assert again.dtype_policy == layer.dtype_policy and again.name == "one"


# === LoRA and quantization ===


TOKENIZER = Tokenizer.train(["a cat sat on a mat, a dog sat on a log"], "char", vocab_size=None)


def adapted(**fields):
    """A language model with LoRA on every layer that takes it, and adapters that count."""
    keras.utils.set_random_seed(5)
    gpt = GPT(TOKENIZER.vocab_size, 1, 8, 2, max_length=16, **fields)
    rng = np.random.default_rng(0)
    for layer in gpt._flatten_layers():
        if hasattr(layer, "enable_lora"):
            layer.enable_lora(2, lora_alpha=3.0)
            layer.lora_kernel_b.assign(rng.normal(0, 0.3, layer.lora_kernel_b.shape))
    return TextGenerator(gpt, TOKENIZER)


@pytest.mark.parametrize("fields", slow_but((0,), [{}, LLAMA]))
def test_lora_is_merged_in_every_file(fields, tmp_path):
    lm = adapted(**fields)
    ids = np.array([TOKENIZER.encode("a cat sat")], "int32")
    x, y = ids[:, :-1], ids[:, 1:]
    frozen = {w.path: np.array(w) for w in lm.model.weights if w.name == "kernel"}
    lm.model.compile()
    lm.model.fit(x, y, verbose=0)  # trains the adapters, not what they adapt
    for weight in lm.model.weights:
        if weight.path in frozen:
            np.testing.assert_array_equal(weight, frozen[weight.path])
    expected, text = np.asarray(lm.model(ids)), lm.generate("a cat", max_new_tokens=4)
    lm.model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras", compile=False)
    bundle = keraslm.from_pretrained(lm.save(tmp_path / "bundle"))
    for model in (loaded, bundle.model):
        np.testing.assert_allclose(model(ids), expected, atol=1e-5)
        assert not any("lora" in w.path for w in model.weights)
    assert bundle.generate("a cat", max_new_tokens=4) == text
    assert set(weights_of(lm.model)) == set(weights_of(bundle.model))


@pytest.mark.slow
def test_lora_is_merged_in_the_export(tmp_path):
    lm = adapted()
    file = keraslm.export.tflite(lm, tmp_path)
    assert keraslm.export.verify(file, lm).passed


def test_quantized_layers_are_refused_when_saving(tmp_path):
    gpt = GPT(TOKENIZER.vocab_size, 1, 8, 2, max_length=16, tied=False)
    lm = TextGenerator(gpt, TOKENIZER)
    with pytest.warns(UserWarning, match="does not have a `quantize` method"):
        gpt.quantize("int8")
    assert lm.generate("a cat", max_new_tokens=2).startswith("a cat")
    saves = (
        lambda: gpt.save(tmp_path / "m.keras"),
        lambda: lm.save(tmp_path / "bundle"),
        lambda: lm.save_huggingface(tmp_path / "hf"),
    )
    for save in saves:
        with pytest.raises(ValueError, match="head was quantized to int8 with Keras' quantize"):
            save()
    for target in (keraslm.export.tflite, keraslm.export.litertlm, keraslm.export.web):
        with pytest.raises(ValueError, match="head was quantized to int8 with Keras' quantize"):
            target(lm, tmp_path / "exported")
    assert not list(tmp_path.iterdir())


def test_quantized_encoders_are_refused_when_exported(tmp_path):
    bert = BERT(20, 1, 8, 2, max_length=8, head="classifier", num_classes=2)
    plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="scores")])
    for model, layer in ((bert, "token_type_embedding"), (plain, "scores")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that other layers cannot be
            model.quantize("int8")
        with pytest.raises(ValueError, match=f"{layer} was quantized to int8 with Keras' quantize"):
            keraslm.export.tflite(model, tmp_path)
    words = Tokenizer.train(["to be or not to be"] * 9, "wordpiece", 20, lowercase=True)
    for model in (TextClassifier(bert, words, ["a", "b"]), bert):
        own = {} if isinstance(model, TextClassifier) else {"tokenizer": words, "labels": "ab"}
        with pytest.raises(ValueError, match="token_type_embedding was quantized to int8"):
            keraslm.export.mediapipe(model, tmp_path, length=8, **own)
    assert not list(tmp_path.iterdir())
