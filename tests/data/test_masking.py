"""Masking: proportions, what is never masked, whole words, reproducible epochs."""

import numpy as np
import pytest
import tensorflow as tf

from keraslm.data import MaskedLM, masked_lm_dataset
from keraslm.tokenizers import Tokenizer


def collect(dataset):
    return list(dataset.as_numpy_iterator())


def padded(tokenizer, texts, length=64):
    """``(len(texts), length)`` int32: [CLS] … [SEP] and padding."""
    rows = np.full((len(texts), length), tokenizer.pad_id, np.int32)
    for row, ids in zip(rows, tokenizer.encode_batch(texts), strict=True):
        ids = ids[: length - 2]
        row[: len(ids) + 2] = [tokenizer.special_id("cls"), *ids, tokenizer.special_id("sep")]
    return rows


def run(masked, rows, step=0):
    inputs, targets, weight = masked(rows, step)
    return {key: value.numpy() for key, value in inputs.items()}, targets.numpy(), weight.numpy()


@pytest.fixture(scope="module")
def rows(lee, wordpiece):
    return padded(wordpiece, lee)


@pytest.fixture(scope="module")
def many(rows):
    """Batches of rows (16 draws of 300 rows) and how they were masked."""
    return np.concatenate([rows] * 16)


def ordinary(tokenizer, ids):
    return ~np.isin(ids, list(tokenizer.special_tokens.values()))


@pytest.mark.parametrize("whole_word", [False, True])
def test_shapes_types_and_slots(rows, wordpiece, whole_word):
    inputs, targets, weight = run(MaskedLM(wordpiece, whole_word=whole_word), rows)
    slots = 10  # 0.15 * 64, rounded up
    assert inputs["token_ids"].shape == inputs["padding_mask"].shape == (300, 64)
    assert inputs["masked_positions"].shape == targets.shape == weight.shape == (300, slots)
    assert inputs["token_ids"].dtype == inputs["masked_positions"].dtype == np.int32
    assert (targets.dtype, weight.dtype) == (np.int32, np.float32)
    assert np.array_equal(inputs["padding_mask"], rows != wordpiece.pad_id)
    used = weight == 1
    assert np.array_equal(used, weight != 0)
    positions = inputs["masked_positions"]
    assert np.array_equal(targets[used], np.take_along_axis(rows, positions, 1)[used])
    assert not targets[~used].any() and not positions[~used].any()
    for place, count in zip(positions, used.sum(1), strict=True):
        assert count and (np.diff(place[:count]) > 0).all()  # used first, ascending, no doubles


@pytest.mark.parametrize("whole_word", [False, True])
def test_only_chosen_tokens_change_and_specials_never(many, wordpiece, whole_word):
    inputs, _, weight = run(MaskedLM(wordpiece, whole_word=whole_word), many)
    chosen = np.zeros(many.shape, bool)
    for row, place, used in zip(chosen, inputs["masked_positions"], weight == 1, strict=True):
        row[place[used]] = True
    assert (inputs["token_ids"] == many)[~chosen].all()
    assert ordinary(wordpiece, many)[chosen].all()
    assert not ordinary(wordpiece, many).all()


@pytest.mark.parametrize("rate", [0.15, 0.4])
@pytest.mark.parametrize("whole_word", [False, True])
def test_proportions(many, wordpiece, rate, whole_word):
    masked = MaskedLM(wordpiece, rate=rate, whole_word=whole_word, max_predictions=40)
    inputs, targets, weight = run(masked, many)
    used = weight == 1
    count = used.sum()
    candidates = ordinary(wordpiece, many).sum()
    assert count > 20_000
    assert abs(count / candidates - rate) < 0.01
    new = np.take_along_axis(inputs["token_ids"], inputs["masked_positions"], 1)[used]
    old = targets[used]
    share = 5 * 0.5 / count**0.5  # five standard deviations
    assert abs((new == wordpiece.special_id("mask")).mean() - 0.8) < share
    random = (new != wordpiece.special_id("mask")) & (new != old)
    assert abs((new == old).mean() - 0.1) < share + 0.001  # chance draws the old one rarely
    assert abs(random.mean() - 0.1) < share + 0.001
    assert ordinary(wordpiece, new[random]).all()
    assert len(np.unique(new[random])) > 0.7 * wordpiece.vocab_size  # from the whole vocabulary


def test_each_row_gets_its_share(rows, wordpiece):
    weight = run(MaskedLM(wordpiece), rows)[2]
    count = ordinary(wordpiece, rows).sum(1)
    expected = np.maximum(1, np.round(np.float32(0.15) * count.astype(np.float32)))
    assert np.array_equal(weight.sum(1), expected)


def test_every_position_is_chosen_equally_often(wordpiece):
    row = padded(wordpiece, ["the " * 20], length=22)
    weight = np.zeros(22)
    inputs, _, used = run(MaskedLM(wordpiece), np.repeat(row, 4000, 0))
    np.add.at(weight, inputs["masked_positions"][used == 1], 1)
    assert weight[0] == weight[21] == 0
    expected = 4000 * 3 / 20
    assert np.abs(weight[1:21] - expected).max() < 5 * expected**0.5


def words_of(tokenizer, row):
    """Lists of positions, one a word, by the vocabulary's own spelling."""
    words = []
    for place, token in enumerate(row):
        name = tokenizer.id_to_token(int(token))
        if name in tokenizer.special_tokens:
            words.append(None)
        elif name.startswith("##") and words and words[-1] is not None:
            words[-1].append(place)
        else:
            words.append([place])
    return [word for word in words if word]


def split_words(tokenizer, rows, **options):
    """How many words were masked only in part, and how many of several pieces as a whole."""
    inputs, _, weight = run(MaskedLM(tokenizer, **options), rows)
    partly = wholly = 0
    for row, place, used in zip(rows, inputs["masked_positions"], weight == 1, strict=True):
        chosen = set(place[used].tolist())
        for word in words_of(tokenizer, row):
            inside = len(chosen & set(word))
            partly += 0 < inside < len(word)
            wholly += inside == len(word) > 1
    return partly, wholly


def test_whole_words_are_masked_together(rows, wordpiece):
    partly, wholly = split_words(wordpiece, rows, whole_word=True)
    assert partly == 0 and wholly > 200
    assert split_words(wordpiece, rows, whole_word=False)[0] > 200


def test_whole_words_within_few_slots(rows, wordpiece):
    options = {"whole_word": True, "max_predictions": 3}
    assert split_words(wordpiece, rows, **options)[0] == 0
    assert run(MaskedLM(wordpiece, **options), rows)[2].sum(1).max() == 3


def test_rows_of_specials_only_ask_nothing(wordpiece):
    rows = padded(wordpiece, ["", "the"], length=8)
    inputs, targets, weight = run(MaskedLM(wordpiece), rows)
    assert weight.tolist() == [[0, 0], [1, 0]]
    assert np.array_equal(inputs["token_ids"][0], rows[0])


def test_piece_after_a_special_token_is_a_word_of_its_own(wordpiece):
    piece = next(i for i, token in enumerate(wordpiece.vocabulary) if token.startswith("##"))
    rows = [[wordpiece.special_id("cls"), piece, wordpiece.special_id("sep")]]
    inputs, targets, weight = run(MaskedLM(wordpiece, whole_word=True), rows)
    assert inputs["masked_positions"].tolist() == [[1]]
    assert (targets.tolist(), weight.tolist()) == ([[piece]], [[1]])


def test_step_and_seed_decide(rows, wordpiece):
    first = run(MaskedLM(wordpiece, seed=1), rows, 5)[0]["token_ids"]
    assert np.array_equal(first, run(MaskedLM(wordpiece, seed=1), rows, 5)[0]["token_ids"])
    assert not np.array_equal(first, run(MaskedLM(wordpiece, seed=1), rows, 6)[0]["token_ids"])
    assert not np.array_equal(first, run(MaskedLM(wordpiece, seed=2), rows, 5)[0]["token_ids"])


# === The dataset ===


def unmasked(batch):
    """The token ids before masking."""
    inputs, targets, weight = batch
    ids = inputs["token_ids"].copy()
    for row, place, target, used in zip(
        ids, inputs["masked_positions"], targets, weight == 1, strict=True
    ):
        row[place[used]] = target[used]
    return ids


def test_validation_holds_every_token(lee, wordpiece):
    length, lee = 33, lee[:60]
    dataset = masked_lm_dataset(lee, wordpiece, length=length, batch_size=100, shuffle=False)
    ids = np.concatenate([unmasked(batch) for batch in collect(dataset)])
    assert ids.shape[1] == length and len(ids) % 100  # a short last batch
    assert (ids[:, 0] == wordpiece.special_id("cls")).all()
    assert ((ids == wordpiece.special_id("sep")).sum(1) == 1).all()
    frame = [wordpiece.special_id(role) for role in ("cls", "sep", "pad")]
    assert ids[~np.isin(ids, frame)].tolist() == sum(wordpiece.encode_batch(lee), [])


def test_validation_is_the_same_every_pass(lee, wordpiece):
    dataset = masked_lm_dataset(lee[:40], wordpiece, length=32, batch_size=9, shuffle=False)
    first, second = ([x["token_ids"] for x, _, _ in collect(dataset)] for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_training_epochs_differ_and_are_reproducible(lee, wordpiece):
    def epochs(**options):
        dataset = masked_lm_dataset(
            lee[:40], wordpiece, length=32, batch_size=8, whole_word=True, seed=7, **options
        )
        return [np.stack([x["token_ids"] for x, _, _ in collect(dataset)]) for _ in range(2)]

    first, second = epochs()
    assert first.shape == second.shape and not np.array_equal(first, second)
    assert np.array_equal(np.stack(epochs()), [first, second])
    assert np.array_equal(epochs(epoch=1)[0], second)


def test_same_row_is_masked_differently_every_epoch(wordpiece):
    texts = ["the man in the street said that he was not in the house at the time of the fire"]
    dataset = masked_lm_dataset(texts, wordpiece, length=32, batch_size=1)
    places = [collect(dataset)[0][0]["masked_positions"].tolist() for _ in range(8)]
    assert len({str(place) for place in places}) > 4


def test_static_shapes(lee, wordpiece):
    dataset = masked_lm_dataset(lee, wordpiece, length=32, batch_size=8, max_predictions=7)
    inputs, targets, weight = dataset.element_spec
    assert inputs["token_ids"].shape.as_list() == [8, 32]
    shapes = [spec.shape.as_list() for spec in (inputs["masked_positions"], targets, weight)]
    assert shapes == [[8, 7]] * 3


# === Errors ===


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 0}, "rate must be between 0 and 1; received 0"),
        ({"rate": 1.0}, "rate must be between 0 and 1; received 1.0"),
        ({"rate": "a"}, "rate must be between 0 and 1; received 'a'"),
        ({"rate": float("nan")}, "rate must be between 0 and 1; received nan"),
        ({"max_predictions": 0}, "max_predictions must be a positive whole number; received 0"),
        ({"max_predictions": 1.5}, "max_predictions must be a positive whole number; rec.* 1.5"),
        ({"seed": None}, "seed must be a whole number of 64 bits; received None"),
        ({"whole_word": "no"}, "whole_word must be True or False; received 'no'"),
    ],
)
def test_options_outside_their_bounds(wordpiece, options, message):
    with pytest.raises(ValueError, match=message):
        MaskedLM(wordpiece, **options)


def test_what_is_no_tokenizer():
    with pytest.raises(ValueError, match=r"must be a keraslm.tokenizers.Tokenizer; received str"):
        MaskedLM("tokenizer.json")


@pytest.mark.parametrize(
    ("token_ids", "says"),
    [
        (None, "token_ids must be a list of lists of token ids; received NoneType"),
        ([1, 2], "token ids must be a list of whole numbers; received 1"),
        ([[1, 2], [1]], "token_ids must be rows of one length"),
        (np.full((2, 8), 1.5), "token ids must be whole numbers; received .*1.5"),
        ([[10**6] * 8], "token ids must be from 0 to"),
        (tf.ones((2, 8)), r"token_ids must be whole numbers \(batch, length\); received float32"),
        (tf.ones((2, 8, 1), "int32"), r"\(batch, length\); received int32 \(2, 8, 1\)"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_are_no_rows_of_token_ids(wordpiece, token_ids, says):
    with pytest.raises(ValueError, match=says):
        MaskedLM(wordpiece)(token_ids)


def test_tokenizer_without_mask(bpe):
    with pytest.raises(ValueError, match="no mask token"):
        MaskedLM(bpe)


def test_tokenizer_without_frame():
    special = ["<unk>", "[MASK]", "[SEP]"]
    tokenizer = Tokenizer.train(["a b c"], "char", None, special_tokens=special)
    with pytest.raises(ValueError, match="no cls and no pad token"):
        masked_lm_dataset(["a"], tokenizer, length=8, batch_size=1)


def test_whole_word_without_pieces():
    special = ["<unk>", "[MASK]"]
    tokenizer = Tokenizer.train(["a b c"], "char", None, special_tokens=special)
    with pytest.raises(ValueError, match="whole_word needs a wordpiece tokenizer"):
        MaskedLM(tokenizer, whole_word=True)


def test_more_slots_than_tokens(rows, wordpiece):
    with pytest.raises(ValueError, match="max_predictions=65 is more than the 64 tokens"):
        MaskedLM(wordpiece, max_predictions=65)(rows)
    with pytest.raises(ValueError, match="max_predictions=9 is more than length=8"):
        masked_lm_dataset(["a"], wordpiece, length=8, batch_size=1, max_predictions=9)


@pytest.mark.parametrize(
    ("texts", "length", "message"),
    [
        (["a"], 2, "length must be a whole number, 3 or more; received 2"),
        (["a"], None, "length must be a whole number, 3 or more; received None"),
        ([], 8, "no text to mask"),
        ([""], 8, "no text to mask"),
        ("a", 8, "texts must be a list of str; received str"),
        ({"a": 1}, 8, "texts must be a list of str; received dict"),
        ([1], 8, r"texts\[0\] must be str; received int"),
    ],
)
def test_dataset_arguments(wordpiece, texts, length, message):
    with pytest.raises(ValueError, match=message):
        masked_lm_dataset(texts, wordpiece, length=length, batch_size=1)


def test_batch_larger_than_the_data(wordpiece):
    with pytest.raises(ValueError, match="batch_size=2 is more than the 1 rows"):
        masked_lm_dataset(["the"], wordpiece, length=8, batch_size=2)
