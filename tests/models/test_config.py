"""The config, the families and the sizes."""

import dataclasses
import json

import pytest

from keraslm.models import BERT, GPT, Transformer, TransformerConfig
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
        ({"rotary_scaling": LINEAR}, 'rotary_scaling needs positions="rotary"'),
        ({"window_layers": (0,)}, r"window_layers=\(0,\) needs window"),
        ({"window": 0}, "window must be a positive whole number; received 0"),
        ({"norm_epsilon": -1e-5}, "norm_epsilon must be a number, 0 or more; received -1e-05"),
        ({"dropout": 1.5}, r"dropout must be in \[0, 1\); received 1.5"),
    ],
    ids=str,
)
def test_options_that_cannot_be_are_refused(fields, says):
    with pytest.raises(ValueError, match=says):
        GPT(**{**FIELDS, **fields})
