"""Judging vectors: analogies, similarity, bias; and the projector."""

import json
from pathlib import Path

import numpy as np
import pytest
from gensim.models import KeyedVectors
from gensim.test.utils import datapath

from keraslm.embeddings import analogies, evaluate, similarity, weat, write_projector
from keraslm.embeddings.evaluation import table_of
from keraslm.embeddings.storage import keyed


@pytest.fixture(scope="module")
def capitals():
    """Vectors in which a capital is its country plus one direction."""
    pairs = [("Athens", "Greece"), ("Paris", "France"), ("Rome", "Italy"), ("Oslo", "Norway")]
    rng = np.random.default_rng(0)
    words, rows = [], []
    for capital, country in pairs:
        row = rng.normal(size=20)
        words += [country, capital]
        rows += [row, row + 3 * np.eye(20)[0]]
    return keyed(words, np.array(rows, "float32"))


def test_analogies(capitals, tmp_path):
    (tmp_path / "q.txt").write_text(
        ": capitals\nAthens Greece Paris France\nathens greece Rome Italy\n"
        "Paris France Rome Norway\n: unknown\nBonn Germany Paris France\n"
    )
    found = analogies(capitals, tmp_path / "q.txt")
    assert found.sections == {"capitals": (2, 3)} and found.unknown == 1
    assert (found.right, found.asked, found.accuracy) == (2, 3, pytest.approx(2 / 3))
    (tmp_path / "bad.txt").write_text("only three words\n")
    with pytest.raises(ValueError, match="line 1 has 3 words, not 4"):
        analogies(capitals, tmp_path / "bad.txt")


def test_as_gensim_judges():
    """On real vectors, a part of the questions, and both sets of pairs."""
    rng = np.random.default_rng(0)
    lines = Path(datapath("questions-words.txt")).read_text(encoding="utf-8").splitlines()
    words = sorted({w.lower() for line in lines[:900] if line[0] != ":" for w in line.split()})
    pairs = Path(datapath("wordsim353.tsv")).read_text(encoding="utf-8").splitlines()[3:150]
    words = sorted({*words, *(w.lower() for line in pairs for w in line.split("\t")[:2])})
    vectors = keyed(words, rng.normal(size=(len(words), 12)).astype("float32"))
    ours = analogies(vectors)
    score, sections = vectors.evaluate_word_analogies(
        datapath("questions-words.txt"), case_insensitive=True
    )
    theirs = {s["section"]: len(s["correct"]) for s in sections[:-1]}
    assert ours.asked == sum(len(s["correct"]) + len(s["incorrect"]) for s in sections[:-1])
    assert {name: right for name, (right, _) in ours.sections.items() if right} == {
        name: right for name, right in theirs.items() if right
    }
    assert ours.accuracy == pytest.approx(score)
    for name in ("wordsim353.tsv", "simlex999.txt"):
        _, spearman, unknown = vectors.evaluate_word_pairs(datapath(name), case_insensitive=True)
        found = similarity(vectors, name)
        assert found.spearman == pytest.approx(float(spearman[0]), abs=1e-6)
        assert found.unknown / (found.pairs + found.unknown) == pytest.approx(
            unknown / 100, abs=0.01
        )


def test_report(capitals):
    result = evaluate(capitals)
    assert json.loads(json.dumps(result)) == result
    assert result["wordsim353"]["spearman"] is None or result["wordsim353"]["pairs"] > 1
    text = table_of(result)
    assert "8 words, width 20" in text and "capital-common-countries" in text
    with pytest.raises(FileNotFoundError, match="No file none.txt"):
        evaluate(capitals, "none.txt")


def test_no_pairs(capitals, tmp_path):
    (tmp_path / "p.tsv").write_text("just a line\n")
    with pytest.raises(ValueError, match="no line of two words and a number"):
        similarity(capitals, tmp_path / "p.tsv")


def biased(strength):
    """Men near careers, women near family, as much as is asked."""
    men = ["John", "Paul", "Mike", "Kevin", "Steve", "Greg", "Jeff", "Bill"]
    women = ["Amy", "Joan", "Lisa", "Sarah", "Diana", "Kate", "Ann", "Donna"]
    career = [
        "executive",
        "management",
        "professional",
        "corporation",
        "salary",
        "office",
        "business",
    ]
    family = [
        "home",
        "parents",
        "children",
        "family",
        "cousins",
        "marriage",
        "wedding",
        "relatives",
    ]
    rng = np.random.default_rng(0)
    words = [*men, *women, *career, *family]
    rows = rng.normal(size=(len(words), 10))
    rows[: len(men), 0] += strength
    rows[len(men) + len(women) : -len(family), 0] += strength
    return keyed(words, rows.astype("float32"))


def test_weat_sees_the_bias_that_is_there():
    strong = next(r for r in weat(biased(5.0)) if r.targets == ("male names", "female names"))
    assert strong.effect > 1.5 and strong.p < 0.001 and strong.used == 31
    none = next(r for r in weat(biased(0.0)) if r.targets == ("male names", "female names"))
    assert abs(none.effect) < strong.effect - 0.5 and none.p > 0.01
    flowers = weat(biased(0.0))[0]
    assert flowers.effect is None and "too few words are known" in str(flowers)
    assert "d +1." in str(strong)


def test_weat_is_the_definition():
    vectors = biased(1.0)
    test = [("x", ["John", "Paul"]), ("y", ["Amy", "Joan"]), ("a", ["office", "salary"]),
            ("b", ["home", "family"])]  # fmt: skip

    def s(w):
        return np.mean([vectors.similarity(w, a) for a in test[2][1]]) - np.mean(
            [vectors.similarity(w, b) for b in test[3][1]]
        )

    x, y = [s(w) for w in test[0][1]], [s(w) for w in test[1][1]]
    expected = (np.mean(x) - np.mean(y)) / np.std(x + y, ddof=1)
    assert weat(vectors, [test])[0].effect == pytest.approx(expected, abs=1e-5)
    with pytest.raises(ValueError, match="two targets and two attributes"):
        weat(vectors, [test[:3]])


def test_projector(small, tmp_path):
    from tensorboard.plugins.projector import projector_plugin

    folder = write_projector(small, tmp_path / "logs", limit=4)
    rows = np.loadtxt(folder / "vectors.tsv", delimiter="\t")
    np.testing.assert_allclose(rows, small.vectors[:4], rtol=1e-4)
    lines = (folder / "words.tsv").read_text(encoding="utf-8").splitlines()
    assert lines == ["word\tcount", "the\t50", "king\t40", "Paris\t30", "café\t20"]
    from google.protobuf import text_format

    config = projector_plugin.ProjectorConfig()
    text_format.Parse((folder / "projector_config.pbtxt").read_text(), config)
    assert config.embeddings[0].tensor_path == "vectors.tsv"
    plain = KeyedVectors(2, count=0)
    plain.add_vectors(["a\tb", " "], np.ones((2, 2), "float32"))
    write_projector(plain, tmp_path / "logs")
    assert (folder / "words.tsv").read_text().splitlines() == ["a b", "' '"]
