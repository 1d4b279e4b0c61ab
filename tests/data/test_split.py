"""Split: by content, leak-free, close to the share."""

import random

import pytest

from keraslm.data import split_texts


def test_every_document_is_on_one_side_in_order(lee):
    train, held_out = split_texts(lee)
    assert [text for text in lee if text in set(train)] == train
    assert [text for text in lee if text in set(held_out)] == held_out
    assert sorted(train + held_out) == sorted(lee)


@pytest.mark.parametrize("validation", [0.01, 0.1, 0.5, 0.9])
def test_share_is_by_characters(lee, articles, validation):
    for texts in (lee, articles):
        held_out = split_texts(texts, validation)[1]
        share = sum(map(len, held_out)) / sum(map(len, texts))
        assert abs(share - validation) < 0.005


def test_sides_depend_on_content_not_on_order(lee):
    held_out = split_texts(lee)[1]
    shuffled = random.Random(1).sample(lee, len(lee))
    assert sorted(split_texts(shuffled)[1]) == sorted(held_out)
    assert split_texts(lee)[1] == held_out


def test_seed_changes_the_split(lee):
    assert set(split_texts(lee, seed=1)[1]) != set(split_texts(lee, seed=2)[1])


def test_split_is_the_same_on_every_machine():
    held_out = split_texts([f"document {i}" for i in range(10)], validation=0.2)[1]
    assert held_out == ["document 1", "document 7"]


def test_choice_is_not_by_position_or_length(lee):
    middle = [lee.index(text) for text in split_texts(lee, 0.3)[1]]
    assert 100 < sum(middle) / len(middle) < 200
    lengths = [len(text) for text in split_texts(lee, 0.3)[1]]
    assert 0.8 < (sum(lengths) / len(lengths)) / (sum(map(len, lee)) / len(lee)) < 1.2


def test_copies_stay_together():
    texts = ["same"] * 50 + [f"other {i}" for i in range(50)]
    for seed in range(5):
        train, held_out = split_texts(texts, 0.3, seed)
        assert not set(train) & set(held_out)
        assert len(train) + len(held_out) == 100


@pytest.mark.parametrize("validation", [0.001, 0.5, 0.999])
@pytest.mark.parametrize("texts", [["a", "b"], ["a", "b" * 1000], ["a", "b", "b"]])
def test_both_sides_have_a_document(texts, validation):
    for seed in range(4):
        train, held_out = split_texts(texts, validation, seed)
        assert train and held_out


@pytest.mark.parametrize("texts", [[], ["one"], ["same", "same"], ["one", "", " \n"]])
def test_too_few_documents(texts):
    with pytest.raises(ValueError, match="at least 2 different documents; received [01]"):
        split_texts(texts)


@pytest.mark.parametrize("validation", [0, 1, -0.1, 1.5, float("nan"), "0.5", None, [0.5], True])
def test_share_outside_its_bounds(validation):
    with pytest.raises(ValueError, match="between 0 and 1; received"):
        split_texts(["a", "b"], validation)


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        ("text", "texts must be a list of str; received str"),
        (None, "texts must be a list of str; received NoneType"),
        ({"a": 1, "b": 2}, "texts must be a list of str; received dict"),
        (["a", 1], r"texts\[1\] must be str; received int"),
        ([b"a"], r"texts\[0\] must be str; received bytes. Decode it"),
    ],
    ids=str,
)
def test_texts_of_a_wrong_type(texts, says):
    with pytest.raises(ValueError, match=says):
        split_texts(texts)


@pytest.mark.parametrize("seed", ["1", None, 1.5, 2**63])
def test_seed_of_a_wrong_type(seed):
    with pytest.raises(ValueError, match="seed must be a whole number of 64 bits; received"):
        split_texts(["a", "b"], seed=seed)
