"""Raw text in MediaPipe's TextClassifier and TextEmbedder, as on a phone, beside Keras."""

import sys
import zipfile
from importlib.util import find_spec

import keras
import numpy as np
import pytest

from keraslm import export
from keraslm.export.to_mediapipe import _Answer, _ask
from keraslm.models import BERT
from keraslm.tokenizers import Tokenizer

GOOD = ["a wonderful, moving film", "I loved this bright and funny story", "这部电影很好看",
        "great acting; a joy to watch", "我喜欢这个故事，很有趣"]  # fmt: skip
BAD = ["a dull, tired mess", "I hated this slow and stupid story", "这部电影很难看",
       "bad acting; a pain to watch", "我讨厌这个故事，很无聊"]  # fmt: skip
LABELS = ["bad", "good"]
HARD = [
    "Hello, World! DON'T stop-now", "emoji 😀 film 👍🏽", "你好world混合text。",
    "tabs\tand\nlines\r\n x",
    "y" * 300, "1,234.56 $5 50%", "“quotes” — dashes…", "한국어", "", "story " * 99,
]  # fmt: skip

peer = [
    pytest.mark.peer,
    pytest.mark.skipif(find_spec("mediapipe") is None, reason="mediapipe is not installed"),
]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train((GOOD + BAD) * 3, "wordpiece", 140, lowercase=True)


@pytest.fixture(scope="module")
def classifier(tokenizer):
    keras.utils.set_random_seed(0)
    model = BERT(tokenizer.vocab_size, 1, 32, 2, max_length=32, head="classifier", num_classes=2)
    model.compile(keras.optimizers.Adam(3e-3))
    rows = [tokenizer.encode(text, add_special_tokens=True) for text in BAD + GOOD]
    ids = np.array([row + [0] * (32 - len(row)) for row in rows])
    inputs = {"token_ids": ids, "padding_mask": ids > 0}
    model.fit(inputs, np.array([0] * 5 + [1] * 5), epochs=30, verbose=0)
    return model


class TestWithMediaPipe:
    pytestmark = peer

    def test_labels_and_scores_of_raw_text(self, classifier, tokenizer, tmp_path):
        path = export.mediapipe(classifier, tmp_path, tokenizer=tokenizer, labels=LABELS, length=24)
        assert path.name == "classifier.tflite"
        assert export.Verification.from_manifest(path).max_difference < 1e-4
        answers = _ask(path, BAD + GOOD, LABELS)
        assert [int(a.argmax()) for a in answers] == [0] * 5 + [1] * 5
        ours = _Answer(classifier, tokenizer, 24, True)
        for text, theirs in zip(HARD, _ask(path, HARD, LABELS), strict=True):
            assert np.abs(ours(text) - theirs).max() < 1e-4, text

    @pytest.mark.parametrize("head", [None, "pooled"])
    def test_embedder(self, head, tokenizer, tmp_path):
        keras.utils.set_random_seed(0)
        model = BERT(tokenizer.vocab_size, 1, 32, 2, max_length=32, head=head)
        path = export.mediapipe(model, tmp_path, tokenizer=tokenizer, length=24)
        assert path.name == "embedder.tflite"
        ours = _Answer(model, tokenizer, 24, False)
        for text, theirs in zip(HARD, _ask(path, HARD, None), strict=True):
            assert theirs.shape == (32,) and np.abs(ours(text) - theirs).max() < 1e-4

    def test_any_model_and_quantised(self, tokenizer, tmp_path):
        keras.utils.set_random_seed(0)
        ids = keras.Input((24,), dtype="int32", name="ids")
        x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(140, 64)(ids))
        model = keras.Model(ids, keras.layers.Dense(2, activation="softmax")(x))
        path = export.mediapipe(
            model, tmp_path, tokenizer=tokenizer, labels=LABELS, length=24, quantization="int8"
        )
        result = export.Verification.from_manifest(path)
        assert result.passed and result.quantization == "int8"

    def test_what_differs_is_what_the_docstring_says(self, classifier, tokenizer, tmp_path):
        path = export.mediapipe(classifier, tmp_path, tokenizer=tokenizer, labels=LABELS, length=24)
        ours = _Answer(classifier, tokenizer, 24, True)
        text = "wónderful mòving"
        assert np.abs(ours(text) - _ask(path, [text], LABELS)[0]).max() > 1e-3

    def test_vocabulary_and_labels_are_inside(self, classifier, tokenizer, tmp_path):
        path = export.mediapipe(classifier, tmp_path, tokenizer=tokenizer, labels=LABELS, length=24)
        with zipfile.ZipFile(path) as archive:
            assert archive.read("labels.txt").decode().splitlines() == LABELS
            lines = archive.read("vocab.txt").decode().split("\n")
            assert lines == tokenizer.vocabulary
        # It is still a .tflite for every other program.
        assert export.LiteRTEncoder.__doc__ and path.read_bytes()[4:8] == b"TFL3"

    def test_a_wrong_file_is_not_kept(self, classifier, tokenizer, tmp_path, monkeypatch):
        wrong = lambda *_: [np.array([0.9, 0.1])] * 5  # noqa: E731
        monkeypatch.setattr("keraslm.export.to_mediapipe._ask", wrong)
        with pytest.raises(RuntimeError, match="was not kept: FAILED"):
            export.mediapipe(classifier, tmp_path, tokenizer=tokenizer, labels=LABELS, length=24)
        assert not list(tmp_path.iterdir())


def test_bad_input(classifier, tokenizer, tmp_path, lm):
    def attempt(model=classifier, tokenizer=tokenizer, labels=LABELS, **options):
        export.mediapipe(model, tmp_path, tokenizer=tokenizer, labels=labels, **options)

    with pytest.raises(ValueError, match="must be WordPiece.*received kind='bpe'"):
        attempt(tokenizer=lm.tokenizer)
    with pytest.raises(ValueError, match="received none"):
        attempt(tokenizer=None)
    cased = Tokenizer.train((GOOD + BAD) * 3, "wordpiece", 140)
    with pytest.raises(ValueError, match="tells capitals from small letters"):
        attempt(tokenizer=cased)
    with pytest.raises(ValueError, match="labels has 3 names; the model gives 2"):
        attempt(labels=["a", "b", "c"], length=24)
    with pytest.raises(ValueError, match="length must be from 3 to max_length=32; received 99"):
        attempt(length=99)
    tagger = BERT(tokenizer.vocab_size, 1, 32, 2, max_length=32, head="pooled")
    with pytest.raises(ValueError, match="quantization must be None or one of"):
        attempt(model=tagger, quantization="int2")
    assert not list(tmp_path.iterdir())


def test_without_mediapipe_it_says_what_to_install(classifier, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe.tasks.metadata", None)
    with pytest.raises(ImportError, match=r'pip install "keraslm\[mediapipe\]"'):
        export.mediapipe(classifier, tmp_path, tokenizer=tokenizer, labels=LABELS, length=24)
    assert not list(tmp_path.iterdir())
