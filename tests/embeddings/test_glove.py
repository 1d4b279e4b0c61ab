"""GloVe: counts, training, going on from a checkpoint."""

import itertools

import numpy as np
import pytest

from keraslm.embeddings import Sentences, train_glove
from keraslm.embeddings.glove import cooccurrences, shuffled
from keraslm.embeddings.sentences import encode

pytest.importorskip("numba")


def slow_counts(sentences, window, symmetric, weighted):
    """By the definition."""
    counts = {}
    for sentence in sentences:
        for (i, a), (j, b) in itertools.combinations(enumerate(sentence), 2):
            if j - i <= window:
                weight = 1 / (j - i) if weighted else 1
                counts[b, a] = counts.get((b, a), 0) + weight
                if symmetric:
                    counts[a, b] = counts.get((a, b), 0) + weight
    return counts


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("in_files", [True, False])
def test_counts_are_those_of_the_definition(tmp_path, symmetric, weighted, in_files, monkeypatch):
    from keraslm.embeddings import glove

    monkeypatch.setattr(glove, "BLOCK", 40)  # many blocks
    monkeypatch.setattr(glove, "BUCKET", 16)
    rng = np.random.default_rng(1)
    lines = [[str(w) for w in rng.zipf(1.5, rng.integers(1, 30)) % 40] for _ in range(60)]
    text = encode(Sentences(lines), 1)
    folder = tmp_path if in_files else None
    rows = cooccurrences(
        text.ids, len(text.words), 4, symmetric=symmetric, distance_weighting=weighted, workers=2,
        folder=folder,
    )  # fmt: skip
    found = shuffled(rows, folder=folder)
    expected = slow_counts(lines, 4, symmetric, weighted)
    keys = [(text.words[i], text.words[j]) for i, j in zip(found.rows, found.columns, strict=True)]
    assert len(keys) == len(set(keys)) and set(keys) == set(expected)
    np.testing.assert_allclose(found.values, [expected[key] for key in keys], rtol=1e-6)
    assert keys != sorted(keys)  # shuffled


def test_similar_contexts_give_similar_vectors(pattern):
    lines = []
    wv = train_glove(pattern, 16, window=2, epochs=25, x_max=100, workers=1, report=lines.append)
    assert {word for word, _ in wv.most_similar("cat", topn=2)} == {"dog", "cow"}
    assert wv.get_vecattr("a", "count") == 2000 and wv.index_to_key[0] == "a"
    costs = [float(line.split("cost ")[1].split(",")[0]) for line in lines if "cost" in line]
    assert len(costs) == 25 and costs[-1] < 0.1 * costs[0]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_checkpoint_is_gone_on_from(pattern, tmp_path, workers):
    settings = dict(window=2, workers=workers, seed=3)
    whole = train_glove(pattern, 8, epochs=6, **settings)
    lines = []
    train_glove(pattern, 8, epochs=2, checkpoint=tmp_path / "c", **settings)
    parts = train_glove(
        pattern, 8, epochs=6, checkpoint=tmp_path / "c", report=lines.append, **settings
    )
    assert "going on after epoch 2" in lines and sum("cost" in line for line in lines) == 4
    if workers == 1:  # threads without locks are not exact
        np.testing.assert_array_equal(parts.vectors, whole.vectors)
    else:
        assert np.corrcoef(parts.vectors.ravel(), whole.vectors.ravel())[0, 1] > 0.9
    with pytest.raises(ValueError, match="of another corpus or other settings"):
        train_glove(pattern, 8, checkpoint=tmp_path / "c", **settings, x_max=7)
    (tmp_path / "c").write_bytes(b"PK half a file")
    with pytest.raises(ValueError, match="is not a checkpoint of GloVe"):
        train_glove(pattern, 8, checkpoint=tmp_path / "c", **settings)


def test_interrupted_training_goes_on(pattern, tmp_path):
    class StopError(Exception):
        pass

    def stop_after_three(line):
        if line.startswith("epoch 4"):
            raise StopError

    settings = dict(window=2, workers=1, epochs=6, checkpoint=tmp_path / "c")
    with pytest.raises(StopError):
        train_glove(pattern, 8, report=stop_after_three, **settings)
    again = train_glove(pattern, 8, **settings)
    whole = train_glove(pattern, 8, window=2, workers=1, epochs=6)
    np.testing.assert_array_equal(again.vectors, whole.vectors)


def test_files_give_the_same_and_go_away(pattern, tmp_path):
    settings = dict(window=2, workers=1, epochs=2)
    in_files = train_glove(pattern, 8, folder=tmp_path / "spill", **settings)
    np.testing.assert_array_equal(in_files.vectors, train_glove(pattern, 8, **settings).vectors)
    assert list((tmp_path / "spill").iterdir()) == []


def test_misuse_is_told(pattern):
    with pytest.raises(ValueError, match="No word occurs min_count=5 times"):
        train_glove([["once"]])
    with pytest.raises(ValueError, match="No two words stand near one another"):
        train_glove([["alone"]] * 9)
    with pytest.raises(ValueError, match="diverged in epoch"):
        train_glove(pattern, 8, learning_rate=1e20, workers=1)
    with pytest.raises(ValueError, match="window must be a positive"):
        train_glove(pattern, window=0)
