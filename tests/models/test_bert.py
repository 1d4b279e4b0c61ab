"""BERT: its heads, its inputs, its training."""

import keras
import numpy as np
import pytest

from keraslm.models import BERT
from keraslm.models.heads import MaskedLMHead

pytestmark = pytest.mark.filterwarnings("ignore:.*softmax over axis.*")  # of one token

HEADS = {
    None: (3, 6, 8),
    "masked_lm": (3, 6, 13),
    "pooled": (3, 8),
    "next_sentence": (3, 2),
    "classifier": (3, 5),
    "token_classifier": (3, 6, 5),
}
EVERY_HEAD = pytest.mark.parametrize("head", HEADS)


def classes(head):
    return {"num_classes": 5} if head in ("classifier", "token_classifier") else {}


# === Heads ===


@pytest.mark.parametrize(
    ("head", "policy"),
    [*((head, "float32") for head in HEADS), (None, "bfloat16"), ("masked_lm", "mixed_bfloat16"),
     ("classifier", "mixed_bfloat16")],
)  # fmt: skip
def test_what_comes_out(policy, head, shared, ids):
    model = shared(BERT, head=head, dtype=policy, **classes(head))
    y = model(ids)
    assert tuple(y.shape) == HEADS[head]
    hidden = head in (None, "pooled")
    assert y.dtype == (model.compute_dtype if hidden else "float32")
    symbolic = model(keras.Input((6,), dtype="int32"))
    assert symbolic.shape == (None, *HEADS[head][1:])
    assert symbolic.dtype == keras.backend.standardize_dtype(y.dtype)


def test_pooled_is_a_tanh_of_the_first_token(small, ids):
    pooled, hidden = small(BERT, head="pooled"), small(BERT, head=None)
    hidden.set_weights(pooled.get_weights()[:-2])
    kernel, bias = (np.asarray(w) for w in pooled.weights[-2:])
    first = np.asarray(hidden(ids))[:, 0]
    np.testing.assert_allclose(pooled(ids), np.tanh(first @ kernel + bias), atol=1e-5)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_masked_positions_gather_the_full_logits(policy, shared, ids):
    model = shared(BERT, dtype=policy)
    positions = np.array([[0, 5], [3, 3], [4, 1]], "int32")
    full = np.asarray(model(ids))
    some = model({"token_ids": ids, "masked_positions": positions})
    assert some.dtype == "float32"
    expected = np.take_along_axis(full, positions[..., None], 1)
    atol = 1e-5 if policy == "float32" else 0.1
    np.testing.assert_allclose(some, expected, atol=atol)


def test_masked_lm_has_a_bias_per_token(small, ids):
    model = small(BERT)
    bias = model.get_layer("token_bias").bias
    before = np.asarray(model(ids))
    bias.assign_add(np.arange(13.0))
    np.testing.assert_allclose(np.asarray(model(ids)) - before, np.broadcast_to(
        np.arange(13.0), before.shape), atol=1e-4)  # fmt: skip


def test_untied_head(shared):
    assert any(w.path.startswith("head") for w in shared(BERT, tied=False).weights)


def test_bad_heads():
    fields = {"vocab_size": 13, "num_layers": 1, "d_model": 8, "num_heads": 2}
    with pytest.raises(ValueError, match=r"head must be one of .*; received 'mlm'"):
        BERT(**fields, head="mlm")
    for head in ("classifier", "token_classifier"):
        with pytest.raises(ValueError, match=f"num_classes is missing: head='{head}' needs it"):
            BERT(**fields, head=head)


# === Inputs ===


@pytest.mark.parametrize("head", [None, "masked_lm", "pooled", "token_classifier"])
def test_padding_changes_nothing(head, shared, ids, numpy):
    model = shared(BERT, head=head, **classes(head))
    lengths = np.array([6, 3, 1])
    mask = np.arange(6)[None] < lengths[:, None]
    y = numpy(model({"token_ids": np.where(mask, ids, 0), "padding_mask": mask}))
    assert np.isfinite(y).all()
    for row, length in enumerate(lengths):
        alone = numpy(model(ids[row : row + 1, :length]))[0]
        real = y[row] if head == "pooled" else y[row, :length]
        np.testing.assert_allclose(real, alone, rtol=2e-6, atol=5e-6)


def test_segments_are_documents_alone(shared, ids, numpy):
    model = shared(BERT)
    segments = np.array([[0, 0, 0, 1, 2, 2]], "int32")
    types = np.array([[0, 0, 1, 0, 0, 1]], "int32")
    packed = numpy(model({"token_ids": ids[:1], "segment_ids": segments, "token_types": types}))
    for part in (slice(0, 3), slice(3, 4), slice(4, 6)):
        alone = model({"token_ids": ids[:1, part], "token_types": types[:, part]})
        np.testing.assert_allclose(packed[:, part], numpy(alone), atol=1e-5)


def test_token_types_default_to_the_first(shared, ids, numpy):
    model = shared(BERT)
    y = numpy(model(ids))
    zeros = {"token_ids": ids, "token_types": np.zeros_like(ids)}
    np.testing.assert_array_equal(numpy(model(zeros)), y)
    ones = {"token_ids": ids, "token_types": np.ones_like(ids)}
    assert np.abs(numpy(model(ones)) - y).max() > 1e-2


def test_without_token_types(shared, ids):
    model = shared(BERT, token_types=0)
    assert tuple(model(ids).shape) == (3, 6, 13)
    with pytest.raises(ValueError, match="unknown input 'token_types': BERT takes token_ids"):
        model({"token_ids": ids, "token_types": ids})


def test_both_sides_are_seen(shared, ids, numpy):
    model = shared(BERT)
    other = ids.copy()
    other[:, -1] = 1 + other[:, -1] % 5
    assert np.abs(numpy(model(ids)) - numpy(model(other)))[:, 0].max() > 1e-3


def test_unknown_inputs(shared, ids):
    with pytest.raises(ValueError, match="unknown input 'segments': BERT takes token_ids and, if"):
        shared(BERT)({"token_ids": ids, "segments": ids})
    with pytest.raises(ValueError, match="unknown input 'masked_positions'"):
        shared(BERT, head="pooled")({"token_ids": ids, "masked_positions": ids})


def test_too_long_an_input(shared):
    with pytest.raises(ValueError, match="token_ids has 13 positions, more than max_length=12"):
        shared(BERT)(np.ones((1, 13), "int32"))


# === Training ===


@EVERY_HEAD
def test_bare_fit(head, small, ids):
    model = small(BERT, head=head, num_layers=1, **classes(head))
    model.compile("sgd", run_eagerly=True)  # with the loss of the head
    shape = HEADS[head]
    target = np.zeros(shape if head in (None, "pooled") else shape[:-1])
    history = model.fit(ids, target, verbose=0).history
    assert np.isfinite(history["loss"]).all()


def test_masked_lm_learns_from_a_dataset():
    """The masked token is the sum of its neighbours."""
    import tensorflow as tf

    ids = np.array([[a, 7, b] for a in range(3) for b in range(3)], "int32")
    inputs = {
        "token_ids": ids,
        "masked_positions": np.ones((9, 1), "int32"),
        "padding_mask": np.ones((9, 3), bool),
    }
    labels = ids[:, :1] + ids[:, 2:]
    weights = np.ones((9, 1), "float32")
    dataset = tf.data.Dataset.from_tensor_slices((inputs, labels, weights)).batch(9)
    keras.utils.set_random_seed(1)
    model = BERT(vocab_size=8, num_layers=1, d_model=16, num_heads=2, max_length=4)
    model.compile(keras.optimizers.Adam(0.02))
    before = model.evaluate(dataset, verbose=0)
    model.fit(dataset.repeat(100), verbose=0)
    assert before == pytest.approx(np.log(8), abs=0.1)
    assert model.evaluate(dataset, verbose=0) < 0.1


# === Saving ===


@EVERY_HEAD
def test_config_round_trip(head, small, ids, numpy):
    model = small(BERT, head=head, num_layers=1, dropout=0.1, **classes(head))
    again = BERT.from_config(model.get_config())
    again.set_weights(model.get_weights())
    assert (again.head, again.num_classes) == (model.head, model.num_classes)
    np.testing.assert_array_equal(numpy(again(ids)), numpy(model(ids)))


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("head", ["masked_lm", "token_classifier"])
def test_file_round_trip(head, policy, small, ids, numpy, tmp_path, decayed):
    model = small(BERT, head=head, dtype=policy, num_layers=1, **classes(head))
    model.compile()
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again) is BERT
    assert again.dtype_policy.name == policy
    inputs = {"token_ids": ids, "token_types": ids % 2, "padding_mask": ids > 3}
    np.testing.assert_array_equal(numpy(again(inputs)), numpy(model(inputs)))
    kernels = {w.path for w in model.trainable_variables if w.name == "kernel"}
    assert decayed(again) == kernels


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((0, "gelu", 1e-5), "d_model must be a positive whole number; received 0"),
        ((8, "tan", 1e-5), "activation must be one of .*; received 'tan'"),
        ((8, None, 1e-5), "activation must be one of .*; received None"),
        ((8, "gelu", -1), "norm_epsilon must be a number, 0 or more; received -1"),
        ((8, "gelu", 1e-5, "a"), "initializer_range must be a number, 0 or more; received 'a'"),
    ],
)
def test_a_head_that_cannot_be(arguments, says):
    with pytest.raises(ValueError, match=says):
        MaskedLMHead(*arguments)
