"""GPT: training, masks, and the step protocol."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from keraslm.models import GPT

pytestmark = pytest.mark.filterwarnings("ignore:.*softmax over axis.*")  # of one token

LLAMA = {
    "num_layers": 2,
    "norm": "rms", "positions": "rotary", "activation": "silu", "gated": True, "use_bias": False,
    "num_kv_heads": 1, "tied": False,
}  # fmt: skip
CONFIGS = {
    "gpt2": {"num_layers": 2},
    "sinusoidal_post_norm": {"positions": "sinusoidal", "norm_first": False,
                             "embedding_scale": True},
    "learned_rms_grouped": {"norm": "rms", "num_heads": 4, "num_kv_heads": 2, "head_dim": 6},
    "rotary_gated": {"positions": "rotary", "gated": True, "embedding_norm": True},
    "untied_no_positions": {"positions": None, "tied": False},
    "llama": LLAMA,
}  # fmt: skip
MATRIX = pytest.mark.parametrize("fields", CONFIGS.values(), ids=CONFIGS)
POLICIES = pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])


def tolerance(policy):
    return {"float32": 1e-5, "mixed_bfloat16": 0.3}[policy]


# === Training ===


def test_bare_compile_and_fit_on_arrays(decayed):
    ids = np.tile(np.arange(7, dtype="int32"), (4, 1))
    keras.utils.set_random_seed(1)
    model = GPT(vocab_size=7, num_layers=1, d_model=8, num_heads=2, max_length=8)
    model.compile()
    history = model.fit(ids[:, :-1], ids[:, 1:], epochs=3, verbose=0).history["loss"]
    assert history[0] == pytest.approx(np.log(7), abs=0.1)
    assert history[-1] < history[0]
    assert isinstance(model.optimizer, keras.optimizers.AdamW)
    matrices = {w.path for w in model.trainable_variables if w.name == "kernel"}
    assert len(matrices) == 6
    assert decayed(model) == matrices


def test_loss_falls_on_a_dataset_of_dicts():
    """A grammar in which each token but padding follows from the one before."""
    import tensorflow as tf

    ids = np.array([[(r + t) % 5 + 1 for t in range(8)] for r in range(10)], "int32")
    mask = np.ones((10, 7), bool)
    mask[5:, 4:] = False
    inputs = {"token_ids": np.where(mask, ids[:, :-1], 0), "padding_mask": mask}
    dataset = tf.data.Dataset.from_tensor_slices((inputs, ids[:, 1:], mask.astype("float32")))
    keras.utils.set_random_seed(1)
    model = GPT(vocab_size=6, num_layers=1, d_model=16, num_heads=2, max_length=8, dropout=0.1)
    model.compile(keras.optimizers.Adam(0.02), weighted_metrics=["accuracy"])
    history = model.fit(dataset.batch(5), epochs=25, verbose=0).history
    assert history["loss"][0] > 1.2
    assert history["loss"][-1] < 0.2
    loss, accuracy = model.evaluate(dataset.batch(5), verbose=0)
    assert loss < 0.1
    assert accuracy == 1
    plain = model.predict(ids[:1, :-1], verbose=0)
    np.testing.assert_array_equal(plain[0].argmax(-1), ids[0, 1:])


@pytest.mark.parametrize("kind", ["dict", "ids_dataset", "shuffled", "steps"])
def test_fit_takes(kind, small, ids):
    import tensorflow as tf

    model = small(GPT, num_layers=1)
    model.compile("sgd", run_eagerly=True)
    x, y = ids[:, :-1], ids[:, 1:]
    if kind == "dict":
        history = model.fit({"token_ids": x}, y, validation_data=({"token_ids": x}, y), verbose=0)
        assert {"loss", "val_loss"} <= set(history.history)
        return
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(2)
    kwargs = {"shuffle": {"shuffle": True}, "steps": {"steps_per_epoch": 2}}.get(kind, {})
    if kind == "steps":
        dataset = dataset.repeat()
    assert np.isfinite(model.fit(dataset, verbose=0, **kwargs).history["loss"]).all()


def test_regularizer_adds_losses(small, ids):
    model = small(GPT, num_layers=2, kernel_regularizer="l2")
    model(ids)
    assert len(model.losses) == 2 * 6


def test_dropout_only_in_training(shared, ids, numpy):
    model, plain = shared(GPT, dropout=0.3), shared(GPT)
    np.testing.assert_array_equal(model(ids), plain(ids))
    assert np.abs(numpy(model(ids, training=True)) - numpy(plain(ids))).max() > 1e-2


def test_weights_of_one_shape_start_different():
    model = GPT(vocab_size=12, num_layers=2, d_model=8, num_heads=2, ffn_dim=8, max_length=12)
    matrices = [np.asarray(w) for w in model.weights if len(w.shape) == 2]
    for i, first in enumerate(matrices):
        assert not any(np.array_equal(first, second) for second in matrices[i + 1 :])


def test_what_writes_to_the_residual_starts_smaller():
    model = GPT(vocab_size=12, num_layers=8, d_model=64, num_heads=2)
    block = model.trunk.blocks[0]
    assert np.asarray(block.attention.query.kernel).std() == pytest.approx(0.02, rel=0.1)
    for layer in (block.attention.output_projection, block.feed_forward.down):
        assert np.asarray(layer.kernel).std() == pytest.approx(0.02 / 4, rel=0.1)


# === Masks ===


@MATRIX
def test_padding_changes_no_logit(fields, shared, ids, numpy):
    model = shared(GPT, **fields)
    lengths = np.array([6, 3, 1])
    mask = np.arange(6)[None] < lengths[:, None]
    for filler in (0, 5):
        logits = numpy(model({"token_ids": np.where(mask, ids, filler), "padding_mask": mask}))
        assert np.isfinite(logits).all()
        for row, length in enumerate(lengths):
            alone = numpy(model(ids[row : row + 1, :length]))
            np.testing.assert_allclose(logits[row, :length], alone[0], rtol=2e-6, atol=2e-6)


@POLICIES
def test_a_row_of_padding_alone_gives_no_nan(policy, shared, ids, numpy):
    model = shared(GPT, dtype=policy)
    logits = model({"token_ids": ids, "padding_mask": np.zeros(ids.shape, bool)})
    assert np.isfinite(numpy(logits)).all()


@MATRIX
def test_segments_are_documents_alone(fields, shared, ids, numpy):
    model = shared(GPT, **fields)
    lengths = (3, 1, 2)
    segments = np.repeat([4, 5, 9], lengths)[None].astype("int32")
    packed = numpy(model({"token_ids": ids[:1], "segment_ids": segments}))
    start = 0
    for length in lengths:
        alone = numpy(model(ids[:1, start : start + length]))
        np.testing.assert_allclose(packed[:, start : start + length], alone, atol=5e-6)
        start += length
    assert np.abs(packed[:, 3:] - numpy(model(ids[:1]))[:, 3:]).max() > 1e-2


def test_segments_and_padding_together(shared, ids, numpy):
    model = shared(GPT)
    segments = np.array([[0, 0, 1, 1, 1, 1]], "int32")
    mask = np.array([[1, 1, 1, 1, 0, 0]], bool)
    packed = numpy(model({"token_ids": ids[:1], "segment_ids": segments, "padding_mask": mask}))
    np.testing.assert_allclose(packed[:, 2:4], numpy(model(ids[:1, 2:4])), atol=5e-6)


def test_causal(shared, ids, numpy):
    model = shared(GPT)
    other = ids.copy()
    other[:, 4:] = 1 + other[:, 4:] % 5
    np.testing.assert_allclose(numpy(model(ids))[:, :4], numpy(model(other))[:, :4], atol=1e-6)


# === The step protocol ===


def run_steps(model, ids, lengths, length=8, **kwargs):
    """Logits of all tokens, fed in chunks of these lengths."""
    cache = model.init_cache(len(ids), length)
    parts, start = [], 0
    for count in lengths:
        logits, cache = model.step(ids[:, start : start + count], cache, start, **kwargs)
        parts.append(np.asarray(logits))
        assert logits.dtype == "float32"
        start += count
    return np.concatenate(parts, axis=1), cache


@MATRIX
@POLICIES
def test_cached_equals_uncached_token_for_token(policy, fields, shared, ids, numpy):
    model = shared(GPT, dtype=policy, **fields)
    ids = ids[:, :4]
    expected = numpy(model(ids))
    logits, cache = run_steps(model, ids, [1] * 4)
    np.testing.assert_allclose(logits, expected, atol=tolerance(policy))
    config = model.transformer_config
    assert len(cache) == 2 * config.num_layers
    for part in keras.tree.flatten(cache):
        assert tuple(part.shape) == (3, config.num_kv_heads, 8, config.head_dim)
        assert part.dtype == model.compute_dtype


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("lengths", [(6,), (4, 2), (1, 3, 2)])
def test_prefill_in_chunks(lengths, name, shared, ids, numpy):
    model = shared(GPT, **CONFIGS[name])
    logits, _ = run_steps(model, ids, lengths)
    np.testing.assert_allclose(logits, numpy(model(ids)), atol=1e-5)


def test_a_longer_cache_and_garbage_in_it_do_not_matter(shared, ids, numpy):
    model = shared(GPT)
    cache = keras.tree.map_structure(lambda x: ops.ones_like(x) * 100, model.init_cache(3, 40))
    logits, _ = model.step(ids, cache, 0)
    np.testing.assert_allclose(logits, numpy(model(ids)), atol=1e-5)


@POLICIES
def test_last_only(policy, shared, ids):
    model = shared(GPT, dtype=policy)
    every, cache = model.step(ids, model.init_cache(3, 8), 0)
    last, same = model.step(ids, model.init_cache(3, 8), 0, last_only=True)
    assert tuple(last.shape) == (3, 1, 13)
    atol = 1e-6 if policy == "float32" else 0.05
    np.testing.assert_allclose(last[:, 0], every[:, -1], atol=atol)
    for a, b in zip(keras.tree.flatten(cache), keras.tree.flatten(same), strict=True):
        np.testing.assert_array_equal(ops.cast(a, "float32"), ops.cast(b, "float32"))


@MATRIX
def test_rows_with_left_padding_equal_running_alone(fields, shared, ids):
    model = shared(GPT, **fields)
    pad = np.array([0, 2, 5], "int32")
    padded = np.where(np.arange(6)[None] < pad[:, None], 0, ids)
    logits, _ = run_steps(model, padded, (4, 1, 1), pad=pad)
    assert np.isfinite(logits).all()
    for row, count in enumerate(pad):
        alone, _ = run_steps(model, ids[row : row + 1, count:], (6 - count,))
        np.testing.assert_allclose(logits[row, count:], alone[0], rtol=2e-6, atol=2e-6)


def test_step_in_a_graph_of_any_length(shared, ids, numpy):
    """What the exports trace: start is a tensor and the length unknown."""
    import tensorflow as tf

    model = shared(GPT, **LLAMA)

    @tf.function(input_signature=[
        tf.TensorSpec((None, None), "int32"), tf.TensorSpec((), "int32"),
        tf.TensorSpec((None,), "int32"),
        tf.nest.map_structure(lambda x: tf.TensorSpec((None, *x.shape[1:])),
                              model.init_cache(1, 8)),
    ])  # fmt: skip
    def step(token_ids, start, pad, cache):
        return model.step(token_ids, cache, start, pad)

    pad = np.zeros(3, "int32")
    first, cache = step(ids[:, :4], 0, pad, model.init_cache(3, 8))
    second, _ = step(ids[:, 4:], 4, pad, cache)
    np.testing.assert_allclose(np.concatenate([first, second], 1), numpy(model(ids)), atol=1e-5)


def test_no_step_past_the_cache(shared, ids):
    model = shared(GPT, positions="rotary")
    _, cache = model.step(ids[:, :4], model.init_cache(3, 4), 0)
    with pytest.raises(ValueError, match="cache"):
        model.step(ids[:, 4:], cache, 4)


def test_no_step_without_causal(small, ids, numpy):
    try:
        model = small(GPT, causal=False)
    except ValueError:
        return
    np.testing.assert_allclose(run_steps(model, ids, (6,))[0], numpy(model(ids)), atol=1e-5)


# === Types ===


@pytest.mark.parametrize(
    ("tied", "policy"),
    [(True, "mixed_bfloat16"), (False, "mixed_float16"), (True, "bfloat16"), (False, "bfloat16")],
)
def test_logits_are_float32(tied, policy, shared, ids):
    model = shared(GPT, dtype=policy, tied=tied)
    logits = model(ids)
    assert logits.dtype == "float32"
    assert np.isfinite(np.asarray(logits)).all()
    assert model.compute_dtype == keras.dtype_policies.get(policy).compute_dtype
    symbolic = model(keras.Input((6,), dtype="int32"))
    assert symbolic.dtype == "float32"


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint16", "int16"])
def test_ids_of_any_whole_type(dtype, shared, ids):
    model = shared(GPT)
    np.testing.assert_array_equal(model(ids.astype(dtype)), model(ids))


def test_vocab_size_of_numpy():
    ids = np.array([[0, 3]])
    model = GPT(vocab_size=ids.max() + 1, num_layers=1, d_model=8, num_heads=2)
    assert type(model.transformer_config.vocab_size) is int  # JSON knows no other


# === Saving ===


@pytest.mark.parametrize("fields", [{}, LLAMA, {"kernel_regularizer": keras.regularizers.L2(0.1)}],
                         ids=["gpt2", "llama", "regularized"])  # fmt: skip
def test_config_round_trip(fields, small, ids):
    model = small(GPT, dropout=0.1, name="mine", **fields)
    again = GPT.from_config(model.get_config())
    again.set_weights(model.get_weights())
    assert again.name == "mine"
    assert again.transformer_config == model.transformer_config
    np.testing.assert_array_equal(again(ids), model(ids))


def test_config_is_plain_data(small):
    json.dumps(small(GPT, kernel_regularizer=keras.regularizers.L2(0.1)).get_config())


@pytest.mark.parametrize(
    ("name", "policy"),
    [("gpt2", "float32"), ("gpt2", "mixed_float16"), ("llama", "mixed_bfloat16")],
)
def test_file_round_trip(name, policy, small, ids, tmp_path):
    model = small(GPT, dtype=policy, dropout=0.1, **CONFIGS[name])
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again) is GPT
    assert again.dtype_policy.name == policy
    assert {block.dtype_policy.name for block in again.trunk.blocks} == {policy}
    assert again.transformer_config == model.transformer_config
    np.testing.assert_array_equal(again(ids), model(ids))
    np.testing.assert_array_equal(
        run_steps(again, ids, (4, 2))[0], run_steps(model, ids, (4, 2))[0]
    )


@pytest.mark.parametrize(
    "policy",
    [
        "float32",
        "mixed_float16",
    ],
)
def test_compile_state_survives(policy, small, ids, tmp_path, decayed):
    model = small(GPT, num_layers=1, dtype=policy)
    model.compile(run_eagerly=True)
    model.fit(ids[:, :-1], ids[:, 1:], verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again.optimizer) is type(model.optimizer)
    assert int(again.optimizer.iterations) == 1
    for ours, theirs in zip(again.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert isinstance(again.loss, keras.losses.SparseCategoricalCrossentropy)
    assert (
        decayed(again)
        == decayed(model)
        == {w.path for w in again.trainable_variables if w.name == "kernel"}
    )


def test_compile_state_of_ones_own(small, ids, tmp_path):
    model = small(GPT, num_layers=1)
    model.compile(keras.optimizers.SGD(0.25), run_eagerly=True)
    model.fit(ids[:, :-1], ids[:, 1:], verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(again.optimizer, keras.optimizers.SGD)
    assert float(again.optimizer.learning_rate) == 0.25


def test_frozen_stays_frozen(small, tmp_path):
    model = small(GPT)
    model.trainable = False
    model.save(tmp_path / "model.keras")
    assert not keras.models.load_model(tmp_path / "model.keras").trainable_weights


# === As a part ===


@pytest.mark.parametrize("several", [False, True])
def test_part_of_a_functional_model(several, small, ids, tmp_path):
    gpt = small(GPT)
    token_ids = keras.Input((None,), dtype="int32", name="token_ids")
    inputs = {"token_ids": token_ids} if several else token_ids
    values = {"token_ids": ids} if several else ids
    if several:
        inputs["padding_mask"] = keras.Input((None,), dtype="bool", name="padding_mask")
        values["padding_mask"] = np.arange(6)[None] < np.array([[6], [3], [5]])
    logits = gpt(inputs)
    assert logits.shape == (None, None, 13)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(logits))
    expected = np.asarray(gpt(values)).mean(1)
    np.testing.assert_allclose(model(values), expected, atol=1e-5)
    model.compile("sgd", "mse", run_eagerly=True)
    model.fit(values, expected + 1, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(values), model(values))


def test_summary_has_a_row_a_block(shared):
    lines = []
    shared(GPT, num_layers=2).summary(print_fn=lines.append)
    text = "\n".join(lines)
    assert all(name in text for name in ("token_embedding", "block_0", "block_1", "final_norm"))


# === Misuse ===


def test_unknown_input(shared, ids):
    message = r"unknown input 'mask': GPT takes token_ids and, if wanted, padding_mask, segment_ids"
    with pytest.raises(ValueError, match=message):
        shared(GPT)({"token_ids": ids, "mask": ids > 0})


def test_missing_token_ids(shared, ids):
    with pytest.raises(ValueError, match="token_ids is missing: GPT takes token_ids and"):
        shared(GPT)({"padding_mask": ids > 0})


@pytest.mark.parametrize("wrap", [lambda x: [x, x], lambda x: (x,), lambda x: x.tolist()])
def test_a_list_of_inputs(wrap, shared, ids):
    with pytest.raises(ValueError, match=r"Inputs must be an array of token ids or a dict with"):
        shared(GPT)(wrap(ids))


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
@pytest.mark.parametrize("symbolic", [False, True])
def test_too_long_an_input(symbolic, positions, shared):
    ids = keras.Input((13,), dtype="int32") if symbolic else np.ones((1, 13), "int32")
    message = "token_ids has 13 positions, more than max_length=12. Shorten the input or build"
    with pytest.raises(ValueError, match=message):
        shared(GPT, positions=positions)(ids)


def test_rotary_has_no_longest_input(shared):
    assert shared(GPT, positions="rotary")(np.ones((1, 13), "int32")).shape == (1, 13, 13)


@pytest.mark.parametrize("bad", [13, 99, -1])
@pytest.mark.parametrize("as_dict", [False, True])
def test_ids_out_of_range(as_dict, bad, small, ids):
    model = small(GPT)
    model.compile("sgd")
    x = ids.copy()
    x[1, 2] = bad
    with pytest.raises(ValueError, match=rf"token_ids must be from 0 to 12; received {bad}. Was"):
        model.fit({"token_ids": x} if as_dict else x, ids, verbose=0)


def test_negative_ids_outside_of_fit(shared, ids):
    with pytest.raises(Exception, match=r"token_ids|not in \[0"):
        shared(GPT)(np.where(ids > 6, ids, -1))


@pytest.mark.parametrize("method", ["predict", "evaluate"])
def test_negative_ids_in_graphs(method, small, ids):
    model = small(GPT, num_layers=1)
    model.compile("sgd")
    x = np.where(ids > 6, ids, -1)
    with pytest.raises(ValueError, match="token_ids must be from 0 to 12; received -1"):
        model.predict(x, verbose=0) if method == "predict" else model.evaluate(x, ids, verbose=0)


@pytest.mark.parametrize("wrap", [lambda x: x[0].tolist(), lambda x: {"token_ids": x.tolist()}])
def test_lists_of_ids(wrap, shared, ids):
    with pytest.raises(ValueError, match="array"):
        shared(GPT)(wrap(ids))


def test_token_types_are_of_bert(small):
    with pytest.raises(ValueError, match="token_types"):
        small(GPT, token_types=2)
