"""The seed's Transformer: a trunk to build on."""

import keras
import numpy as np
import pytest

from keraslm.models import Transformer, load

pytestmark = pytest.mark.filterwarnings("ignore:.*softmax over axis.*")  # of one token


def test_seeds_spelling():
    trunk = Transformer(13, 8, 2, 16, 12, 0.1)
    config = trunk.transformer_config
    assert (config.vocab_size, config.d_model, config.num_heads) == (13, 8, 2)
    assert (config.ffn_dim, config.max_length, config.dropout) == (16, 12, 0.1)
    assert trunk(np.ones((2, 5), "int32")).shape == (2, 5, 8)


def test_embeddings_are_scaled_then_positioned(ids, numpy):
    """Vaswani et al. 2017, sections 3.4 and 3.5; one block that adds nothing."""
    model = Transformer(13, 8, 2, 16, 12, num_layers=1, norm_first=True)
    for weight in model.weights:
        if weight.path.startswith("block"):
            weight.assign(np.zeros(weight.shape))
    table = np.asarray(model.trunk.embed.embeddings)
    angles = np.arange(6)[:, None] / 10000 ** (np.arange(0, 8, 2) / 8)
    positions = np.stack([np.sin(angles), np.cos(angles)], -1).reshape(6, 8)
    x = table[ids] * np.sqrt(8) + positions
    expected = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(numpy(model(ids)), expected, atol=1e-4)


def test_embeddings_start_with_unit_rows():
    table = np.asarray(Transformer(500, 64, 2, num_layers=1).trunk.embed.embeddings)
    assert np.linalg.norm(table, axis=-1).mean() == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("head", [None, "lm"])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_heads(policy, head, shared, ids):
    model = shared(Transformer, head=head, dtype=policy)
    y = model(ids)
    assert tuple(y.shape) == (3, 6, 13 if head else 8)
    assert y.dtype == ("float32" if head else model.compute_dtype)


def test_bad_head():
    with pytest.raises(ValueError, match="head must be None or 'lm'; received 'mlm'"):
        Transformer(13, 8, 2, head="mlm")


def test_untied_head(shared):
    model = shared(Transformer, head="lm", tied=False)
    assert any(w.path.startswith("head") for w in model.weights)


@pytest.mark.parametrize("causal", [False, True])
def test_causal(causal, shared, ids, numpy):
    model = shared(Transformer, causal=causal)
    other = ids.copy()
    other[:, -1] = 1 + other[:, -1] % 5
    difference = np.abs(numpy(model(ids)) - numpy(model(other)))[:, :-1].max()
    assert (difference < 1e-6) == causal


def test_padding_and_segments(shared, ids, numpy):
    model = shared(Transformer)
    mask = np.array([[1, 1, 1, 1, 0, 0]], bool)
    segments = np.array([[0, 0, 0, 1, 1, 1]], "int32")
    y = numpy(model({"token_ids": ids[:1], "padding_mask": mask, "segment_ids": segments}))
    for part in (slice(0, 3), slice(3, 4)):
        np.testing.assert_allclose(y[:, part], numpy(model(ids[:1, part])), atol=5e-6)


def test_classifier_on_top(ids, tmp_path):
    """The example of the docstring, trained and saved."""
    keras.utils.set_random_seed(1)
    token_ids = keras.Input((None,), dtype="int32")
    trunk = Transformer(13, 8, 2, 16, 12, 0.1, num_layers=1)
    x = keras.layers.GlobalAveragePooling1D()(trunk(token_ids))
    model = keras.Model(token_ids, keras.layers.Dense(2, "softmax")(x))
    labels = ids[:, 0] % 2
    model.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy", run_eagerly=True)
    losses = model.fit(ids, labels, epochs=4, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    model.save(tmp_path / "model.keras")
    again = load(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(ids), model(ids))


def test_language_model(small, ids, tmp_path, numpy):
    model = small(Transformer, head="lm", causal=True, dtype="mixed_bfloat16")
    model.compile("sgd", run_eagerly=True)
    assert np.isfinite(model.fit(ids[:, :-1], ids[:, 1:], verbose=0).history["loss"]).all()
    model.save(tmp_path / "model.keras")
    again = load(tmp_path / "model.keras")
    assert type(again) is Transformer
    assert (again.head, again.dtype_policy.name) == ("lm", "mixed_bfloat16")
    np.testing.assert_array_equal(numpy(again(ids)), numpy(model(ids)))


def test_load_says_what_is_wrong(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No model at .*none.keras. Give a file saved"):
        load(tmp_path / "none.keras")
    (tmp_path / "bad.keras").write_bytes(b"not a zip file")
    with pytest.raises(ValueError, match="is not a readable .keras file"):
        load(tmp_path / "bad.keras")
