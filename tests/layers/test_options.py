"""Options: declared once; from the declaration come argument, check, config and help."""

import ast
import dataclasses
import inspect
import math
from pathlib import Path

import keras
import numpy as np
import pytest

import keraslm
from keraslm import layers
from keraslm.layers.common import not_negative
from keraslm.layers.options import option
from keraslm.models import GPT, TransformerConfig

KINDS = {
    layers.MultiHeadAttention: {"d_model": 8, "num_heads": 4},
    layers.FeedForward: {"d_model": 8, "ffn_dim": 12},
    layers.TransformerBlock: {"d_model": 8, "num_heads": 4, "ffn_dim": 12},
}
MODEL = {"vocab_size": 11, "num_layers": 2, "d_model": 8, "num_heads": 4}
EVERY = [(kind, field.name) for kind in KINDS for field in dataclasses.fields(kind.options_class)]
X = np.random.default_rng(0).normal(size=(2, 6, 8)).astype("float32")

# What changes each option, and the options that it needs beside it.
CHANGED = {
    "d_model": (16, {}),
    "num_heads": (2, {}),
    "ffn_dim": (20, {}),
    "dropout": (0.5, {}),
    "use_bias": (False, {}),
    "kernel_regularizer": ("l2", {}),
    "kernel_initializer": ("ones", {}),
    "output_initializer": ("zeros", {}),
    "num_kv_heads": (2, {}),
    "head_dim": (6, {}),
    "causal": (True, {}),
    "rotary_base": (10.0, {}),
    "rotary_scaling": ({"rope_type": "linear", "factor": 4.0}, {"rotary_base": 10.0}),
    "window": (2, {"causal": True}),
    "qk_norm": (True, {}),
    "norm_epsilon": (0.5, {"qk_norm": True}),
    "qkv_bias": (False, {}),
    "activation": ("silu", {}),
    "gated": (True, {}),
    "norm_first": (True, {}),
    "post_norm": (True, {"norm_first": True}),
    "norm": ("rms", {}),
    "cross_attention": (True, {}),
    "output_bias": (False, {}),
    "ffn_bias": (False, {}),
    "rotary_fraction": (0.5, {"rotary_base": 10.0, "head_dim": 4}),
    "attention_scale": (3.0, {}),
    "attention_softcap": (0.5, {}),
    "parallel_residual": (True, {"norm_first": True}),
    "attention_dropout": (0.5, {}),
}


def run(kind, fields):
    """What a layer computes in training: output, shapes of its weights, losses."""
    keras.utils.set_random_seed(1)
    layer = kind(**fields)
    for weight in layer.weights:
        weight.assign(np.random.default_rng(weight.shape.rank).normal(size=weight.shape))
    x = np.tile(X, 2)[..., : layer.d_model]
    extra = {"encoder_output": x} if fields.get("cross_attention") else {}
    y = np.asarray(layer(x, training=True, **extra))
    return y, [w.shape for w in layer.weights], [float(loss) for loss in layer.losses]


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_every_option_changes_what_is_computed(kind, name):
    value, needed = CHANGED[name]
    names = kind.options_class.field_names()
    fields = {**KINDS[kind], **{k: v for k, v in needed.items() if k in names}}
    before, after = run(kind, fields), run(kind, {**fields, name: value})
    assert before[1:] != after[1:] or not np.array_equal(before[0], after[0])


def test_every_field_of_a_model_is_read():
    """As an attribute, in the code of layers and models, outside its declaration."""
    root = Path(keraslm.__file__).parent
    read = set()
    for path in (*root.glob("layers/*.py"), *root.glob("models/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                read.add(node.attr)
    assert set(TransformerConfig.field_names()) <= read
    assert "no_such_field" not in read


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_help_and_signature_show_every_option(kind, name):
    field = next(f for f in dataclasses.fields(kind.options_class) if f.name == name)
    parameter = inspect.signature(kind).parameters[name]
    missing = field.default is dataclasses.MISSING
    assert parameter.default == (inspect.Parameter.empty if missing else field.default)
    for documented in (kind, kind.options_class):
        assert f"        {name}: {field.metadata['meaning'].split()[0]}" in documented.__doc__


def test_signature_has_the_arguments_by_place_first():
    names = list(inspect.signature(layers.TransformerBlock).parameters)
    assert names[:4] == ["d_model", "num_heads", "ffn_dim", "dropout"]
    assert inspect.getfullargspec(layers.FeedForward.__init__).args == [
        "self", "d_model", "ffn_dim", "activation", "dropout",
    ]  # fmt: skip


def test_defaults_of_one_name_may_differ():
    defaults = {kind: kind(**fields).norm_epsilon for kind, fields in KINDS.items()
                if "norm_epsilon" in kind.options_class.field_names()}  # fmt: skip
    assert defaults == {layers.MultiHeadAttention: 1e-6, layers.TransformerBlock: 1e-5}
    assert TransformerConfig(**MODEL).rotary_base == 10000.0
    assert layers.MultiHeadAttention(8, 4).rotary_base is None


# === One value instead of arguments ===


@pytest.mark.parametrize("kind", list(KINDS))
def test_options_as_one_value(kind):
    options = kind.options_class(**KINDS[kind], dropout=0.25)
    layer = kind(options=options, name="mine")
    assert layer.options == options
    assert (layer.name, layer.dropout) == ("mine", 0.25)
    assert {k: v for k, v in layer.get_config().items() if "izer" not in k} == {
        k: v
        for k, v in kind(**KINDS[kind], dropout=0.25, name="mine").get_config().items()
        if "izer" not in k
    }


def test_options_and_arguments_together_are_refused():
    options = layers.AttentionOptions(d_model=8, num_heads=4)
    with pytest.raises(ValueError, match=r"dropout is given beside options.*options.replace\(dro"):
        layers.MultiHeadAttention(options=options, dropout=0.1)
    with pytest.raises(ValueError, match=r"options must be a keraslm.layers.BlockOptions; rec"):
        layers.TransformerBlock(options=options)
    with pytest.raises(TypeError, match="num_heads is missing: MultiHeadAttention needs it"):
        layers.MultiHeadAttention(8)
    with pytest.raises(ValueError, match="num_head"):
        layers.MultiHeadAttention(8, 4, num_head=3)


# === Checks ===


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in ("norm_epsilon", "initializer_range")
          for value in (-1e-5, math.nan, math.inf, "1e-5", True, None)),
        *((name, value) for name in ("rotary_base", "window_rotary_base")
          for value in (0, -1.0, math.nan, "1e4", True)),
        *(("dropout", value) for value in (1.0, -0.1, math.nan, "0.1", False, None)),
        *((name, value) for name in ("window", "num_kv_heads", "head_dim", "ffn_dim",
                                     "max_length", "vocab_size", "num_layers")
          for value in (0, -1, 1.0, "8", True)),
        *((name, value) for name in ("use_bias", "qkv_bias", "causal", "gated", "qk_norm", "tied",
                                     "norm_first", "post_norm", "embedding_norm",
                                     "embedding_scale")
          for value in (1, "yes", 0.0)),
        *((name, value) for name in ("activation", "norm", "positions")
          for value in ("other", 1, True, ["relu"])),
        ("token_types", -1), ("token_types", True), ("token_types", "2"),
        ("window_layers", 1), ("window_layers", (2,)), ("window_layers", ("a",)),
        ("window_layers", "01"),
        ("kernel_regularizer", "l7"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_is_refused_by_name(name, value):
    fields = {**MODEL, "causal": True, "positions": "rotary", name: value}
    with pytest.raises(ValueError, match=rf"{name if 'regularizer' not in name else 'l7'}"):
        TransformerConfig(**fields)
    with pytest.raises(ValueError):
        GPT(**fields)


@pytest.mark.parametrize("scaling", ["linear", {"rope_type": "x"}, {"rope_type": "linear"}])
def test_a_rotary_scaling_that_cannot_be_is_refused(scaling):
    with pytest.raises(ValueError, match=r"scaling|rope_type"):
        TransformerConfig(**MODEL, rotary_scaling=scaling)


def test_numbers_of_numpy_are_numbers():
    config = TransformerConfig(
        **{**MODEL, "d_model": np.int64(8)}, dropout=np.float32(0.5), causal=np.bool_(True)
    )
    assert (type(config.d_model), type(config.dropout), type(config.causal)) == (int, float, bool)


# === A new option ===


@dataclasses.dataclass(frozen=True, kw_only=True)
class GainOptions(layers.AttentionOptions):
    gain: float = option(1.0, not_negative, "Factor of the output.", later=True)


@keras.saving.register_keras_serializable("tests")
class Gained(layers.MultiHeadAttention):
    """Attention times a factor.

    Args:
        options: a `GainOptions`.
    """

    options_class = GainOptions

    def call(self, query, value=None, key=None, **kwargs):
        return self.gain * super().call(query, value, key, **kwargs)


def test_a_new_option_is_one_declaration_and_its_use(tmp_path):
    inputs = keras.Input((6, 8))
    model = keras.Model(inputs, Gained(8, 4, gain=3.0, name="attention")(inputs))
    plain = layers.MultiHeadAttention(8, 4)
    plain(X)
    plain.set_weights(model.get_weights())
    np.testing.assert_allclose(model(X), 3.0 * plain(X), rtol=1e-6)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.get_layer("attention").gain == 3.0
    np.testing.assert_array_equal(again(X), model(X))
    with pytest.raises(ValueError, match="gain must be a number, 0 or more; received -1"):
        Gained(8, 4, gain=-1)
    assert "        gain: Factor of the output. Default ``1.0``." in Gained.__doc__


def test_a_later_option_is_stored_only_when_it_is_set():
    """Versions that do not know it read the file otherwise."""
    assert "gain" not in Gained(8, 4).get_config()
    assert Gained(8, 4, gain=2.0).get_config()["gain"] == 2.0
    old = layers.MultiHeadAttention(8, 4).get_config()
    assert set(Gained(8, 4).get_config()) == set(old)


def test_the_keys_of_the_first_files_are_always_stored():
    later = {f.name for f in dataclasses.fields(TransformerConfig) if f.metadata["later"]}
    config = GPT(**MODEL).get_config()
    assert set(TransformerConfig.field_names()) - later <= set(config)
    assert not later & set(config)
