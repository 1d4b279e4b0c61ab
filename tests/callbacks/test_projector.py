"""TensorBoard's files of a padded vocabulary, of Chinese, and of a model that is not ours."""

import keras
import numpy as np
import pytest
from marks import slow_but

from keraslm import callbacks
from keraslm.callbacks.projector import token_labels, write_projector
from keraslm.models import GPT
from keraslm.tasks import TextGenerator
from keraslm.tokenizers import Tokenizer

TEXTS = ["the cat sat on the mat\n\t", *["中文分词测试句子 中文"] * 20]


def lines(folder, name):
    return (folder / f"token_embedding{name}.tsv").read_text(encoding="utf-8").split("\n")[:-1]


@pytest.mark.parametrize(
    ("kind", "size"), slow_but((1,), [("char", None), ("bpe", 270), ("wordpiece", 30)])
)
def test_a_name_for_each_vector_and_chinese_as_it_is_read(kind, size, tmp_path):
    tokenizer = Tokenizer.train(TEXTS, kind=kind, vocab_size=size)
    size = -(-tokenizer.vocab_size // 64) * 64 + 64  # padded
    gpt = GPT(size, 1, 8, 2, max_length=16)
    lm = TextGenerator(gpt, tokenizer)
    board = callbacks.TensorBoard(tmp_path, lm=lm)
    lm.fit(TEXTS * 3, batch_size=2, verbose=0, callbacks=[board])
    names = lines(tmp_path, "_names")
    assert len(names) == len(lines(tmp_path, "")) == size
    table = np.loadtxt(tmp_path / "token_embedding.tsv")
    np.testing.assert_allclose(table, gpt.trunk.embed.embeddings, atol=1e-5)
    for text in ("中", "文"):
        ids = tokenizer.encode(text)
        assert kind == "bpe" or names[ids[-1]].strip("#") == text
    decoded = [tokenizer.decode([i]) for i in range(tokenizer.vocab_size)]
    whole = [i for i, text in enumerate(decoded) if "中" in text and "\ufffd" not in text]
    assert whole and all("中" in names[i] for i in whole)
    assert names[tokenizer.vocab_size :] == [str(i) for i in range(tokenizer.vocab_size, size)]


def test_names_that_would_break_the_lines_are_escaped(tmp_path):
    names = ["a\tb", "c\nd", " ", "", "\u2028", "\ud800", "中 文"]
    write_projector(tmp_path, np.zeros((8, 2)), names)
    shown = ["a\\tb", "c\\nd", "' '", "''", "\\u2028", "\\ud800", "中 文", "7"]
    assert lines(tmp_path, "_names") == shown
    with pytest.raises(ValueError, match="names has 7 entries for 3 vectors"):
        write_projector(tmp_path, np.zeros((3, 2)), names)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"log_dir": None}, "log_dir must be the name of a file or folder.*received None"),
        ({"vectors": None}, r"vectors must be numbers \(number, width\); received NoneType"),
        ({"vectors": np.zeros(3)}, r"vectors must be numbers .* received float64 \(3,\)"),
        ({"vectors": [["a"]]}, r"vectors must be numbers .* received <U1 \(1, 1\)"),
        ({"vectors": [[1], [1, 2]]}, "vectors must be numbers .* received list"),
        ({"names": "abc"}, "names must be a list of str; received str"),
        ({"names": {"a": 1}}, "names must be a list of str; received dict"),
        ({"names": [1]}, r"names\[0\] must be str; received int"),
        ({"title": None}, "title must be str; received NoneType"),
        ({"title": "a/b"}, "title must be the beginning of a file's name; received 'a/b'"),
    ],
    ids=str,
)
def test_what_the_projector_cannot_show(arguments, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        write_projector(**{"log_dir": tmp_path, "vectors": np.zeros((3, 2)), **arguments})
    assert not list(tmp_path.iterdir())


def test_vectors_of_half_the_bits(tmp_path):
    write_projector(tmp_path, keras.ops.ones((2, 3), "bfloat16"))
    assert lines(tmp_path, "") == ["1.00000\t1.00000\t1.00000"] * 2


def test_latin_tokens_keep_the_mark_of_their_space():
    tokenizer = Tokenizer.train(["the cat the cat the cat"], vocab_size=263)
    assert "Ġthe" in token_labels(tokenizer) or "Ġcat" in token_labels(tokenizer)


@pytest.mark.parametrize("loss", ["sparse_categorical_crossentropy", "mse"])
def test_a_plain_keras_model_is_read_from_the_logs(loss, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model = keras.Sequential([keras.Input((5,)), keras.layers.Embedding(20, 4)])
    model.add(
        keras.layers.Dense(20 if "cross" in loss else 1, "softmax" if "cross" in loss else None)
    )
    model.compile(keras.optimizers.SGD(0.0), loss)
    x = np.random.default_rng(0).integers(0, 20, (12, 5))
    logs = []
    record = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, found: logs.append(found))
    board = callbacks.TensorBoard(tmp_path, every=1, bytes_per_token=2.0)
    model.fit(x, x, batch_size=2, shuffle=False, validation_data=(x[:4], x[:4]), verbose=0,
              callbacks=[board, record])  # fmt: skip

    def values(run, tag):
        import tensorflow as tf

        events = EventAccumulator(str(tmp_path / run), size_guidance={"tensors": 0}).Reload()
        if tag not in events.Tags()["tensors"]:
            return None
        return [tf.make_ndarray(event.tensor_proto).item() for event in events.Tensors(tag)]

    # The weights do not move: the loss of each batch can be had afterwards.
    each = [float(model.evaluate(x[i : i + 2], x[i : i + 2], verbose=0)) for i in range(0, 12, 2)]
    np.testing.assert_allclose(values("train", "step/loss"), each, rtol=1e-3)
    assert len(values("train", "step/learning_rate")) == 6
    assert values("train", "step/gradient_norm") is None
    assert values("train", "step/tokens_per_second") is None
    expected = [np.exp(logs[0]["val_loss"])] if "cross" in loss else None
    found = values("validation", "epoch_perplexity")
    assert found == (expected and pytest.approx(expected, rel=1e-4))
