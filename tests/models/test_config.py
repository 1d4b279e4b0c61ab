"""The config, the families and the sizes."""

import dataclasses
import json
import zipfile

import keras
import numpy as np
import pytest

from keraslm.layers import MultiHeadAttention, TransformerBlock
from keraslm.models import BERT, GPT, GPTEncoder, Transformer, TransformerConfig
from keraslm.models.presets import FAMILIES, SIZES, sized

FIELDS = {"vocab_size": 13, "num_layers": 2, "d_model": 8, "num_heads": 2}


def test_defaults_that_follow_from_others():
    config = TransformerConfig(**FIELDS)
    assert (config.ffn_dim, config.num_kv_heads, config.head_dim) == (32, 2, 4)
    config = TransformerConfig(**FIELDS, ffn_dim=10, num_kv_heads=1, head_dim=6)
    assert (config.ffn_dim, config.num_kv_heads, config.head_dim) == (10, 1, 6)


def test_head_dim_frees_d_model():
    assert TransformerConfig(**{**FIELDS, "num_heads": 3}, head_dim=4).head_dim == 4


def test_arguments_by_place_are_those_of_version_0_1():
    config = TransformerConfig(13, 2, 8, 2, 10, 64, 0.1, causal=True)
    assert config == TransformerConfig(
        **FIELDS, ffn_dim=10, max_length=64, dropout=0.1, causal=True
    )
    with pytest.raises(TypeError, match="multiple values for keyword argument 'num_heads'"):
        TransformerConfig(13, 2, 8, 2, num_heads=2)
    with pytest.raises(TypeError, match="takes 31 arguments by place"):
        TransformerConfig(*range(1, 40))


def test_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TransformerConfig(**FIELDS).d_model = 9


def test_is_plain_data():
    config = TransformerConfig(**FIELDS, norm="rms", kernel_regularizer="l2")
    again = TransformerConfig(**json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert set(config.to_dict()) == set(TransformerConfig.field_names())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"d_model": 100, "num_heads": 3},
         "num_heads must divide d_model; received d_model=100, num_heads=3. Use a d_model that is"),
        ({"positions": "rope"}, "positions must be one of .*'sinusoidal'.*; received 'rope'"),
        *(({name: 0}, f"{name} must be a positive whole number; received 0")
          for name in ("vocab_size", "num_layers", "d_model", "num_heads", "ffn_dim",
                       "max_length")),
        ({"num_layers": 1.0}, "num_layers must be a positive whole number; received 1.0"),
        ({"vocab_size": True}, "vocab_size must be a positive whole number; received True"),
    ],
)  # fmt: skip
def test_bad_values(fields, message):
    with pytest.raises(ValueError, match=message):
        TransformerConfig(**{**FIELDS, **fields})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"norm": "batch"}, "norm must be one of .*; received 'batch'"),
        ({"activation": "swish"}, "activation must be one of .*; received 'swish'"),
        ({"num_kv_heads": 3}, "num_kv_heads must divide num_heads"),
        ({"num_kv_heads": 0}, "num_kv_heads must be a positive whole number; received 0"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\); received 1.0"),
        ({"head_dim": 0}, "head_dim must be"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("cls", [GPT, BERT, Transformer])
def test_bad_values_of_a_model(cls, fields, message):
    with pytest.raises(ValueError, match=message):
        cls(**{**FIELDS, **fields})


@pytest.mark.parametrize("cls", [GPT, BERT, Transformer])
def test_unknown_argument(cls):
    with pytest.raises(ValueError, match=rf"{cls.__name__} has no argument 'n_heads'. It takes "):
        cls(**FIELDS, n_heads=2)


@pytest.mark.parametrize("cls", [GPT, BERT, Transformer])
def test_family_is_a_row_of_fields(cls):
    row = FAMILIES[cls.family]
    assert set(row) <= set(TransformerConfig.field_names())
    config = cls.make_config(**FIELDS).to_dict()
    assert {name: config[name] for name in row} == row
    assert cls.make_config(**FIELDS, activation="silu").activation == "silu"


def test_families():
    """The models of the papers: a change here changes what saved configs mean."""
    gpt, bert, transformer = (cls.make_config(**FIELDS) for cls in (GPT, BERT, Transformer))
    assert (gpt.causal, bert.causal, transformer.causal) == (True, False, False)
    assert (gpt.norm_first, bert.norm_first, transformer.norm_first) == (True, False, False)
    assert (gpt.activation, bert.activation, transformer.activation) == (
        "gelu_tanh", "gelu", "relu",
    )  # fmt: skip
    assert (gpt.positions, bert.positions, transformer.positions) == (
        "learned", "learned", "sinusoidal",
    )  # fmt: skip
    assert (transformer.embedding_scale, gpt.embedding_scale) == (True, False)
    assert (bert.token_types, bert.embedding_norm, bert.norm_epsilon) == (2, True, 1e-12)


@pytest.mark.parametrize("size", list(SIZES))
@pytest.mark.parametrize("cls", [GPT, BERT, Transformer])
def test_sizes_are_valid_configs(cls, size):
    config = cls.make_config(vocab_size=13, **sized(size))
    assert config.num_heads * config.head_dim == config.d_model


@pytest.mark.parametrize("size", ["nano", "tiny"])
def test_sized(size):
    model = GPT.sized(size, 50, dropout=0.1)
    assert {name: getattr(model.transformer_config, name) for name in SIZES[size]} == SIZES[size]
    assert model.transformer_config.dropout == 0.1
    config = model.transformer_config
    inner = model.count_params() - (50 + config.max_length) * config.d_model
    assert inner == pytest.approx(12 * config.num_layers * config.d_model**2, rel=0.02)


def test_fields_win_over_the_size():
    model = BERT.sized("nano", 13, num_layers=1, d_model=12, max_length=8)
    config = model.transformer_config
    assert (config.num_layers, config.d_model, config.max_length) == (1, 12, 8)


@pytest.mark.parametrize("cls", [GPT, BERT, Transformer])
def test_unknown_size(cls):
    with pytest.raises(ValueError, match=r"size must be one of \['nano', .*; received 'huge'"):
        cls.sized("huge", 13)


ROTARY = {"positions": "rotary"}
LINEAR = {"rope_type": "linear", "factor": 2.0}
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({**ROTARY, "head_dim": 3}, "head_dim must be even for rotary positions; received 3"),
        ({**ROTARY, "d_model": 6}, "head_dim must be even for rotary positions; received 3"),
        ({**ROTARY, "rotary_fraction": 0.3}, "head_dim must be even .* received 4, of which 1"),
        ({**ROTARY, "rotary_scaling": {"factor": 2.0}}, "rope_type must be one of .* None"),
        (
            {**ROTARY, "rotary_scaling": {**LINEAR, "foo": 1}},
            "'linear' has no 'foo'.* takes factor",
        ),
        ({**ROTARY, "rotary_scaling": {**LINEAR, "factor": -2.0}}, "a value that cannot be"),
        ({**ROTARY, "rotary_scaling": {**LINEAR, "factor": "2"}}, "a value that cannot be"),
        ({**ROTARY, "rotary_scaling": "linear"}, "scaling must be a dict or None"),
        ({"rotary_scaling": LINEAR}, 'rotary_scaling=.* needs positions="rotary"'),
        ({"rotary_fraction": 0.5}, 'rotary_fraction=0.5 needs positions="rotary"'),
        ({"window_layers": (0,)}, r"window_layers=\(0,\) needs window"),
        ({"window": 2, "window_layers": ()}, r"window_layers=\(\) needs window, .* and a block"),
        (
            {**ROTARY, "window_rotary_base": 30.0},
            'window_rotary_base=30.0 needs positions="rotary" and window',
        ),
        (
            {"window": 2, "window_rotary_base": 30.0},
            'window_rotary_base=30.0 needs positions="rotary" and window',
        ),
        (
            {**ROTARY, "rotary_scaling": {**LLAMA3, "high_freq_factor": 1.0}},
            "'llama3' needs low_freq_factor below high_freq_factor; received",
        ),
        (
            {**ROTARY, "rotary_scaling": {**LLAMA3, "low_freq_factor": 8.0}},
            "'llama3' needs low_freq_factor below high_freq_factor; received",
        ),
        ({"embeddings_initializer": 0}, "embeddings_initializer must be a Keras initial.* 0"),
        ({"embeddings_initializer": "a"}, "embeddings_initializer must be a Keras in.* 'a'"),
        ({"embeddings_initializer": np.ones((13, 8))}, "embeddings_initializer must be a Keras"),
        ({"kernel_regularizer": 5}, "kernel_regularizer must be a Keras regularizer .* 5"),
        ({"window": 0}, "window must be a positive whole number; received 0"),
        ({"norm_epsilon": -1e-5}, "norm_epsilon must be a number, 0 or more; received -1e-05"),
        ({"dropout": 1.5}, r"dropout must be in \[0, 1\); received 1.5"),
    ],
    ids=str,
)
def test_options_that_cannot_be_are_refused(fields, says):
    with pytest.raises(ValueError, match=says):
        GPT(**{**FIELDS, **fields})


@pytest.mark.parametrize(
    ("make", "says"),
    [
        *((lambda cls=cls, n=n: cls(**FIELDS, head="classifier", num_classes=n),
           f"num_classes must be a positive whole number; received {n!r}")
          for cls in (BERT, GPTEncoder) for n in ("a", -1, 2.5, True, 0)),
        *((lambda cls=cls: cls(**FIELDS, head=["classifier"]),
           r"head must be one of .*; received \['classifier'\]") for cls in (BERT, GPTEncoder)),
        (lambda: BERT(**FIELDS, head="classifier"), "num_classes is missing: head='classifier'"),
        (lambda: BERT(**FIELDS, pooler_activation=5),
         "pooler_activation must be a Keras activation or its name, such as 'tanh'; received 5"),
        (lambda: BERT(**FIELDS, pooler_activation="tan"), "pooler_activation must be .*'tan'"),
        (lambda: GPTEncoder(**FIELDS, pad_id="a"), "pad_id must be a whole number, 0 or more"),
        (lambda: GPTEncoder(**FIELDS, pad_id=-1), "pad_id must be a whole number, 0 or more"),
        (lambda: GPTEncoder(**FIELDS, pad_id=13), "pad_id must be from 0 to 12, or None; rec.* 13"),
        (lambda: GPT.sized(["nano"], 13), r"size must be one of .*; received \['nano'\]"),
    ],
)  # fmt: skip
def test_heads_and_their_arguments(make, says):
    with pytest.raises(ValueError, match=says):
        make()


# === Files of versions that took options which do not count ===

OLD = {
    "scaling without turns": ({}, {"rotary_scaling": LINEAR}),
    "window_layers without a window": ({}, {"window_layers": [0]}),
    "no window_layers": ({"window": 2}, {"window_layers": []}),
    "window_rotary_base without a window": (ROTARY, {"window_rotary_base": 30.0}),
    "window_rotary_base without turns": ({"window": 2}, {"window_rotary_base": 30.0}),
    "fraction without turns": ({}, {"rotary_fraction": 0.5}),
}


@pytest.mark.parametrize(("fields", "useless"), OLD.values(), ids=OLD)
def test_old_configs_with_options_that_do_not_count_are_read(fields, useless):
    gpt = GPT(**FIELDS, **fields)
    config = {**gpt.get_config(), **useless}
    with pytest.raises(ValueError, match="needs"):
        GPT(**config)
    again = GPT.from_config(config)
    assert again.transformer_config == gpt.transformer_config
    again.set_weights(gpt.get_weights())
    ids = np.arange(5)[None]
    np.testing.assert_array_equal(again(ids), gpt(ids))


def test_an_old_keras_file_with_an_option_that_does_not_count_is_read(tmp_path):
    gpt = GPT(**FIELDS)
    gpt.save(tmp_path / "new.keras")
    with (
        zipfile.ZipFile(tmp_path / "new.keras") as new,
        zipfile.ZipFile(tmp_path / "old.keras", "w") as old,
    ):
        for name in new.namelist():
            content = new.read(name)
            if name == "config.json":
                config = json.loads(content)
                config["config"]["rotary_scaling"] = LINEAR
                content = json.dumps(config).encode()
            old.writestr(name, content)
    ids = np.arange(5)[None]
    again = keras.models.load_model(tmp_path / "old.keras")
    np.testing.assert_array_equal(again(ids), gpt(ids))


@pytest.mark.parametrize(
    ("cls", "fields"),
    [
        (MultiHeadAttention, {"d_model": 8, "num_heads": 2}),
        (TransformerBlock, {"d_model": 8, "num_heads": 2, "ffn_dim": 9}),
    ],
)
@pytest.mark.parametrize("useless", [{"rotary_scaling": LINEAR}, {"rotary_fraction": 0.5}])
def test_old_layers_with_options_that_do_not_count_are_read(cls, fields, useless):
    with pytest.raises(ValueError, match="needs rotary_base, without which"):
        cls(**fields, **useless)
    options = cls(**fields).options.to_dict()
    again = cls.from_config({**cls(**fields).get_config(), **useless}).options.to_dict()
    assert {name for name in options if options[name] != again[name]} == {"kernel_initializer"}


def test_a_block_with_cross_attention_may_turn_a_part_of_itself():
    block = TransformerBlock(8, 2, 9, cross_attention=True, rotary_base=10.0, rotary_fraction=0.5)
    x = np.zeros((1, 3, 8), "float32")
    assert tuple(block(x, encoder_output=x).shape) == (1, 3, 8)
