"""Vectors put under a model."""

import collections
import warnings

import keras
import numpy as np
import pytest

import keraslm
from keraslm.embeddings import VectorInitializer, train_fasttext
from keraslm.models import BERT, GPT
from keraslm.pipeline import train_vectors
from keraslm.tokenizers import Tokenizer


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
    with pytest.warns(
        UserWarning, match=r"Only 9.1 % of the vocabulary's words start from a vector"
    ):
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
VECTORS = {word: np.full(2, i + 1, "float32") for i, word in enumerate(WORDS)}


@pytest.mark.parametrize(
    "ids",
    [
        {"mat": 5, "dog": 3, "the": 1, "[UNK]": 0, "cat": 2, "sat": 4},
        {word: i + 1 for i, word in enumerate(WORDS)},  # word_index of Keras
        {word: np.int64(7 - i) for i, word in enumerate(WORDS)},
    ],
)
def test_a_dict_is_read_by_its_ids(ids):
    layer = keras.layers.Embedding(9, 2, VectorInitializer(VECTORS, ids, scale="raw"))
    layer.build()
    table = np.asarray(layer.embeddings)
    for word in WORDS:
        np.testing.assert_array_equal(table[int(ids[word])], VECTORS[word])
    if "[UNK]" not in ids and min(ids.values()) == 1:
        np.testing.assert_array_equal(table[0], 0)  # padding
    assert VectorInitializer(VECTORS, ids).coverage.total == len(ids)


def test_vocabularies_of_keras_and_hugging_face():
    import tokenizers

    layer = keras.layers.StringLookup(vocabulary=WORDS[::-1])
    table = VectorInitializer(VECTORS, layer, scale="raw").table()
    for word, i in zip(WORDS, np.asarray(layer(WORDS)), strict=True):
        np.testing.assert_array_equal(table[i], VECTORS[word])
    engine = tokenizers.Tokenizer(tokenizers.models.WordLevel(unk_token="[UNK]"))
    engine.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    trainer = tokenizers.trainers.WordLevelTrainer(special_tokens=["[UNK]"], show_progress=False)
    engine.train_from_iterator(["the cat sat", "the dog sat mat the"], trainer)
    for vocabulary in (engine, engine.get_vocab(), Tokenizer(engine)):
        table = VectorInitializer(VECTORS, vocabulary, scale="raw").table()
        for word in WORDS:
            i = engine.token_to_id(word)
            np.testing.assert_array_equal(table[i], VECTORS[word])


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        ({"the": 3, "cat": 3}, "gives the id 3 to two tokens, 'the' and 'cat'"),
        ({1: "the", 2: "cat"}, r"from tokens to ids.*received 1: 'the'"),
        ({"the": 0.5}, "whole numbers from 0 on; received 'the': 0.5"),
        ({"the": -1}, "received 'the': -1"),
        ("the", "received the string 'the'"),
        ({}, "vocabulary is empty"),
    ],
)
def test_dicts_that_are_no_vocabulary(vocabulary, message):
    with pytest.raises(ValueError, match=message):
        VectorInitializer(VECTORS, vocabulary)


def test_a_table_that_is_too_small_is_a_sentence():
    start = VectorInitializer(VECTORS, {word: i + 1 for i, word in enumerate(WORDS)})
    with pytest.raises(ValueError, match=r"largest id of the vocabulary is 5.*Take input_dim=6"):
        keras.layers.Embedding(5, 2, start).build()


CHINESE = ["我们爱北京天安门，天安门上太阳升。", "北京的太阳和天安门的人们，我们爱人们。"] * 9
SPLIT = ["我们", "爱", "北京", "天安门", "太阳", "升", "人们", "的", "和", "上", "，", "。"]


@pytest.mark.parametrize("as_dict", [False, True])
def test_words_reach_the_tokens_of_byte_level_bpe(as_dict):
    tokenizer = Tokenizer.train([*CHINESE, "the cat sat, The dog"] * 3, "bpe", 330)
    rng = np.random.default_rng(0)
    known = {word: rng.normal(size=4) for word in [*SPLIT, *WORDS, "é"]}
    ids = [i for ids in tokenizer.encode_batch(CHINESE) for i in ids]
    names = tokenizer.vocabulary
    counts = collections.Counter(names[i] for i in ids)
    vocabulary = tokenizer.engine.get_vocab() if as_dict else tokenizer
    start = VectorInitializer(known, vocabulary, scale="raw", frequencies=counts)
    assert start.coverage.share_of_text == 1
    table, seen = start.table(), set()
    for i in range(len(names)):  # what the engine decodes is the reference
        text = tokenizer.decode([i]).strip().lower()
        if text in known:
            seen.add(text)
            np.testing.assert_allclose(table[i], known[text], rtol=1e-6)
    assert {"我们", "天安门", "the", "，"} <= seen
    half = next(i for i, n in enumerate(names) if n == "é")  # a byte, not the letter
    assert not np.allclose(table[half], known["é"])


def test_a_token_of_several_words_is_their_mean():
    words = {"我们": [1.0, 1.0], "我": [9.0, 9.0], "北京": [3.0, 5.0], "the": [7.0, 7.0]}
    tokens = ["，我们", "我们。北京", '."The', "theory", "我们", "北京", "the"]
    start = VectorInitializer(words, tokens, scale="raw")
    np.testing.assert_allclose(start.table()[:3], [[1, 1], [2, 3], [7, 7]])
    assert start.coverage.missed == ["theory"] and start.coverage.by["from its words"] == 3


def test_every_character_of_the_words_has_a_vector():
    words = {"हिन्दी": [1.0, 2.0], "हिम": [3.0, 4.0], "天安门": [5.0, 6.0], "Don't": [7.0, 8.0]}
    characters = sorted(set("".join(words)))
    for tokens in (characters, Tokenizer.train(list(words), "char")):
        start = VectorInitializer(words, tokens, scale="raw")
        assert set(start.coverage.missed).isdisjoint(characters)
    table = dict(
        zip(characters, VectorInitializer(words, characters, scale="raw").table(), strict=True)
    )
    np.testing.assert_allclose(table["ि"], [2, 3])
    np.testing.assert_allclose(table["म"], [3, 4])
    np.testing.assert_allclose(table["安"], [5, 6])
    np.testing.assert_allclose(table["o"], [7, 8])


def test_vectors_of_another_byte_level_bpe_are_read_as_text():
    one = Tokenizer.train(CHINESE, "bpe", 300)
    known = {name: np.full(2, i, "float32") for i, name in enumerate(one.vocabulary)}
    words = VectorInitializer(known, ["北京", "我们", "?"], scale="raw", subwords=False)
    for row, word in zip(words.table(), ["北京", "我们"], strict=False):
        assert one.decode([int(row[0])]) == word


def test_low_coverage_is_said():
    known = {"the": np.ones(2), "cat": np.zeros(2)}
    tokens = ["<unk>", "the", "cat", "?", "!", ";"]
    VectorInitializer(known, tokens)  # punctuation is in few vectors
    with pytest.warns(UserWarning, match=r"Only 40.0 % of the vocabulary.*unit=tokenizer"):
        VectorInitializer(known, [*tokens, "qq", "zz", "7"])
    VectorInitializer(known, tokens, frequencies={"the": 5, "?": 5})
    with pytest.warns(UserWarning, match=r"Only 10.0 % of the text"):
        VectorInitializer(known, tokens, frequencies={"the": 1, "?": 9})
    with pytest.warns(UserWarning, match="such as '<unk>'"):
        VectorInitializer(known, ["<unk>", "the"], frequencies={"the": 1, "<unk>": 9})
