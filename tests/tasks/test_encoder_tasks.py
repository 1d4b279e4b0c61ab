"""What encoders answer: missing words, vectors, classes; and their bundles."""

import keras
import numpy as np
import pytest

import keraslm
from keraslm.models import BERT
from keraslm.tasks import FillMask, SentenceEncoder, TextClassifier
from keraslm.tokenizers import Tokenizer


@pytest.fixture(scope="module")
def tokenizer(articles):
    return Tokenizer.train(articles[:40], "wordpiece", 500, lowercase=True)


def bert(tokenizer, **options):
    keras.utils.set_random_seed(2)
    return BERT(tokenizer.vocab_size, 1, 32, 2, max_length=24, initializer_range=0.3, **options)


def test_fill_mask(tokenizer):
    fill = FillMask(bert(tokenizer), tokenizer)
    found = fill.predict("the [MASK] said", top_k=3)
    assert [f.probability for f in found] == sorted((f.probability for f in found), reverse=True)
    ids = tokenizer.encode("the [MASK] said", add_special_tokens=True)
    logits = keras.ops.convert_to_numpy(fill.model(np.array([ids])))[0, 2]
    assert found[0].token == tokenizer.decode([int(logits.argmax())])
    p = np.exp(logits - logits.max())
    assert np.isclose(found[0].probability, p.max() / p.sum(), rtol=1e-4)
    assert found[0].text == f"the {found[0].token} said"
    both = fill.predict("the [MASK] said [MASK]", top_k=2)
    assert [len(words) for words in both] == [2, 2]
    with pytest.raises(ValueError, match=r"has no mask. Write \[MASK\]"):
        fill.predict("no mask here")


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_padding_changes_no_vector(tokenizer, pooling):
    encoder = SentenceEncoder(bert(tokenizer, head=None), tokenizer, pooling=pooling)
    texts = ["the police said", "a", "the government of the state said on monday " * 5, ""]
    together, alone = encoder.encode(texts), np.stack([encoder.encode(t) for t in texts])
    assert together.shape == (4, 32) and np.abs(together - alone).max() < 1e-5
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    similar = encoder.similarity(texts, texts[:1])
    assert similar.shape == (4, 1) and np.isclose(similar[0, 0], 1, atol=1e-5)
    plain = SentenceEncoder(encoder.model, tokenizer, pooling=pooling, normalize=False)
    assert not np.allclose(np.linalg.norm(plain.encode(texts), axis=1), 1, atol=1e-2)


def test_classifier(tokenizer):
    model = bert(tokenizer, head="classifier", num_classes=3)
    classifier = TextClassifier(model, tokenizer, ["a", "b", "c"])
    one = classifier.predict("the police said")
    many = classifier.predict(["a", "the police said"])
    assert many[1].label == one.label and abs(sum(one.probabilities.values()) - 1) < 1e-5
    assert one.label == max(one.probabilities, key=one.probabilities.get)
    with pytest.raises(ValueError, match="labels has 2 names; the model gives 3"):
        TextClassifier(model, tokenizer, ["a", "b"])


@pytest.mark.parametrize(
    ("make", "answer"),
    [
        (lambda b, t: FillMask(b(t), t), lambda task: task.predict("the [MASK]", top_k=2)),
        (
            lambda b, t: SentenceEncoder(b(t, head="pooled"), t, normalize=False),
            lambda task: task.encode("the police").tolist(),
        ),
        (
            lambda b, t: TextClassifier(b(t, head="classifier", num_classes=2), t, ["x", "y"]),
            lambda task: task.predict("the police"),
        ),
    ],
)
def test_bundles(make, answer, tokenizer, tmp_path):
    task = make(bert, tokenizer)
    back = keraslm.from_pretrained(task.save(tmp_path / "mine"))
    assert type(back) is type(task) and back.settings == task.settings
    assert answer(back) == answer(task)


def test_bad_input(tokenizer):
    with pytest.raises(ValueError, match="one of the heads .'masked_lm'.*received None"):
        FillMask(bert(tokenizer, head=None), tokenizer)
    with pytest.raises(ValueError, match="pooling must be"):
        SentenceEncoder(bert(tokenizer, head=None), tokenizer, pooling="sum")
    encoder = SentenceEncoder(bert(tokenizer, head=None), None)
    with pytest.raises(ValueError, match="There is no tokenizer"):
        encoder.encode("text")
    with pytest.raises(ValueError, match="There is no tokenizer"):
        encoder.save("anywhere")
    encoder.tokenizer = tokenizer
    with pytest.raises(ValueError, match="must be a str; received a int"):
        encoder.encode([3])
