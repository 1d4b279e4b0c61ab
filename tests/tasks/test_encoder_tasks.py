"""What encoders answer: missing words, vectors, classes; and their bundles."""

import keras
import numpy as np
import pytest

import keraslm
from keraslm.models import BERT, GPTEncoder
from keraslm.tasks import (
    FillMask,
    NextSentence,
    QuestionAnswerer,
    SentenceEncoder,
    TextClassifier,
    TokenClassifier,
)
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
    without = Tokenizer.train(["to be or not"] * 3, kind="char", vocab_size=None)
    with pytest.raises(ValueError, match="has no mask token, so that no text has a gap"):
        FillMask(bert(tokenizer), without).samples(["to be"])


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


WAYS = {
    "mean": lambda h: h.mean(0),
    "cls": lambda h: h[0],
    "max": lambda h: h.max(0),
    "mean_sqrt_len": lambda h: h.sum(0) / len(h) ** 0.5,
    "weightedmean": lambda h: np.average(h, axis=0, weights=np.arange(1, len(h) + 1)),
    "lasttoken": lambda h: h[-1],
}


def hidden(encoder, text):
    ids = encoder.tokenizer.encode(text, add_special_tokens=True)[: encoder.max_length]
    return keras.ops.convert_to_numpy(encoder.model(np.array([ids])))[0]


@pytest.mark.parametrize("pooling", [*WAYS, ("cls", "mean"), ("lasttoken", "max", "cls")])
def test_poolings(pooling, tokenizer):
    model = bert(tokenizer, head=None)
    encoder = SentenceEncoder(model, tokenizer, pooling=pooling, normalize=False)
    texts = ["the police said", "a", "the government of the state said so"]
    ways = [pooling] if isinstance(pooling, str) else pooling
    for text, found in zip(texts, encoder.encode(texts), strict=True):
        wanted = np.concatenate([WAYS[way](hidden(encoder, text)) for way in ways])
        assert found.shape == (encoder.width,) and np.abs(found - wanted).max() < 1e-5


def test_prompts(tokenizer):
    options = {"prompts": {"query": "the question: ", "none": ""}, "normalize": False}
    plain = SentenceEncoder(bert(tokenizer, head=None), tokenizer, normalize=False)
    asks = SentenceEncoder(plain.model, tokenizer, default_prompt_name="query", **options)
    texts = ["the police said", "a"]
    written = plain.encode(["the question: " + text for text in texts])
    assert np.abs(asks.encode(texts) - written).max() < 1e-6
    assert np.abs(plain.encode(texts, prompt="the question: ") - written).max() < 1e-6
    assert np.abs(asks.encode(texts, prompt_name="none") - plain.encode(texts)).max() < 1e-6
    part = SentenceEncoder(plain.model, tokenizer, include_prompt=False, **options)
    skipped = len(tokenizer.encode("the question: ")) + 1  # and [CLS]
    wanted = hidden(part, "the question: a")[skipped:].mean(0)
    assert np.abs(part.encode("a", prompt_name="query") - wanted).max() < 1e-5
    assert set(part.input_spec) - set(plain.input_spec) == {"pooling_mask"}
    with pytest.raises(ValueError, match="There is no prompt 'x'; there are query, none"):
        part.encode("a", prompt_name="x")
    with pytest.raises(ValueError, match="There is no prompt 'x'"):
        SentenceEncoder(plain.model, tokenizer, default_prompt_name="x")


def test_widths_do_not_make_new_graphs(tokenizer, monkeypatch):
    encoder = SentenceEncoder(bert(tokenizer, head=None), tokenizer)
    traces = []
    compute = SentenceEncoder.compute
    monkeypatch.setattr(
        SentenceEncoder, "compute", lambda self, **x: traces.append(1) or compute(self, **x)
    )
    for n in range(1, 20):
        encoder.encode(["the " * n] * n)
    assert len(traces) == 1
    encoder.normalize = False  # what a graph has read may not stay
    assert not np.isclose(np.linalg.norm(encoder.encode("the police")), 1, atol=1e-3)


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
        (
            lambda b, t: TextClassifier(
                GPTEncoder(t.vocab_size, 1, 32, 2, head="classifier", num_classes=3, pad_id=0), t
            ),
            lambda task: task.predict("the police"),
        ),
    ],
)
def test_bundles(make, answer, tokenizer, tmp_path):
    task = make(bert, tokenizer)
    back = keraslm.from_pretrained(task.save(tmp_path / "mine"))
    assert type(back) is type(task) and back.settings == task.settings
    assert answer(back) == answer(task)


def test_a_decoder_classifies_by_the_last_token_that_is_no_padding(tokenizer):
    model = GPTEncoder(
        tokenizer.vocab_size, 1, 32, 2, head="classifier", num_classes=3, pad_id=0,
        initializer_range=0.3,
    )  # fmt: skip
    headless = GPTEncoder(tokenizer.vocab_size, 1, 32, 2, initializer_range=0.3)
    headless.set_weights(model.get_weights()[:-1])
    kernel = np.asarray(model.weights[-1])
    ids = np.array([[5, 6, 7, 0, 0], [5, 0, 7, 8, 9], [0, 0, 0, 0, 0], [5, 6, 7, 8, 9]])
    states = keras.ops.convert_to_numpy(headless(ids))
    wanted = states[range(4), [2, 4, 0, 4]] @ kernel
    assert np.abs(keras.ops.convert_to_numpy(model(ids)) - wanted).max() < 1e-5
    mask = np.array([[1, 1, 1, 1, 1]] * 3 + [[1, 1, 1, 0, 0]], bool)
    found = keras.ops.convert_to_numpy(model({"token_ids": ids, "padding_mask": mask}))
    wanted[3] = states[3, 2] @ kernel
    assert np.abs(found - wanted).max() < 1e-5


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
    with pytest.raises(ValueError, match="text must be str; received int"):
        encoder.encode([3])


NO_LIST = [
    ({"the police": 1}, "texts must be a list of .*str; received dict"),
    (3, "texts must be a list of .*str; received int"),
    (None, "texts must be a list of .*str; received NoneType"),
    (b"the police", "texts must be a list of .*str; received bytes"),
]
CALLS = {
    "vectors": lambda tasks, texts: tasks["vectors"].encode(texts),
    "vectors, predict": lambda tasks, texts: tasks["vectors"].predict(texts),
    "similarity": lambda tasks, texts: tasks["vectors"].similarity(["a"], texts),
    "arrays": lambda tasks, texts: tasks["vectors"].inputs(texts),
    "batches": lambda tasks, texts: list(tasks["vectors"].batches(texts)),
    "outputs": lambda tasks, texts: list(tasks["vectors"].outputs(texts)),
    "classes": lambda tasks, texts: tasks["classes"].predict(texts),
    "tags": lambda tasks, texts: tasks["tags"].predict(texts),
    "fill": lambda tasks, texts: tasks["fill"].predict(texts),
    "answers": lambda tasks, texts: tasks["answers"].each(texts),
    "next": lambda tasks, texts: tasks["next"].each(texts),
}


@pytest.fixture(scope="module")
def tasks(tokenizer):
    return {
        "vectors": SentenceEncoder(bert(tokenizer, head=None), tokenizer),
        "classes": TextClassifier(bert(tokenizer, head="classifier", num_classes=2), tokenizer),
        "tags": TokenClassifier(bert(tokenizer, head="token_classifier", num_classes=2), tokenizer),
        "fill": FillMask(bert(tokenizer), tokenizer),
        "answers": QuestionAnswerer(bert(tokenizer, head="span"), tokenizer),
        "next": NextSentence(bert(tokenizer, head="next_sentence"), tokenizer),
    }


@pytest.mark.parametrize(("texts", "says"), NO_LIST, ids=repr)
@pytest.mark.parametrize("call", CALLS)
def test_texts_are_a_list(tasks, call, texts, says):
    with pytest.raises(ValueError, match=says):
        CALLS[call](tasks, texts)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda t: t["vectors"].inputs("the police"),
            "texts must be a list of str; received str",
        ),
        (lambda t: t["vectors"].inputs(["a", 3]), "text must be str; received int"),
        (lambda t: t["vectors"].encode("a", prompt=3), "prompt must be str; received int"),
        (lambda t: t["fill"].predict("[MASK]", 0), "top_k must be a positive .*; received 0"),
        (lambda t: t["fill"].predict("[MASK]", 1.5), "top_k must be a positive .*; received 1.5"),
        (
            lambda t: t["answers"].predict("a", "b", top_k=0),
            "top_k must be .*; received 0",
        ),
        (lambda t: t["answers"].predict("a", "b", max_answer_length="9"), "max_answer_length"),
        (lambda t: t["answers"].predict("a", {}), "A pair must be a tuple of two str; received"),
        (lambda t: t["next"].predict("a", "\ud800"), "half of a character, the lone surrogate"),
        (
            lambda t: SentenceEncoder(t["vectors"].model, None, prompts={"query": 3}),
            r"prompts\['query'\] must be str; received int",
        ),
        (
            lambda t: SentenceEncoder(t["vectors"].model, None, prompts=["query: "]),
            r"prompts must be a dict of texts; received \['query: '\]",
        ),
        (
            lambda t: TextClassifier(t["classes"].model, None, labels="no"),
            "labels must be a list of str; received str",
        ),
        (
            lambda t: TextClassifier(t["classes"].model, None, labels={0: "no", 1: "yes"}),
            "labels must be a list of str; received dict",
        ),
    ],
)
def test_tasks_name_what_they_cannot_take(tasks, call, says):
    with pytest.raises(ValueError, match=says):
        call(tasks)
