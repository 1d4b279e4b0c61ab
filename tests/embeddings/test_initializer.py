"""Vectors put under a model."""

import warnings

import keras
import numpy as np
import pytest

import keraslm
from keraslm.embeddings import VectorInitializer, train_fasttext
from keraslm.models import BERT, GPT
from keraslm.pipeline import train_vectors


@pytest.fixture(scope="module")
def vectors(lm, articles):
    return train_vectors(articles[:100], lm.tokenizer, 32, epochs=2)


def test_rows_are_the_scaled_vectors_of_their_tokens(lm, vectors):
    start = VectorInitializer(vectors, lm.tokenizer, scale=0.05)
    table = np.asarray(start((lm.tokenizer.vocab_size, 32)))
    names = lm.tokenizer.vocabulary
    hits = [i for i, name in enumerate(names) if name in vectors.key_to_index]
    found = np.stack([vectors[names[i]] for i in hits])
    # Centred and scaled together: differences of rows are those of the vectors, times one factor.
    one, other = found - found[0], table[hits] - table[hits[0]]
    np.testing.assert_allclose(other, one * (other[1, 0] / one[1, 0]), atol=1e-4)
    assert table[hits].std() == pytest.approx(0.05, rel=0.1)
    assert start.coverage.covered >= len(hits) and start.coverage.total == len(names)
    assert set(start.coverage.missed).isdisjoint(vectors.key_to_index)
    misses = [i for i, name in enumerate(names) if name in start.coverage.missed]
    assert 0.02 < table[misses].std() < 0.07
    assert f"of {len(names)} tokens" in str(start.coverage)


def test_ways_to_a_vector_in_their_order():
    known = {
        word: np.full(4, i, "float32")
        for i, word in enumerate(["king", "and", "Paris", "Ġking", "playing", "player", "cls"])
    }
    tokens = ["Ġking", "KING", "##and", "▁Paris", "ĠAND", "pla", "##ying", "zzz", "[CLS]", "[PAD]"]
    start = VectorInitializer(known, tokens, scale="raw")
    table = start.table()
    np.testing.assert_array_equal(table[:7, 0], [3, 0, 1, 2, 1, 4.5, 4])
    np.testing.assert_array_equal(table[9], 0)  # padding
    assert not np.array_equal(table[8], known["cls"])  # a special token is not the word
    assert start.coverage.missed == ["zzz", "[CLS]", "[PAD]"]
    assert start.coverage.by == {
        "by name": 1, "in lower case": 1, "without a mark": 3, "from words": 2
    }  # fmt: skip
    without = VectorInitializer(known, tokens, scale="raw", subwords=False)
    assert {"pla", "##ying"} <= set(without.coverage.missed)


def test_fasttext_gives_the_others_a_vector(pattern):
    wv = train_fasttext(pattern[:200], 8, bucket=500, epochs=1, workers=1)
    start = VectorInitializer(wv, ["", "cat", "##cats", "<s>"], scale="raw")
    np.testing.assert_allclose(start.table()[2], wv["cats"], rtol=1e-6)
    assert start.coverage.missed == ["", "<s>"] and start.coverage.by["from letters"] == 1


def test_draws_have_the_mean_and_spread_of_the_hits():
    rng = np.random.default_rng(0)
    known = {f"w{i}": row for i, row in enumerate(rng.normal([3, -1], [1, 0.1], (500, 2)))}
    with pytest.warns(UserWarning, match=r"Only 9.1 % of the vocabulary starts from a vector"):
        start = VectorInitializer(known, [*known, *(f"?{i}" for i in range(5000))], scale="raw")
    drawn = start.table()[500:]
    np.testing.assert_allclose(drawn.mean(0), [3, -1], atol=0.1)
    np.testing.assert_allclose(drawn.std(0), [1, 0.1], rtol=0.1)


def test_scales(small):
    words = small.index_to_key
    np.testing.assert_array_equal(
        VectorInitializer(small, words, scale="raw").table(), small.vectors
    )
    unit = VectorInitializer(small, [*words, "?"], scale="unit").table()
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, rtol=1e-5)
    assert VectorInitializer(small, words, scale=0.3).table().std() == pytest.approx(0.3, rel=1e-4)


def test_share_of_running_text(small):
    start = VectorInitializer(
        small, ["the", "king", "x", "y"], frequencies={"the": 6, "x": 1, "y": 3}
    )
    assert start.coverage.share_of_text == pytest.approx(0.6)
    assert start.coverage.missed == ["y", "x"] and "60.0 % of running text" in str(start.coverage)


def test_projections_keep_what_they_can(small):
    words = small.index_to_key
    start = VectorInitializer(small, words, scale="raw")
    wide = np.asarray(start((5, 16)))
    np.testing.assert_allclose(wide @ wide.T, small.vectors @ small.vectors.T, atol=1e-5)
    assert (np.abs(wide) > 1e-6).mean() > 0.9  # not zeros in the new dimensions
    narrow = np.asarray(start((5, 2)))
    centred = small.vectors - small.vectors.mean(0)
    values = np.linalg.svd(centred, compute_uv=False)
    kept = np.linalg.svd(narrow - narrow.mean(0), compute_uv=False)
    np.testing.assert_allclose(kept, values[:2], rtol=1e-4)
    with pytest.raises(ValueError, match="vector_size=16, or allow the projection"):
        VectorInitializer(small, words, projection=False)((5, 16))


def test_a_model_starts_from_them_and_reloads_without_them(lm, vectors, tmp_path):
    start = VectorInitializer(vectors, lm.tokenizer, name="lee")
    gpt = GPT(lm.tokenizer.vocab_size, 1, 32, 2, max_length=16, embeddings_initializer=start)
    np.testing.assert_array_equal(gpt.trunk.embed.embeddings, start.table())
    gpt.save(tmp_path / "m.keras")
    assert (tmp_path / "m.keras").stat().st_size < 4 * gpt.count_params() + 200_000
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(back.trunk.embed.embeddings, start.table())
    with pytest.warns(UserWarning, match="Load weights, or give vectors again"):
        clone = GPT.from_config(gpt.get_config())
    drawn = np.asarray(clone.trunk.embed.embeddings)
    assert drawn.std() == pytest.approx(start.table().std(), rel=0.1)
    config = start.get_config()
    assert config["name"] == "lee" and len(config["source"]["hash"]) == 16
    with pytest.raises(ValueError, match="from a config, which has no vectors"):
        VectorInitializer.from_config(config).table()
    assert len(str(config)) < 300


def test_in_bert_and_keras_own_embedding_and_clone_model(lm, vectors):
    start = VectorInitializer(vectors, lm.tokenizer)
    size = lm.tokenizer.vocab_size
    bert = BERT(size, 1, 32, 2, max_length=16, head="masked_lm", embeddings_initializer=start)
    np.testing.assert_array_equal(bert.trunk.embed.embeddings, start.table())
    model = keras.Sequential([keras.Input((4,)), keras.layers.Embedding(size, 32, start)])
    np.testing.assert_array_equal(model.layers[0].embeddings, start.table())
    with pytest.warns(UserWarning, match="Load weights"):
        copy = keras.models.clone_model(model)
    assert not np.array_equal(copy.layers[0].embeddings, start.table())


@pytest.mark.slow
def test_a_model_of_them_is_exported(lm, vectors, tmp_path):
    start = VectorInitializer(vectors, lm.tokenizer)
    gpt = GPT(lm.tokenizer.vocab_size, 1, 32, 2, max_length=64, embeddings_initializer=start)
    mine = keraslm.tasks.TextGenerator(gpt, lm.tokenizer)
    mine.save(tmp_path)
    assert keraslm.export.tflite(mine, tmp_path, prefill_lengths=[8]).is_file()
    back = keraslm.from_pretrained(tmp_path)
    np.testing.assert_array_equal(back.model.trunk.embed.embeddings, start.table())


def test_misfits_are_told(lm, vectors):
    start = VectorInitializer(vectors, lm.tokenizer)
    with pytest.raises(ValueError, match="make a table of 600 rows"):
        start((10, 32))
    with pytest.raises(ValueError, match="None of the 2 tokens has a vector"):
        VectorInitializer(vectors, ["qqqq", "xxxx"])
    with pytest.raises(ValueError, match="vocabulary is empty"):
        VectorInitializer(vectors, [])
    with pytest.raises(ValueError, match="for the token 'a' is not finite"):
        VectorInitializer({"a": np.array([1, np.nan])}, ["a"])
    for scale in ("std", -1, 0, True, None):
        with pytest.raises(ValueError, match="scale must be 'raw', 'unit' or a positive number"):
            VectorInitializer(vectors, lm.tokenizer, scale=scale)


WORDS = ["the", "cat", "dog", "sat", "mat"]


@pytest.mark.parametrize(
    "ids",
    [
        {"[UNK]": 0, "the": 1, "cat": 2, "dog": 3, "sat": 4, "mat": 5},
        {"mat": 5, "dog": 3, "the": 1, "[UNK]": 0, "cat": 2, "sat": 4},
        {"the": 1, "cat": 2, "dog": 3, "sat": 4, "mat": 5},
    ],
    ids=["in order", "in another order", "from 1 on"],
)
def test_a_dict_is_used_by_its_ids(ids):
    rows = np.random.default_rng(0).normal(size=(5, 6)).astype("f4")
    start = VectorInitializer(dict(zip(WORDS, rows, strict=True)), ids, scale="raw")
    for size in (6, 9):  # more rows than ids are drawn
        layer = keras.layers.Embedding(size, 6, embeddings_initializer=start)
        layer.build()
        for word, row in zip(WORDS, rows, strict=True):
            np.testing.assert_allclose(layer.embeddings[ids[word]], row, atol=1e-6)
    small = keras.layers.Embedding(5, 6, embeddings_initializer=start)
    with pytest.raises(ValueError, match="input_dim=6"):
        small.build()
    with pytest.raises(ValueError, match="ids, which are whole numbers from 0 on"):
        VectorInitializer({"the": rows[0]}, {"the": "1"})
