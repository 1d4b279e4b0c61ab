"""Word2Vec and FastText."""

import keras
import numpy as np
import pytest

from keraslm.embeddings import train_fasttext, train_word2vec


@pytest.mark.parametrize("skip_gram", [False, True])
def test_similar_contexts_give_similar_vectors(pattern, skip_gram):
    lines = []
    wv = train_word2vec(
        pattern, 16, epochs=30, window=1, workers=1, report=lines.append, skip_gram=skip_gram
    )
    assert {word for word, _ in wv.most_similar("cat", topn=2)} == {"dog", "cow"}
    assert {word for word, _ in wv.most_similar("red", topn=2)} == {"blue", "green"}
    assert len(lines) == 30 and lines[29].startswith("epoch 30/30: loss ")
    assert wv.get_vecattr("a", "count") == 2000


def test_one_worker_gives_the_same_twice(pattern):
    one, two = (train_word2vec(pattern[:200], 8, workers=1, epochs=2) for _ in range(2))
    np.testing.assert_array_equal(one.vectors, two.vectors)


def test_as_gensim_alone(pattern):
    from gensim.models import Word2Vec

    ours = train_word2vec(pattern, 8, workers=1, epochs=2, seed=3)
    theirs = Word2Vec(pattern, vector_size=8, workers=1, epochs=2, seed=3).wv
    assert ours.index_to_key == theirs.index_to_key
    # The starting vectors depend on the order of the words alone, so both learn nearly the same.
    cosines = [
        float(np.dot(ours.get_vector(w, norm=True), theirs.get_vector(w, norm=True)))
        for w in ours.index_to_key
    ]
    assert np.mean(cosines) > 0.9


def test_any_token_and_long_sentences():
    odd = ["two words", "\n", "7", "。", "</s>"]
    wv = train_word2vec([odd * 4000], 4, epochs=1, workers=1)
    assert set(wv.index_to_key) == set(odd)
    assert all(wv.get_vecattr(token, "count") == 4000 for token in odd)


def test_vocabulary_size():
    wv = train_word2vec([["a"] * 9 + ["b"] * 6 + ["c"] * 3], 4, min_count=1, max_size=2)
    assert len(wv.index_to_key) <= 2 and wv.index_to_key[0] == "a"


@pytest.mark.parametrize("train", [train_word2vec, train_fasttext])
def test_no_text_is_told(train):
    with pytest.raises(ValueError, match="No token occurs min_count=5 times"):
        train([["once"]], 4)
    with pytest.raises(ValueError, match="The corpus has no tokens"):
        train([], 4)


def test_fasttext_guesses_unseen_words(pattern):
    keras.utils.set_random_seed(0)
    lines = []
    wv = train_fasttext(pattern, 8, epochs=2, bucket=500, workers=1, report=lines.append)
    assert "cats" not in wv.key_to_index and wv["cats"].shape == (8,)
    assert wv.similarity("cats", "cat") > wv.similarity("cats", "paint")
    assert len(lines) == 2 and "tokens/s" in lines[0]
    with pytest.raises(ValueError, match="holds white space"):
        train_fasttext([["two words"] * 9], 4)


@pytest.mark.parametrize("train", [train_word2vec, train_fasttext])
def test_stop_words_have_no_vector(train):
    texts = ["the king and the queen of spain"] * 20
    vectors = train(texts, 4, epochs=1, workers=1, stop_words="english")
    assert set(vectors.key_to_index) == {"king", "queen", "spain"}


@pytest.mark.parametrize("train", [train_word2vec, train_fasttext])
@pytest.mark.parametrize(
    "wrong",
    [{"window": 0}, {"epochs": 0}, {"vector_size": 0}, {"workers": -1}, {"max_size": -1},
     {"min_count": -5}, {"window": 1.5}, {"seed": -1}],
    ids=str,
)  # fmt: skip
def test_numbers_that_cannot_be(train, wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"{name} must be a .*whole number.*; received"):
        train([["a", "b"]] * 9, **{"vector_size": 4, "min_count": 1, "workers": 1, **wrong})
