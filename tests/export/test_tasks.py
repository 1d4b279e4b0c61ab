"""Every task in every target that it has: the export answers what the task's own method does."""

from importlib.util import find_spec

import keras
import numpy as np
import pytest

from keraslm import export
from keraslm.export.proof import compare
from keraslm.models import BERT, GPTEncoder
from keraslm.tasks import (
    FillMask,
    NextSentence,
    QuestionAnswerer,
    SentenceEncoder,
    TextClassifier,
    TokenClassifier,
)
from keraslm.tasks.table import TASKS
from keraslm.tokenizers import Tokenizer

CHINESE = "北京是中国的首都，人口超过两千万；我去年三月到过那里。这部电影很好看，我喜欢这个故事。"
LABELS = ["bad", "good", "不知道"]
LENGTH = 24


@pytest.fixture(scope="module")
def texts(articles):
    """Fifty: English and Chinese of many lengths, mixed, nothing, and more than fits."""
    english = [article[: 5 + 3 * i] for i, article in enumerate(articles[:30])]
    chinese = [CHINESE[i : 2 * i + 1] for i in range(15)]
    return [*english, *chinese, "", "a", "the 电影 was good; 很好!", "word " * 300, CHINESE * 20]


@pytest.fixture(scope="module")
def tokenizer(articles):
    return Tokenizer.train([*articles[:50], CHINESE], "wordpiece", 700, lowercase=True)


def bert(tokenizer, **options):
    keras.utils.set_random_seed(4)
    options = {"max_length": 32, "initializer_range": 0.3, **options}
    return BERT(tokenizer.vocab_size, 1, 32, 2, **options)


POOLINGS = ["mean", "cls", "max", "mean_sqrt_len", "weightedmean", "lasttoken", ["cls", "mean"]]
ENCODERS = {
    f"{pooling} {normalize}": lambda t, p=pooling, n=normalize: SentenceEncoder(
        bert(t, head=None), t, pooling=p, normalize=n, max_length=LENGTH
    )
    for pooling in POOLINGS
    for normalize in (True, False)
}
CLASSIFIERS = {
    kind: lambda t, kind=kind: TextClassifier(
        bert(t, head="classifier", num_classes=3), t, LABELS, problem_type=kind, max_length=LENGTH
    )
    for kind in ("single_label_classification", "multi_label_classification")
}
OTHERS = {
    "pooled": lambda t: SentenceEncoder(bert(t, head="pooled"), t),
    "prompt": lambda t: SentenceEncoder(
        bert(t, head=None), t, prompts={"q": "the query: "}, default_prompt_name="q",
        include_prompt=False,
    ),
    "regression": lambda t: TextClassifier(
        bert(t, head="classifier", num_classes=2), t, problem_type="regression"
    ),
    "no token types": lambda t: TextClassifier(
        bert(t, head="classifier", num_classes=2, token_types=0), t
    ),
    "fill": lambda t: FillMask(bert(t), t),
    "tag": lambda t: TokenClassifier(
        bert(t, head="token_classifier", num_classes=3), t, ["O", "B-X", "I-X"]
    ),
    "answer": lambda t: QuestionAnswerer(bert(t, head="span"), t),
    "next": lambda t: NextSentence(bert(t, head="next_sentence"), t),
    "decoder": lambda t: TextClassifier(
        GPTEncoder(t.vocab_size, 1, 32, 2, max_length=32, head="classifier", num_classes=3,
                   pad_id=t.pad_id, initializer_range=0.3), t, LABELS,
    ),
}  # fmt: skip
EVERY = {**ENCODERS, **CLASSIFIERS, **OTHERS}
# A SavedModel takes seconds to make.
SAVED = ["cls False", "weightedmean True", "['cls', 'mean'] True", *CLASSIFIERS, *OTHERS]


def test_every_task_is_tried(tokenizer):
    tried = {type(make(tokenizer)) for make in EVERY.values()}
    assert tried == set(TASKS.values()) - {TASKS["TextGenerator"]}


@pytest.mark.slow
@pytest.mark.parametrize("name", SAVED)
def test_saved_model(name, texts, tokenizer, tmp_path):
    import tensorflow as tf

    task = EVERY[name](tokenizer)
    path = export.saved_model(task, tmp_path / "sm", verify=False)
    signatures = tf.saved_model.load(str(path)).signatures
    samples = task.samples(texts)
    expected = task.ask(samples)

    def on_ids(**inputs):
        inputs["padding_mask"] = tf.cast(inputs["padding_mask"], "bool")
        return signatures[f"{task.endpoint}_ids"](**inputs)

    check(task.each(samples, run=on_ids), expected)
    if task.is_on_pairs:
        return
    output = signatures[task.endpoint](text=tf.constant(samples))
    arrays = {key: value.numpy() for key, value in output.items()}
    check(task.answers(arrays, samples), expected)
    if isinstance(task, TextClassifier) and name != "regression":
        assert [label.decode() for label in arrays["label"]] == [x.label for x in expected]


def check(found, expected):
    assert len(found) == len(expected) == 50
    for one, other in zip(found, expected, strict=True):
        words, distance = compare(one, other)
        assert words and distance < 1e-5


@pytest.mark.peer
@pytest.mark.skipif(find_spec("mediapipe") is None, reason="mediapipe is not installed")
@pytest.mark.parametrize("name", [*ENCODERS, *CLASSIFIERS, "pooled", "no token types", "decoder"])
def test_mediapipe(name, texts, tokenizer, tmp_path):
    from keraslm.export.to_mediapipe.proof import ask

    task = EVERY[name](tokenizer)
    path = export.mediapipe(task, tmp_path, verify=False)
    found = ask(path, texts, getattr(task, "labels", None))
    for text, theirs, ours in zip(texts, found, task.ask(texts), strict=True):
        if hasattr(task, "labels"):
            assert task.labels[int(theirs.argmax())] == ours.label
            ours = list(ours.probabilities.values())
        assert np.abs(theirs - ours).max() < 1e-5, text


@pytest.mark.peer
@pytest.mark.skipif(find_spec("mediapipe") is None, reason="mediapipe is not installed")
def test_mediapipe_proves_and_cuts(texts, tokenizer, tmp_path):
    task = EVERY["cls True"](tokenizer)
    path = export.mediapipe(task, tmp_path, length=12, texts=texts)
    assert export.Verification.from_manifest(path).max_difference < 1e-5
    refusals = {"prompt": "writes 'the query: ' in front", "regression": "problem_type='regress",
                "fill": "received a FillMask"}  # fmt: skip
    for name, message in refusals.items():
        with pytest.raises(ValueError, match=message):
            export.mediapipe(EVERY[name](tokenizer), tmp_path)
    with pytest.raises(ValueError, match="tokenizer and labels are for a bare model"):
        export.mediapipe(task, tmp_path, labels=LABELS)
    with pytest.raises(ValueError, match="length must be from 3 to max_length=24; received 99"):
        export.mediapipe(task, tmp_path, length=99)


def with_another_head(task):
    """The task with the last matrix of its model negated: what is before it is the same."""
    model = type(task.model).from_config(task.model.get_config())
    weights = task.model.get_weights()
    last = max(i for i, w in enumerate(weights) if w.ndim == 2)
    weights[last] = -weights[last]
    model.set_weights(weights)
    return task.with_model(model)


# Those of which no other test damages a file.
PROVEN = ["next"]


@pytest.mark.parametrize(
    "name", [*PROVEN, *(pytest.param(n, marks=pytest.mark.slow) for n in OTHERS if n not in PROVEN)]
)
def test_the_proof_of_a_tflite_sees_other_answers(name, tokenizer, tmp_path):
    task = EVERY[name](tokenizer)
    path = export.tflite(task, tmp_path, lengths=LENGTH, verify=False)
    assert export.verify(path, task).passed
    result = export.verify(path, with_another_head(task))
    assert not result.passed and result.equal_tokens < result.tokens


@pytest.mark.slow
@pytest.mark.parametrize("name", [*PROVEN, "tag", "regression", "mean True"])
def test_the_proof_of_a_saved_model_sees_other_answers(name, tokenizer, tmp_path):
    task = EVERY[name](tokenizer)
    path = export.saved_model(task, tmp_path / "sm", verify=False)
    assert export.verify(path, task).passed
    result = export.verify(path, with_another_head(task))
    assert not result.passed and result.equal_tokens < result.tokens


def test_what_is_not_a_number_fails_every_proof():
    nan = float("nan")
    for found in ([1.0, nan], [1.0, float("inf")], [1.0], nan):
        assert compare(np.array(found), np.array([1.0, 2.0]))[1] == np.inf
    assert compare(np.array([nan]), np.array([nan]))[1] == np.inf
    assert compare({"a": 1.0}, {"a": nan})[1] == np.inf
    assert compare(("a", 1.0), ("b", 1.0)) == (False, 0.0)
    assert compare([("a", {"x": 1.0})], [("a", {"x": 1.5})]) == (True, 0.5)
