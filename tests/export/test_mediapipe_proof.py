"""The proof of files for MediaPipe: of tasks and bare models, and of files that were changed."""

import io
import zipfile

import keras
import pytest

from keraslm import export
from keraslm.export.to_mediapipe.proof import ask
from keraslm.models import BERT
from keraslm.tasks import SentenceEncoder, TextClassifier
from keraslm.tokenizers import Tokenizer

pytestmark = pytest.mark.peer
pytest.importorskip("mediapipe", reason="mediapipe is not installed")

TEXTS = ["a wonderful, moving film", "这部电影很好看", "a dull, tired mess", "我讨厌这个故事"]
LABELS = ["bad", "good", "don't know"]
LENGTH = 24


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(TEXTS * 3, "wordpiece", 70, lowercase=True)


def bert(tokenizer, head):
    keras.utils.set_random_seed(2)
    options = {"head": head, "num_classes": 3, "initializer_range": 0.3}
    return BERT(tokenizer.vocab_size, 1, 32, 2, max_length=LENGTH, **options)


@pytest.fixture(scope="module")
def classifier(tokenizer):
    return TextClassifier(bert(tokenizer, "classifier"), tokenizer, LABELS)


@pytest.fixture(scope="module")
def path(classifier, tmp_path_factory):
    return export.mediapipe(classifier, tmp_path_factory.mktemp("mediapipe"), verify=False)


def with_lines(path, folder, name, change):
    """A copy of the file with other lines in the vocabulary or the labels."""
    with zipfile.ZipFile(path) as archive:
        lines = {n: archive.read(n).decode().split("\n") for n in archive.namelist()}
        start = min(info.header_offset for info in archive.infolist())
    lines[name] = change(lines[name])
    stream = io.BytesIO(path.read_bytes()[:start])
    with zipfile.ZipFile(stream, "a") as archive:
        for n, some in lines.items():
            archive.writestr(n, "\n".join(some))
    copy = folder / "changed.tflite"
    copy.write_bytes(stream.getvalue())
    return copy


def test_verify_a_task(classifier, path):
    result = export.verify(path, classifier)
    assert result.passed and result.target == "mediapipe" and result.max_difference < 1e-5
    keras.utils.set_random_seed(9)
    other = TextClassifier(BERT.from_config(classifier.model.get_config()), classifier.tokenizer,
                           LABELS)  # fmt: skip
    assert not export.verify(path, other).passed


def test_verify_a_bare_model(classifier, path, tokenizer):
    model = classifier.model
    assert export.verify(path, model, tokenizer=tokenizer).passed
    wrong = export.verify(path, model, tokenizer=tokenizer, labels=LABELS[::-1])
    assert not wrong.passed and "labels is ['bad'," in str(wrong)
    with pytest.raises(ValueError, match="give the task.*received a BERT alone"):
        export.verify(path, model)
    with pytest.raises(ValueError, match="is for MediaPipe's TextClassifier; a SentenceEncoder is"):
        export.verify(path, SentenceEncoder(bert(tokenizer, None), tokenizer))


def test_labels_and_vocabulary_are_compared(classifier, path, tmp_path):
    changed = with_lines(path, tmp_path, "labels.txt", lambda lines: lines[::-1])
    result = export.verify(changed, classifier)
    assert not result.passed
    assert result.differing[0] == f"labels is {LABELS[::-1]} in the file and {LABELS} in the task"
    last = classifier.tokenizer.vocabulary[-1]  # no text of the proof has it
    changed = with_lines(path, tmp_path, "vocab.txt", lambda lines: [*lines[:-1], "zebra"])
    result = export.verify(changed, classifier)
    number = classifier.tokenizer.vocab_size - 1
    sentence = f"vocabulary[{number}] is 'zebra' in the file and {last!r} in the task"
    assert not result.passed and result.differing[0] == sentence


def test_the_text_that_differs_most_is_named(classifier, path):
    """NBSP is white space to us, and to MediaPipe it is not."""
    result = export.verify(path, classifier, texts=["a\u00a0wonderful\u00a0film"])
    assert not result.passed
    assert "the answers differ most on 'a\\xa0wonderful\\xa0film'" in str(result)


@pytest.mark.parametrize("kind", ["wordpiece", "word"])
def test_control_tokens_are_text_to_mediapipe(kind, tokenizer, tmp_path):
    """As the documentation says, and as the reference of the proof reads them."""
    if kind == "word":
        tokenizer = Tokenizer.train(TEXTS, "word", None, min_frequency=1)
    ids = keras.Input((LENGTH,), dtype="int32")
    model = keras.Model(ids, keras.ops.cast(ids, "float32"))  # its embedding is the ids
    path = export.mediapipe(model, tmp_path, tokenizer=tokenizer, length=LENGTH)
    texts = [f"a {name} film{name}" for name in tokenizer.special_tokens]
    for text, found in zip(texts, ask(path, texts, None), strict=True):
        plain = tokenizer.encode(text, allow_control_tokens=False)
        begin = 0 if kind == "word" else 1  # behind [CLS]
        assert found.astype(int).tolist()[begin : begin + len(plain)] == plain
        assert plain != tokenizer.encode(text)
