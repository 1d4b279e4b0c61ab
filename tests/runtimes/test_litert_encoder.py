"""`LiteRTEncoder`: what it takes, what it refuses, and files without a note."""

import keras
import numpy as np
import pytest
from keras import ops

from keraslm import export
from keraslm.litert.flatbuffer import LiteRTFile
from keraslm.litert.notes import EncoderNote, read_note
from keraslm.models import BERT
from keraslm.runtimes import LiteRTEncoder


@pytest.fixture(scope="module")
def bert():
    keras.utils.set_random_seed(0)
    return BERT(60, 1, 16, 2, max_length=24, head="pooled", initializer_range=0.3)


@pytest.fixture(scope="module", params=[(8, 16), "dynamic"], ids=["lengths", "dynamic"])
def path(request, bert, tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    return export.tflite(bert, folder, lengths=request.param, verify=False)


def answer(model, ids, **others):
    inputs = {name: np.array([value]) for name, value in {"token_ids": ids, **others}.items()}
    return ops.convert_to_numpy(model(inputs, training=False))[0]


def test_a_batch_of_texts_of_different_lengths(bert, path):
    litert = LiteRTEncoder(path)
    texts = [[5, 6, 7], [8], list(range(1, 13))]
    found = litert(texts)
    assert found.shape == (3, 16)
    for row, text in zip(found, texts, strict=True):
        assert np.abs(row - answer(bert, text)).max() < 1e-5


def test_a_mask_that_is_given_is_used(bert, path):
    litert = LiteRTEncoder(path)
    found = litert([5, 6, 7, 8], padding_mask=[1, 1, 0, 0])
    assert np.abs(found[0] - answer(bert, [5, 6])).max() < 1e-5


def test_optional_inputs_and_their_order(bert, path):
    litert = LiteRTEncoder(path)
    assert list(litert.inputs) == ["token_ids", "padding_mask", "token_types"]
    assert litert.input_names == sorted(litert.inputs)
    expected = answer(bert, [4, 5, 6], token_types=[0, 1, 1])
    assert np.abs(litert([4, 5, 6], token_types=[0, 1, 1])[0] - expected).max() < 1e-5
    assert np.abs(litert([4, 5, 6], [1, 1, 1], [0, 1, 1])[0] - expected).max() < 1e-5


def test_what_is_no_input_is_refused(path):
    litert = LiteRTEncoder(path)
    for arguments, named, message in (
        (([],), {}, "token_ids has no tokens"),
        ((["a text"],), {}, "token_ids takes numbers, int32; received list.*model's tokenizer"),
        (([1.5, 2.0],), {}, "token_ids takes whole numbers"),
        (([[[1]]],), {}, r"token_ids must have the shape \(batch, "),
        (([1],), {"token_ids": [1]}, "token_ids is given twice"),
        (([1],), {"masks": [1]}, "No input is called 'masks'"),
        ((), {"padding_mask": [1]}, "The input 'token_ids' is missing"),
        (([1, 2],), {"padding_mask": [1]}, "padding_mask has 1 values and token_ids has 2"),
        (([1], [1], [0], [0]), {}, "takes 3 inputs, token_ids, .*received 4"),
    ):
        with pytest.raises(ValueError, match=message):
            litert(*arguments, **named)


def test_a_file_without_a_note_is_padded_only_if_it_has_a_mask(bert, path, tmp_path):
    assert read_note(path, EncoderNote).inputs == ("token_ids", "padding_mask", "token_types")
    file = LiteRTFile(path.read_bytes())
    file.model.metadata = []
    old = tmp_path / "old.tflite"
    old.write_bytes(file.to_bytes())
    assert read_note(old, EncoderNote) is None
    found = LiteRTEncoder(old)([5, 6, 7])
    assert np.abs(found[0] - answer(bert, [5, 6, 7])).max() < 1e-5
    assert EncoderNote.of_names(["b", "a"]) == EncoderNote(("a", "b"))


def test_names_of_tensors_are_unique(path):
    for graph in LiteRTFile(path.read_bytes()).model.subgraphs:
        names = [tensor.name for tensor in graph.tensors]
        assert len(set(names)) == len(names)
