"""Word vectors: trained, kept, and put under a model."""

import keras
import numpy as np
import pytest

from keraslm.embeddings import VectorInitializer, load_vectors, save_vectors, train_word2vec
from keraslm.models import GPT
from keraslm.pipeline import train_vectors


@pytest.fixture(scope="module")
def vectors(lm, articles):
    return train_vectors(articles[:100], lm.tokenizer, 32, epochs=2)


def test_similar_contexts_give_similar_vectors():
    rng = np.random.default_rng(0)
    animals, colours = ["cat", "dog", "cow"], ["red", "blue", "green"]
    sentences = [
        ["a", str(rng.choice(animals)), "eats", "some", str(rng.choice(colours)), "paint"]
        for _ in range(2000)
    ]
    lines = []
    wv = train_word2vec(sentences, 16, epochs=10, window=1, workers=1, report=lines.append)
    assert {word for word, _ in wv.most_similar("cat", topn=2)} == {"dog", "cow"}
    assert {word for word, _ in wv.most_similar("red", topn=2)} == {"blue", "green"}
    assert len(lines) == 10 and lines[9].startswith("epoch 10/10: loss ")


def test_long_sentences_are_not_cut_off():
    wv = train_word2vec([["a"] * 15000 + ["end", "end"]], 4, epochs=1, workers=1)
    assert "end" in wv.key_to_index and wv.get_vecattr("a", "count") == 15000


def test_no_text_is_told():
    with pytest.raises(ValueError, match="No token occurs min_count=2 times"):
        train_word2vec([["once"]], 4)


def test_saved_and_loaded(vectors, tmp_path):
    save_vectors(vectors, tmp_path / "v", {"method": "Word2Vec"})
    back = load_vectors(tmp_path / "v")
    assert back.index_to_key == vectors.index_to_key
    np.testing.assert_array_equal(back.vectors, vectors.vectors)
    assert back.most_similar("Ġthe")[0][0] == vectors.most_similar("Ġthe")[0][0]
    (tmp_path / "v" / "vocabulary.txt").write_text("one\n")
    with pytest.raises(ValueError, match="is damaged"):
        load_vectors(tmp_path / "v")
    (tmp_path / "v" / "vectors.npy").write_bytes(b"garbage")
    with pytest.raises(ValueError, match="not a readable array"):
        load_vectors(tmp_path / "v")
    with pytest.raises(FileNotFoundError, match=r"vectors.npy is missing"):
        load_vectors(tmp_path)


def test_rows_are_the_scaled_vectors_of_their_tokens(lm, vectors):
    start = VectorInitializer(vectors, lm.tokenizer, stddev=0.05)
    table = np.asarray(start((lm.tokenizer.vocab_size, 32)))
    names = lm.tokenizer.vocabulary
    hits = [i for i, name in enumerate(names) if name in vectors.key_to_index]
    found = np.stack([vectors[names[i]] for i in hits])
    # Centred and scaled together: differences of rows are those of the vectors, times one factor.
    all_found = np.stack([vectors[n] for n in names if n in vectors.key_to_index])
    factor = 0.05 / (all_found - all_found.mean(0)).std()
    np.testing.assert_allclose(
        table[hits] - table[hits[0]], (found - found[0]) * factor, rtol=0.05, atol=2e-3
    )
    assert abs(table[hits].mean()) < 0.01 and table[hits].std() == pytest.approx(0.05, rel=0.1)
    assert start.coverage.covered >= len(hits) and start.coverage.total == len(names)
    assert set(start.coverage.missed).isdisjoint(vectors.key_to_index)
    misses = [i for i, name in enumerate(names) if name in start.coverage.missed]
    assert 0.03 < table[misses].std() < 0.07
    assert f"of {len(names)} tokens" in str(start.coverage)


def test_lookup_falls_back_to_the_bare_and_the_lower_word():
    known = {"king": np.full(4, 1.0), "and": np.full(4, 2.0), "Paris": np.full(4, 3.0)}
    tokens = ["Ġking", "##and", "▁Paris", "King", "zzz", "Ġ"]
    start = VectorInitializer(known, tokens, stddev=None)
    np.testing.assert_array_equal(start.table[:4, 0], [1, 2, 3, 1])
    assert start.coverage.missed == ["zzz", "Ġ"]


def test_a_model_starts_from_them_and_reloads_without_them(lm, vectors, tmp_path):
    start = VectorInitializer(vectors, lm.tokenizer)
    gpt = GPT(lm.tokenizer.vocab_size, 1, 32, 2, max_length=16, embeddings_initializer=start)
    np.testing.assert_array_equal(gpt.trunk.embed.embeddings, start.table)
    gpt.save(tmp_path / "m.keras")
    assert (tmp_path / "m.keras").stat().st_size < 4 * gpt.count_params() + 200_000
    back = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(back.trunk.embed.embeddings, start.table)
    again = VectorInitializer.from_config(start.get_config())
    assert again.table is None and again.source == start.source
    assert np.asarray(again((50, 32))).std() == pytest.approx(0.02, rel=0.2)


def test_works_in_keras_own_embedding(lm, vectors):
    start = VectorInitializer(vectors, lm.tokenizer)
    layer = keras.layers.Embedding(lm.tokenizer.vocab_size, 32, embeddings_initializer=start)
    layer.build()
    np.testing.assert_array_equal(layer.embeddings, start.table)


def test_misfits_are_told(lm, vectors):
    start = VectorInitializer(vectors, lm.tokenizer)
    with pytest.raises(ValueError, match="vector_size=d_model"):
        start((lm.tokenizer.vocab_size, 64))
    with pytest.raises(ValueError, match="None of the 2 tokens has a vector"):
        VectorInitializer(vectors, ["qqqq", "xxxx"])
    with pytest.raises(ValueError, match="vocabulary is empty"):
        VectorInitializer(vectors, [])
