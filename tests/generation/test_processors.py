"""Which tokens are left, beside Hugging Face; the draw, beside the distribution."""

import numpy as np
import pytest
from keras import ops

from keraslm.generation import GenerationConfig
from keraslm.generation.processors import (
    REMOVED,
    Candidates,
    RepetitionPenalty,
    TopK,
    TopP,
    check_supported,
)
from keraslm.generation.random import SEEDS, resolve_seed, uniform
from keraslm.generation.sampling import (
    draw,
    method_at_run_time,
    method_of,
    next_token,
    settings_of,
)

ROWS, VOCAB = 64, 1000
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 3, (ROWS, VOCAB)).astype("float32")
TIED = np.round(LOGITS)


def left(processor, logits, value):
    value = ops.convert_to_tensor(value, processor.dtype)
    candidates = processor(Candidates(ops.convert_to_tensor(logits)), value)
    return ops.convert_to_numpy(candidates.logits) > REMOVED


def tokens(config, logits=LOGITS, step=0):
    method = method_of(config, logits.shape[1])
    row = np.arange(len(logits), dtype="int32")
    found = next_token(ops.convert_to_tensor(logits), method, settings_of(config), row,
                       np.int32(step))  # fmt: skip
    return ops.convert_to_numpy(found)


@pytest.mark.peer
@pytest.mark.parametrize("logits", [LOGITS, TIED], ids=["different", "tied"])
def test_the_tokens_that_stay_are_those_of_transformers(logits):
    torch = pytest.importorskip("torch")
    from transformers.generation.logits_process import (
        MinPLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    from keraslm.generation.processors import MinP

    def theirs(warper):
        return ~torch.isinf(warper(None, torch.tensor(logits))).numpy()

    for k in (1, 5, 50, 64, 999):
        for most in (None, 1 << (k - 1).bit_length() if k < 999 else VOCAB):
            np.testing.assert_array_equal(left(TopK(most), logits, k), theirs(TopKLogitsWarper(k)))
    for p in (0.1, 0.5, 0.9, 0.99):
        # Which of equal logits stay depends on the sort; how many of each do not.
        ours, reference = left(TopP(), logits, p), theirs(TopPLogitsWarper(p))
        for row in range(ROWS):
            kept = np.sort(logits[row, ours[row]])
            np.testing.assert_array_equal(kept, np.sort(logits[row, reference[row]]))
    for p in (0.01, 0.1, 0.5):
        np.testing.assert_array_equal(left(MinP(), logits, p), theirs(MinPLogitsWarper(p)))


def test_top_p_keeps_the_least_number_of_tokens_that_reach_it():
    """Beside sums in double precision, which those of Hugging Face are not."""
    p = np.exp(LOGITS.astype("float64"))
    p = -np.sort(-p / p.sum(axis=1, keepdims=True), axis=1)
    for top_p in (0.3, 0.999, 0.9999):
        wanted = (np.cumsum(p, axis=1) < top_p).sum(axis=1) + 1
        assert np.abs(left(TopP(), LOGITS, top_p).sum(axis=1) - wanted).max() <= 1  # rounding
        assert (left(TopP(), LOGITS, top_p).sum(axis=1) == wanted).mean() > 0.9


def test_top_p_of_the_sorted_is_top_p_of_all():
    """The quick way, inside the logits that top-k sorted, keeps the same tokens."""
    for logits in (LOGITS, TIED):
        for k, p in ((40, 0.5), (64, 0.9), (7, 0.99)):
            after_k = TopK(64)(Candidates(ops.convert_to_tensor(logits)), ops.convert_to_tensor(k))
            p = ops.convert_to_tensor(p, "float32")
            quick = TopP()(after_k, p).logits
            slow = TopP()(after_k._replace(top=None), p).logits
            np.testing.assert_array_equal(quick, slow)


@pytest.mark.parametrize(
    "off",
    [{"top_k": 0}, {"top_k": VOCAB}, {"top_k": 2**40}, {"top_p": 1.0}, {"min_p": 0.0}],
    ids=str,
)
def test_a_setting_that_leaves_out_nothing_changes_no_draw(off):
    config = GenerationConfig(temperature=1.0, seed=5)
    np.testing.assert_array_equal(tokens(config.replace(**off)), tokens(config))


def test_settings_that_are_inputs_give_the_same_draws():
    """As in exports, where a neutral value leaves a processor out at run time."""
    names = ("temperature", "top_k", "top_p")
    for settings in ({"temperature": 0.7}, {"top_k": 40, "temperature": 1.0},
                     {"top_p": 0.8, "temperature": 1.3}, {"top_k": 9, "top_p": 0.9},
                     {"temperature": 0.0}, {"top_k": VOCAB, "temperature": 1.0}):  # fmt: skip
        config = GenerationConfig(seed=11, **settings)
        row = np.arange(ROWS, dtype="int32")
        for most in (None, 64):
            found = next_token(ops.convert_to_tensor(LOGITS), method_at_run_time(names, most),
                               settings_of(config), row, np.int32(0))  # fmt: skip
            np.testing.assert_array_equal(found, tokens(config))


def test_the_draw_follows_the_distribution_of_a_large_vocabulary():
    """262,144 tokens, most of which one running float32 sum could never reach."""
    import tensorflow as tf

    size, rows, steps = 262_144, 10, 300
    logits = np.zeros((1, size), "float32")
    logits[0, ::2] = np.log(3)  # three times as likely
    batch = ops.broadcast_to(ops.convert_to_tensor(logits), (rows, size))
    row = np.arange(rows, dtype="int32")
    run = tf.function(lambda step: draw(batch, 3, row, step), autograph=False)
    found = np.concatenate([run(tf.constant(step)) for step in range(steps)])
    assert abs((found % 2 == 0).mean() - 0.75) < 0.03
    quarters = np.bincount(found // (size // 4), minlength=4) / len(found)
    np.testing.assert_allclose(quarters, 0.25, atol=0.03)
    assert len(np.unique(found)) > 0.95 * len(found)


def test_the_draw_gives_each_token_its_share():
    """Beside the probabilities: frequent and rare tokens, within a block and across groups."""
    import tensorflow as tf

    size, rows, steps = 5000, 500, 120
    p = np.full(size, 1e-9)
    places = [0, 1, 63, 64, 700, 4095, 4096, 4999]
    p[places] = [0.4, 0.001, 0.2, 0.05, 0.3, 0.0005, 0.04, 0.0085]
    logits = ops.broadcast_to(ops.convert_to_tensor(np.log(p), "float32"), (rows, size))
    row = np.arange(rows, dtype="int32")
    run = tf.function(lambda step: draw(logits, 5, row, step), autograph=False)
    found = np.concatenate([run(tf.constant(step)) for step in range(steps)])
    counts = np.bincount(found, minlength=size)[places]
    expected = p[places] * rows * steps
    assert len(found) - counts.sum() <= 2
    chi = ((counts - expected) ** 2 / expected).sum()
    assert chi < 24.3, counts  # 7 degrees of freedom: above it in one of 1,000 tries


def test_penalty_as_in_ctrl():
    logits = ops.convert_to_tensor([[2.0, -2.0, 1.0]])
    seen = ops.convert_to_tensor([[True, True, False]])
    found = RepetitionPenalty()(Candidates(logits, seen=seen), 2.0).logits
    np.testing.assert_allclose(found, [[1.0, -4.0, 1.0]])


def test_any_whole_number_is_a_seed():
    for seed in (0, 1, -1, 2**31 - 1, 2**31, -(2**40), 10**30):
        same = resolve_seed(seed)
        assert 0 <= same < SEEDS
        np.testing.assert_array_equal(
            tokens(GenerationConfig(temperature=1.0, seed=seed)),
            tokens(GenerationConfig(temperature=1.0, seed=same)),
        )
    row = np.arange(3, dtype="int32")
    np.testing.assert_array_equal(uniform(np.int32(-1), row, 0), uniform(SEEDS - 1, row, 0))


def test_a_tiny_temperature_is_greedy():
    config = GenerationConfig(temperature=1e-39, seed=0)
    np.testing.assert_array_equal(tokens(config), LOGITS.argmax(1))


def test_a_setting_that_a_runtime_lacks_is_refused_by_name():
    config = GenerationConfig(min_p=0.1)
    with pytest.raises(ValueError, match="LiteRT-LM has no min_p; received min_p=0.1"):
        check_supported(config, {"temperature", "top_k", "top_p"}, "LiteRT-LM")
    check_supported(GenerationConfig(min_p=0.0), set(), "LiteRT-LM")
    check_supported(GenerationConfig(top_k=40, temperature=0.0), set(), "LiteRT-LM")
