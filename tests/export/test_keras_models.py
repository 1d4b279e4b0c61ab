"""Ordinary Keras models as ``.tflite``: inputs, lengths, padding, refusals, all against Keras."""

import keras
import numpy as np
import pytest
from keras import ops
from marks import slow_but

from keraslm import export, layers
from keraslm.models import BERT

K = keras.layers
V, T = 50, 12

# Of the model with Flatten, whenever it is called: that no mask comes behind it makes it a case.
pytestmark = pytest.mark.filterwarnings("ignore:.*destroy the mask information:UserWarning")


def ids(shape=(T,), name=None):
    return keras.Input(shape, dtype="int32", name=name)


def classifier(*inner, shape=(T,)):
    return keras.Sequential([ids(shape), *inner, K.Dense(3, activation="softmax")])


def embedding():
    return K.Embedding(V, 16, mask_zero=True)


def on_features():
    return keras.Sequential([keras.Input((8,)), K.Dense(4, "relu"), K.Dense(2)])


def on_frames():
    return keras.Sequential([keras.Input((T, 5)), K.LSTM(4), K.Dense(2)])


def on_positions():
    tokens = ids((None,))
    return keras.Model(tokens, layers.PositionalEncoding(64, 16)(K.Embedding(V, 16)(tokens)))


def on_two_kinds():
    words, features = ids(name="words"), keras.Input((5,), name="features")
    pooled = K.GlobalAveragePooling1D()(embedding()(words))
    return keras.Model([words, features], K.Dense(2)(K.Concatenate()([pooled, features])))


def towers(as_dict=False):
    question, answer = ids(name="question"), ids(name="answer")
    table, pool = embedding(), K.GlobalAveragePooling1D()
    score = K.Dot(1, normalize=True)([pool(table(question)), pool(table(answer))])
    both = {"question": question, "answer": answer} if as_dict else [question, answer]
    return keras.Model(both, score)


def several_outputs(as_dict=False):
    tokens = ids()
    tags = K.LSTM(6, return_sequences=True)(embedding()(tokens))
    pooled = K.GlobalAveragePooling1D()(tags)
    return keras.Model(tokens, {"tags": tags, "pooled": pooled} if as_dict else [tags, pooled])


def with_a_mask():
    tokens = ids((None,), name="token_ids")
    mask = keras.Input((None,), dtype="bool", name="padding_mask")
    pooled = K.GlobalAveragePooling1D()(K.Embedding(V, 8)(tokens), mask=mask)
    return keras.Model([tokens, mask], pooled)


class Subclassed(keras.Model):
    """Whose inputs Keras does not know before it is called."""

    def __init__(self):
        super().__init__()
        self.table, self.rnn = K.Embedding(V, 8, mask_zero=True), K.LSTM(6)

    def call(self, inputs):
        return self.rnn(self.table(inputs))


class SubclassedOnDict(keras.Model):
    """On a dict of ids and floats."""

    def __init__(self):
        super().__init__()
        self.table, self.head = K.Embedding(V, 8), K.Dense(3)

    def call(self, inputs):
        return self.head(ops.mean(self.table(inputs["words"]), axis=1) + inputs["features"])


def subclassed():
    model = Subclassed()
    model(np.ones((2, T), "int32"))
    return model


def subclassed_on_dict():
    model = SubclassedOnDict()
    model({"words": np.ones((2, T), "int32"), "features": np.ones((2, 8), "float32")})
    return model


def called_sequential():
    model = keras.Sequential([K.Embedding(V, 8), K.GlobalAveragePooling1D(), K.Dense(2)])
    model(np.ones((3, T), "int32"))
    return model


RECURRENT = {
    "LSTM": lambda: classifier(embedding(), K.LSTM(12)),
    "GRU": lambda: classifier(embedding(), K.GRU(12)),
    "Bidirectional": lambda: classifier(embedding(), K.Bidirectional(K.LSTM(8))),
    "stack": lambda: classifier(embedding(), K.LSTM(8, return_sequences=True), K.Dropout(0.5),
                                K.GRU(8)),
    "pooling": lambda: classifier(embedding(), K.GlobalAveragePooling1D()),
}  # fmt: skip
UNMASKED = {
    "convolution": lambda: classifier(K.Embedding(V, 16), K.Conv1D(8, 3, padding="same"),
                                      K.GlobalMaxPooling1D()),
    "LSTM without a mask": lambda: classifier(K.Embedding(V, 16), K.LSTM(12)),
    "flattened": lambda: classifier(embedding(), K.Flatten()),
}  # fmt: skip
MODELS = {
    **RECURRENT,
    **UNMASKED,
    "features": on_features,
    "frames": on_frames,
    "positions": on_positions,
    "two kinds": on_two_kinds,
    "towers": towers,
    "towers on a dict": lambda: towers(True),
    "outputs": several_outputs,
    "outputs by name": lambda: several_outputs(True),
    "mask": with_a_mask,
    "subclassed": subclassed,
    "subclassed on a dict": subclassed_on_dict,
    "called Sequential": called_sequential,
    "float ids": lambda: keras.Sequential([keras.Input((T,)), K.Embedding(V, 8), K.Flatten()]),
    "short BERT": lambda: BERT(60, 1, 16, 2, max_length=24, head="classifier", num_classes=3),
}


def made(build):
    keras.utils.set_random_seed(0)
    return build()


def exported(model, folder, **options):
    return export.LiteRTEncoder(export.tflite(model, folder, **options))


FEW = [i for i, name in enumerate(MODELS) if name in ("LSTM", "towers", "outputs by name", "mask")]


@pytest.mark.parametrize("name", slow_but(FEW, MODELS))
def test_it_exports_with_proof(name, tmp_path):
    model = made(MODELS[name])
    exported(model, tmp_path)
    result = export.Verification.from_manifest(tmp_path / "model.tflite")
    assert result.passed and result.max_difference < 1e-5 and result.prompts >= 6


DYNAMIC = [n for n in MODELS if n not in RECURRENT and "LSTM" not in n
           and n not in ("frames", "outputs", "outputs by name", "subclassed")]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", [*DYNAMIC, "pooling"])
def test_any_batch(name, tmp_path):
    model = made(MODELS[name])
    litert = exported(model, tmp_path, lengths="dynamic")
    assert litert.lengths == ()
    assert export.Verification.from_manifest(tmp_path / "model.tflite").passed


# === Padding ===


def rows(seed=0):
    """Ids of several lengths, padded on the right and on the left, and the texts themselves."""
    right = np.random.default_rng(seed).integers(1, V, (6, T)).astype("int32")
    for row, n in zip(right, (12, 3, 7, 1, 5, 9), strict=True):
        row[n:] = 0
    texts = [row[row > 0] for row in right]
    left = np.zeros_like(right)
    for row, text in zip(left, texts, strict=True):
        row[T - len(text) :] = text
    return right, left, texts


@pytest.mark.parametrize("name", slow_but((0,), RECURRENT))
def test_masked_models_take_short_texts(name, tmp_path):
    model = made(RECURRENT[name])
    litert = exported(model, tmp_path, verify=False)
    right, left, texts = rows()
    expected = ops.convert_to_numpy(model(right))
    for inputs in (right, left, texts, [text.tolist() for text in texts]):
        assert np.abs(litert(inputs) - expected).max() < 1e-6
    one = litert(texts[1])
    assert one.shape == (1, 3) and np.abs(one - expected[1]).max() < 1e-6


@pytest.mark.parametrize("name", UNMASKED)
def test_padding_that_would_be_read_as_text_is_refused(name, tmp_path):
    model = made(UNMASKED[name])
    litert = exported(model, tmp_path, verify=False)
    right, _, texts = rows()
    assert np.abs(litert(right) - ops.convert_to_numpy(model(right))).max() < 1e-6
    with pytest.raises(ValueError, match="has 3 values and the file takes 12. They are not padded"):
        litert(texts[1])


def test_a_model_of_any_length_is_asked_whether_it_reads_padding(tmp_path):
    tokens = ids((None,))
    pooled = K.GlobalAveragePooling1D()(K.Embedding(V, 8)(tokens))
    litert = exported(keras.Model(tokens, pooled), tmp_path, lengths=(4, 8))
    assert litert([1, 2, 3, 4]).shape == (1, 8)
    with pytest.raises(ValueError, match="has 5 values and the file takes 4 or 8"):
        litert([1, 2, 3, 4, 5])
    masked = keras.Model(tokens, K.GlobalAveragePooling1D()(embedding()(tokens)))
    litert = exported(masked, tmp_path / "masked", lengths=(4, 8))
    expected = ops.convert_to_numpy(masked(np.array([[1, 2, 3, 4, 5]])))
    assert np.abs(litert([1, 2, 3, 4, 5]) - expected).max() < 1e-6


# === Inputs ===


@pytest.mark.parametrize("as_dict", [False, True])
def test_two_towers(as_dict, tmp_path):
    model = made(lambda: towers(as_dict))
    litert = exported(model, tmp_path)
    right, left, texts = rows()
    inputs = {"question": right[:1], "answer": left[1:2]}
    expected = ops.convert_to_numpy(model(inputs if as_dict else list(inputs.values())))
    assert list(litert.inputs) == ["question", "answer"]
    for found in (
        litert(texts[0], texts[1]),
        litert(texts[0], answer=texts[1]),
        litert(answer=texts[1], question=texts[0]),
        litert(inputs),
    ):
        assert np.abs(found - expected).max() < 1e-6
    with pytest.raises(ValueError, match="The input 'answer' is missing. The file takes question"):
        litert(texts[0])
    with pytest.raises(ValueError, match="No input is called 'reply'. The file takes question, an"):
        litert(texts[0], reply=texts[1])
    with pytest.raises(ValueError, match="answer has 2 examples and question has 1"):
        litert(texts[0], right[:2])


def test_floats_beside_ids(tmp_path):
    model = made(on_two_kinds)
    litert = exported(model, tmp_path)
    words, features = rows()[0], np.random.default_rng(0).normal(size=(6, 5)).astype("float32")
    expected = ops.convert_to_numpy(model([words, features]))
    assert {n: x.dtype for n, x in litert.inputs.items()} == {
        "words": "int32", "features": "float32"}  # fmt: skip
    assert np.abs(litert(words, features) - expected).max() < 1e-6
    with pytest.raises(ValueError, match=r"features has 4 values and the file takes 5"):
        litert(words[:1], features[:1, :4])


def test_outputs_have_the_names_of_the_dict(tmp_path):
    model = made(lambda: several_outputs(True))
    litert = exported(model, tmp_path)
    right = rows()[0]
    found, expected = litert(right), model(right)
    assert set(found) == {"tags", "pooled"}
    for name, value in found.items():
        assert np.abs(value - ops.convert_to_numpy(expected[name])).max() < 1e-6


def test_a_model_has_one_length(tmp_path):
    with pytest.raises(ValueError, match="lengths must be 12, which is the length of the model's"):
        export.tflite(made(RECURRENT["pooling"]), tmp_path, lengths=16)
    assert exported(made(RECURRENT["pooling"]), tmp_path).lengths == (T,)
    assert exported(made(on_positions), tmp_path).lengths == (64,)
    assert exported(made(subclassed), tmp_path, lengths=(4, 8)).lengths == (4, 8)


# === Refusals ===


def test_models_on_strings_are_refused_with_a_way_round(tmp_path):
    vectorizer = K.TextVectorization(vocabulary=["a", "b"], output_sequence_length=T, name="words")
    text = keras.Input((), dtype="string")
    model = keras.Model(text, K.Dense(2)(K.Flatten()(K.Embedding(4, 4)(vectorizer(text)))))
    with pytest.raises(ValueError, match=r"reads strings through words \(TextVectorization\).*keras"
                       r".Model\(token_ids, outputs\)"):  # fmt: skip
        export.tflite(model, tmp_path)
    lookup = K.StringLookup(vocabulary=["a"], name="look_up")
    with pytest.raises(ValueError, match=r"reads strings through look_up \(StringLookup\)"):
        export.tflite(keras.Model(text, lookup(text)), tmp_path)


@pytest.mark.slow
def test_what_keras_computes_wrongly_is_refused_by_name(tmp_path):
    def build(unroll, mask_zero=True, return_sequences=True):
        rnn = K.LSTM(4, unroll=unroll, return_sequences=return_sequences)
        keras.utils.set_random_seed(1)
        inner = K.Bidirectional(rnn, name="both_ways")
        return keras.Sequential([ids(), K.Embedding(V, 8, mask_zero=mask_zero), inner])

    right, left = rows()[:2]
    wrong = ops.convert_to_numpy(build(True)(right)) - ops.convert_to_numpy(build(False)(right))
    assert np.abs(wrong).max() > 1e-3  # else Keras was mended, and the refusal can go
    with pytest.raises(ValueError, match="both_ways is a Bidirectional of LSTM.unroll=True."):
        export.tflite(build(True), tmp_path)
    for fine in (build(True, mask_zero=False), build(True, return_sequences=False)):
        exported(fine, tmp_path)
    same = (build(unroll, return_sequences=False)(left) for unroll in (True, False))
    assert np.abs(np.subtract(*map(ops.convert_to_numpy, same))).max() < 1e-6


def test_recurrent_layers_want_a_length(tmp_path):
    model = made(lambda: classifier(embedding(), K.GRU(4), shape=(None,)))
    with pytest.raises(ValueError, match="in gru.*recurrent layers convert with a fixed length"):
        export.tflite(model, tmp_path, lengths="dynamic")
    assert exported(model, tmp_path, lengths=8).lengths == (8,)


def test_an_input_is_no_output(tmp_path):
    tokens = ids()
    model = keras.Model(tokens, [K.Embedding(V, 4)(tokens), tokens])
    with pytest.raises(ValueError, match="The output 'output_1' is one of the inputs"):
        export.tflite(model, tmp_path)


# === Tasks ===


class MeanOf:
    """The protocol of `keraslm.tasks`, as small as it can be."""

    max_length = 16

    def __init__(self, model):
        self.model = model
        self.tokenizer = None
        self.input_spec = {"token_ids": "int32", "padding_mask": "int32"}

    def inputs(self, texts, length=None):
        length = length or max(map(len, texts))
        found = {name: np.zeros((len(texts), length), "int32") for name in self.input_spec}
        for i, text in enumerate(texts):
            found["token_ids"][i, : len(text)] = [ord(c) % V for c in text]
            found["padding_mask"][i, : len(text)] = 1
        return found

    def compute(self, token_ids, padding_mask):
        token_ids = ops.convert_to_tensor(token_ids)
        y = self.model({"token_ids": token_ids, "padding_mask": ops.cast(padding_mask, "bool")})
        real = ops.expand_dims(ops.cast(padding_mask, "float32"), -1)
        mean = ops.sum(y * real, axis=1) / ops.sum(real, axis=1)
        first = ops.cast(ops.top_k(y, 1)[1][..., 0], "int32")
        return {"mean": mean, "first": first}


@pytest.mark.parametrize("lengths", [None, "dynamic"])
def test_compute_of_a_task_is_exported(lengths, tmp_path):
    keras.utils.set_random_seed(0)
    task = MeanOf(BERT(V, 1, 16, 2, max_length=16, head=None, token_types=0))
    litert = exported(task, tmp_path, lengths=lengths)
    assert list(litert.inputs) == ["token_ids", "padding_mask"]
    assert export.verify(tmp_path / "model.tflite", task).compared == "labels"
    text = "some text"
    given = task.inputs([text])
    expected = task.compute(**given)
    found = litert(given["token_ids"])
    assert found["first"].dtype == np.int32 and found["mean"].shape == (1, 16)
    assert np.abs(found["mean"] - ops.convert_to_numpy(expected["mean"])).max() < 1e-6
    assert (found["first"][:, : len(text)] == ops.convert_to_numpy(expected["first"])).all()
