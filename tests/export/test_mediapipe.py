"""Raw text in MediaPipe's TextClassifier and TextEmbedder, as on a phone, beside Keras."""

import sys
import unicodedata
import zipfile
from importlib.util import find_spec

import keras
import numpy as np
import pytest
import tokenizers

from keraslm import export
from keraslm.export.to_mediapipe.proof import ask
from keraslm.export.to_mediapipe.text import reader_of
from keraslm.models import BERT
from keraslm.tokenizers import Tokenizer

GOOD = ["a wonderful, moving film", "I loved this bright and funny story", "这部电影很好看",
        "great acting; a joy to watch", "我喜欢这个故事，很有趣"]  # fmt: skip
BAD = ["a dull, tired mess", "I hated this slow and stupid story", "这部电影很难看",
       "bad acting; a pain to watch", "我讨厌这个故事，很无聊"]  # fmt: skip
LABELS = ["bad", "good"]
ALIKE = [
    "A Dull Film, and a BRIGHT one!", "DON'T stop-now... is it?! -- no", "funny 😀 film 👍🏽 a😀",
    "你好world混合text。这部电影", "a\tdull\nfilm\r\nand a joy", "y" * 300, "1,234.56 $5 50% a_b",
    "“quotes” — dashes…", "", "a wonderful story " * 99, "ＡＢＣ ½ ⓐ \U0001f130",
]  # fmt: skip
FOLDED_IN_THE_APP = [
    "wónderful mòving", "WÓNDERFUL", "Привет, мир", "안녕하세요 세계", "がんばって", "नमस्ते दुनिया",
    "Xin chào thế giới", "这部\u3000电影", "a\u00a0dull film", "Straße İstanbul",
    "a \ufffd dull film", "\ufeffa dull film",
]  # fmt: skip
LENGTH = 24

peer = [
    pytest.mark.peer,
    pytest.mark.skipif(find_spec("mediapipe") is None, reason="mediapipe is not installed"),
]


def fold(text):
    """What the documentation tells an app to do for a WordPiece tokenizer."""
    text = "".join(" " if c.isspace() else c for c in text)
    text = "".join(c for c in text if unicodedata.category(c)[0] != "C" and c != "\ufffd")
    text = unicodedata.normalize("NFD", text)
    return "".join(c for c in text if unicodedata.category(c) != "Mn").lower()


def pooled(vocab_size, units, activation=None, length=None, average=True):
    """A bag of words."""
    keras.utils.set_random_seed(0)
    ids = keras.Input((length,), dtype="int32")
    x = keras.layers.Embedding(vocab_size, 32, mask_zero=True, embeddings_initializer="normal")(ids)
    x = keras.layers.GlobalAveragePooling1D()(x) if average else x
    x = keras.layers.Dense(units, activation, kernel_initializer="orthogonal")(4 * x)
    return keras.Model(ids, x)


@pytest.fixture(scope="module")
def tokenizer():
    other = [fold(text) for text in FOLDED_IN_THE_APP]
    return Tokenizer.train((GOOD + BAD + other) * 3, "wordpiece", 200, lowercase=True)


@pytest.fixture(scope="module")
def words():
    return Tokenizer.train(GOOD + BAD + FOLDED_IN_THE_APP, "word", None, min_frequency=1)


@pytest.fixture(scope="module")
def classifier(tokenizer):
    keras.utils.set_random_seed(0)
    model = BERT(tokenizer.vocab_size, 1, 32, 2, max_length=32, head="classifier", num_classes=2)
    model.compile(keras.optimizers.Adam(3e-3))
    rows = [tokenizer.encode(text, add_special_tokens=True)[:32] for text in BAD + GOOD]
    ids = np.array([row + [0] * (32 - len(row)) for row in rows])
    inputs = {"token_ids": ids, "padding_mask": ids > 0}
    model.fit(inputs, np.array([0] * 5 + [1] * 5), epochs=30, verbose=0)
    return model


def reads(tokenizer, folder, length=LENGTH):
    """A function from texts to the ids that MediaPipe gives a model: its embedding is the ids."""
    ids = keras.Input((length,), dtype="int32")
    model = keras.Model(ids, keras.ops.cast(ids, "float32"))
    path = export.mediapipe(model, folder, tokenizer=tokenizer, length=length, verify=False)
    return lambda *texts: [row.astype(int).tolist() for row in ask(path, texts, None)]


def padded(ids, pad=0):
    return ids + [pad] * (LENGTH - len(ids))


class TestWordPieces:
    pytestmark = peer

    def test_labels_and_scores(self, classifier, tokenizer, tmp_path):
        path = export.mediapipe(
            classifier, tmp_path, tokenizer=tokenizer, labels=LABELS, length=LENGTH
        )
        assert path.name == "classifier.tflite"
        assert export.Verification.from_manifest(path).max_difference < 1e-5
        answers = ask(path, BAD + GOOD, LABELS)
        assert [int(a.argmax()) for a in answers] == [0] * 5 + [1] * 5
        for text, theirs in zip(ALIKE, ask(path, ALIKE, LABELS), strict=True):
            ids = tokenizer.encode(text)[: LENGTH - 2]
            ids = np.array([[tokenizer.token_to_id("[CLS]"), *ids, tokenizer.token_to_id("[SEP]")]])
            ours = keras.ops.softmax(classifier(ids, training=False))[0]
            assert np.abs(ours - theirs).max() < 1e-5, text

    @pytest.mark.parametrize("head", [None, "pooled"])
    def test_embedder(self, head, tokenizer, tmp_path):
        keras.utils.set_random_seed(0)
        model = BERT(tokenizer.vocab_size, 1, 32, 2, max_length=32, head=head)
        path = export.mediapipe(model, tmp_path, tokenizer=tokenizer, length=LENGTH)
        assert path.name == "embedder.tflite"
        found = ask(path, GOOD, None)
        for text, theirs in zip(GOOD, found, strict=True):
            ids = np.array([tokenizer.encode(text, add_special_tokens=True)])
            ours = keras.ops.convert_to_numpy(model(ids, training=False))[0]
            ours = ours if head else ours.mean(axis=0)  # padding does not count
            assert np.abs(ours - theirs).max() < 1e-5

    def test_tokens(self, tokenizer, tmp_path):
        read = reads(tokenizer, tmp_path)
        for text, theirs in zip(ALIKE, read(*ALIKE), strict=True):
            ids = tokenizer.encode(text)[: LENGTH - 2]
            cls, sep = (tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]"))
            assert theirs == padded([cls, *ids, sep]), text

    def test_what_differs_agrees_when_the_app_folds_the_text(self, tokenizer, tmp_path):
        read = reads(tokenizer, tmp_path)
        for text in FOLDED_IN_THE_APP:
            ours = padded(tokenizer.encode(text, add_special_tokens=True))
            raw, folded = read(text, fold(text))
            assert raw != ours, f"the documentation says that {text} differs"
            assert folded == ours, text

    def test_tokenizers_from_elsewhere(self, tokenizer, tmp_path):
        """With padding and truncation, gaps in the ids, [PAD] at the end, accents kept."""
        ids = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "café": 4, "film": 5, "##s": 8, "[PAD]": 9}
        engine = tokenizers.Tokenizer(tokenizers.models.WordPiece(ids, unk_token="[UNK]"))
        engine.normalizer = tokenizers.normalizers.BertNormalizer(strip_accents=False)
        engine.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
        engine.enable_padding(length=8)
        engine.enable_truncation(3)
        read = reads(Tokenizer(engine), tmp_path)
        assert read("Films film café café films") == [padded([1, 5, 8, 5, 4, 4, 5, 8, 2], 9)]
        assert engine.padding and engine.truncation

    def test_vocabulary_and_labels_are_inside(self, classifier, tokenizer, tmp_path):
        path = export.mediapipe(
            classifier, tmp_path, tokenizer=tokenizer, labels=LABELS, length=LENGTH
        )
        with zipfile.ZipFile(path) as archive:
            assert archive.read("labels.txt").decode().splitlines() == LABELS
            assert archive.read("vocab.txt").decode().split("\n") == tokenizer.vocabulary
        assert path.read_bytes()[4:8] == b"TFL3"  # still a .tflite for every other program

    def test_a_wrong_file_is_not_kept(self, classifier, tokenizer, tmp_path, monkeypatch):
        def attempt(**options):
            export.mediapipe(
                classifier, tmp_path, tokenizer=tokenizer, labels=LABELS, length=LENGTH, **options
            )

        keras.utils.set_random_seed(0)  # its vectors, unlike a sure class, show every token
        embedder = BERT(
            tokenizer.vocab_size, 1, 32, 2, max_length=32, head="pooled", initializer_range=0.3
        )
        with pytest.raises(RuntimeError, match="was not kept: FAILED.*differ most on 'wónderful"):
            export.mediapipe(
                embedder, tmp_path, tokenizer=tokenizer, length=LENGTH,
                texts=["wonderful", "wónderful mòving"],
            )  # fmt: skip
        wrong = lambda _, texts, labels: [np.array([0.9, 0.1])] * len(texts)  # noqa: E731
        monkeypatch.setattr("keraslm.export.to_mediapipe.proof.ask", wrong)
        with pytest.raises(RuntimeError, match="was not kept: FAILED"):
            attempt()
        assert not list(tmp_path.iterdir())


class TestWords:
    pytestmark = peer

    def test_tokens(self, words, tmp_path):
        texts = [*ALIKE, *FOLDED_IN_THE_APP]  # it changes no letter, so nothing differs
        for text, theirs in zip(texts, reads(words, tmp_path)(*texts), strict=True):
            assert theirs == padded(words.encode(text)[:LENGTH] or [words.bos_id]), text

    def test_case_is_folded_by_spelling_out(self, tmp_path):
        tokenizer = Tokenizer.train(GOOD + BAD, "word", None, min_frequency=1, lowercase=True)
        read = reads(tokenizer, tmp_path)
        same, differs = "A DULL film, I loved This! 这部电影很好看 don't?", "a DuLL film"
        assert read(same) == [padded(tokenizer.encode(same))]
        assert read(differs) != [padded(tokenizer.encode(differs))]
        assert read("a dull film") == [padded(tokenizer.encode(differs))]

    def test_white_space_in_front_is_not_followed(self, words, tmp_path):
        assert reads(words, tmp_path)(" film") == [padded([words.token_to_id("<unk>")])]

    def test_bert_sees_no_padding(self, words, tmp_path):
        keras.utils.set_random_seed(0)
        model = BERT(words.vocab_size, 1, 32, 2, max_length=32, head="classifier", num_classes=2)
        path = export.mediapipe(model, tmp_path, tokenizer=words, labels=LABELS, length=LENGTH)
        ours = keras.ops.softmax(model(np.array([words.encode(GOOD[0])]), training=False))
        assert np.abs(ours - ask(path, GOOD[:1], LABELS)[0]).max() < 1e-5

    @pytest.mark.data
    def test_sst2(self, data_folder, tmp_path):
        """200 sentences of the Stanford Sentiment Treebank: the labels of Keras."""

        def read(name):
            lines = (data_folder / "sst2" / name).read_text(encoding="utf-8").splitlines()
            texts, classes = zip(*(line.rsplit("\t", 1) for line in lines), strict=True)
            return texts, np.array(classes, "int32")

        (texts, classes), (held_out, wanted) = read("train.tsv"), read("dev.tsv")
        tokenizer = Tokenizer.train(texts, "word", None, lowercase=True)
        model = pooled(tokenizer.vocab_size, 1, "sigmoid")
        model.compile(keras.optimizers.Adam(5e-3), "binary_crossentropy")
        rows = [tokenizer.encode(text)[:64] for text in texts]
        ids = np.array([row + [0] * (64 - len(row)) for row in rows])
        model.fit(ids, classes, batch_size=64, epochs=4, verbose=0)
        path = export.mediapipe(model, tmp_path, tokenizer=tokenizer, labels=LABELS, length=64)
        answers = np.array(ask(path, held_out[:200], LABELS))
        ours = [float(model(np.array([tokenizer.encode(t)]))[0, 0]) for t in held_out[:200]]
        assert np.abs(answers[:, 1] - ours).max() < 1e-5
        assert ((answers[:, 1] > 0.5) == wanted[:200]).mean() > 0.75


class TestOutputs:
    pytestmark = peer

    @pytest.mark.parametrize(
        ("units", "activation", "finish"),
        [
            (2, "softmax", lambda y: y),
            (2, None, lambda y: np.exp(y) / np.exp(y).sum()),
            (2, "sigmoid", lambda y: y),  # classes that do not exclude each other
            (1, "sigmoid", lambda y: np.array([1 - y[0], y[0]])),
            (1, None, lambda y: np.array([1, np.exp(y[0])]) / (1 + np.exp(y[0]))),
        ],
    )
    def test_probabilities(self, units, activation, finish, words, tmp_path):
        model = pooled(words.vocab_size, units, activation)
        path = export.mediapipe(model, tmp_path, tokenizer=words, labels=LABELS, length=LENGTH)
        for text, theirs in zip(GOOD, ask(path, GOOD, LABELS), strict=True):
            ours = np.array(model(np.array([words.encode(text)])))[0]
            assert np.abs(finish(ours) - theirs).max() < 1e-5

    def test_mixed_precision_and_quantised(self, tokenizer, tmp_path):
        model = BERT(tokenizer.vocab_size, 1, 64, 2, max_length=32, head="classifier",
                     num_classes=2, dtype="mixed_bfloat16")  # fmt: skip
        path = export.mediapipe(
            model, tmp_path, tokenizer=tokenizer, labels=LABELS, length=LENGTH, quantization="int8"
        )
        result = export.Verification.from_manifest(path)
        assert result.passed and result.quantization == "int8"

    @pytest.mark.parametrize("unroll", [True, False])
    def test_recurrent_layers(self, unroll, words, tmp_path):
        ids = keras.Input((8,), dtype="int32")
        x = keras.layers.Embedding(words.vocab_size, 8)(ids)
        x = keras.layers.GRU(4, unroll=unroll)(x)
        model = keras.Model(ids, keras.layers.Dense(2)(x))
        if unroll:
            export.mediapipe(model, tmp_path, tokenizer=words, labels=LABELS, length=8)
            return
        with pytest.raises(ValueError, match="unroll=True"):
            export.mediapipe(model, tmp_path, tokenizer=words, labels=LABELS, length=8)
        assert not list(tmp_path.iterdir())


# === Without MediaPipe ===


def test_tokenizers_that_mediapipe_cannot_follow(classifier, tokenizer, tmp_path, lm):
    def attempt(tokenizer):
        export.mediapipe(classifier, tmp_path, tokenizer=tokenizer, labels=LABELS, length=LENGTH)

    def changed(**parts):
        engine = tokenizers.Tokenizer.from_str(tokenizer.to_json())
        for name, part in parts.items():
            setattr(engine, name, part)
        return Tokenizer(engine)

    with pytest.raises(ValueError, match="must be WordPiece or of words.*received kind='bpe'"):
        attempt(lm.tokenizer)
    with pytest.raises(ValueError, match="received kind='char'"):
        attempt(Tokenizer.train(GOOD, "char", None))
    with pytest.raises(ValueError, match="received none"):
        attempt(None)
    with pytest.raises(ValueError, match="tells capitals from small letters"):
        attempt(Tokenizer.train((GOOD + BAD) * 3, "wordpiece", 140))
    with pytest.raises(ValueError, match="does not split Chinese characters"):
        attempt(changed(normalizer=tokenizers.normalizers.Lowercase()))
    with pytest.raises(ValueError, match="does not split off punctuation"):
        attempt(changed(pre_tokenizer=tokenizers.pre_tokenizers.WhitespaceSplit()))
    with_extra = changed()
    with_extra.engine.add_tokens(["iPhone 9"])
    with pytest.raises(ValueError, match="added tokens.*'iPhone 9'"):
        attempt(with_extra)
    with pytest.raises(ValueError, match=r"no \[CLS\]"):
        attempt(Tokenizer(tokenizers.Tokenizer(tokenizers.models.WordPiece({"[UNK]": 0}))))
    by_space = Tokenizer.train(GOOD, "word", None, min_frequency=1)
    by_space.engine.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    with pytest.raises(ValueError, match="pre-tokenizer is WhitespaceSplit"):
        attempt(by_space)
    assert not list(tmp_path.iterdir())


def test_a_language_that_mediapipe_does_not_fold_gives_a_warning():
    russian = "привет мир как дела это хороший фильм мне нравится"
    tokenizer = Tokenizer.train([russian] * 3, "wordpiece", 60, lowercase=True)
    with pytest.warns(UserWarning, match="MediaPipe does not find most words"):
        reader_of(tokenizer, LENGTH)


def test_models_labels_and_lengths_that_do_not_fit(classifier, tokenizer, tmp_path):
    def attempt(model=classifier, labels=LABELS, **options):
        export.mediapipe(model, tmp_path, tokenizer=tokenizer, labels=labels, **options)

    size = tokenizer.vocab_size
    with pytest.raises(ValueError, match="labels has 3 names; the model gives 2"):
        attempt(labels=["a", "b", "c"], length=LENGTH)
    for labels in ("ab", ["a", "a"], ["a", "b\nc"], ["a", ""], [0, 1]):
        with pytest.raises(ValueError, match="labels must be different strings of one line"):
            attempt(labels=labels, length=LENGTH)
    with pytest.raises(ValueError, match="length must be from 3 to max_length=32; received 99"):
        attempt(length=99)
    with pytest.raises(ValueError, match="length must be 16, as the model's input; received 24"):
        attempt(model=pooled(size, 2, length=16), length=LENGTH)
    tagger = BERT(size, 1, 32, 2, max_length=32, head="token_classifier", num_classes=2)
    for labels in (LABELS, None):
        with pytest.raises(ValueError, match=r"one row a text.*received \(24, 2\)"):
            attempt(model=tagger, labels=labels, length=LENGTH)
    with pytest.raises(ValueError, match=r"one row a text.*received \(24, 2\)"):
        attempt(model=pooled(size, 2, average=False), length=LENGTH)
    one, two = (keras.Input((None,), dtype="int32") for _ in range(2))
    with pytest.raises(ValueError, match="one array of ids"):
        attempt(model=keras.Model([one, two], [one + two]), length=LENGTH)
    with pytest.raises(ValueError, match="quantization must be None or one of"):
        attempt(quantization="int2", length=LENGTH)
    assert not list(tmp_path.iterdir())


def test_without_mediapipe_it_says_what_to_install(classifier, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe.tasks.metadata", None)
    with pytest.raises(ImportError, match=r'pip install "keraslm\[mediapipe\]"'):
        export.mediapipe(classifier, tmp_path, tokenizer=tokenizer, labels=LABELS, length=LENGTH)
    assert not list(tmp_path.iterdir())
