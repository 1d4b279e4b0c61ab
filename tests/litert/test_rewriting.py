"""The rewritten graph: fewer operations, the same numbers."""

import numpy as np
import pytest

from keraslm import export
from keraslm.export.to_tflite.exporter import convert
from keraslm.litert.flatbuffer import LiteRTFile
from keraslm.litert.rewriting import simplify


@pytest.fixture(scope="module")
def content(lm):
    for weight in lm.model.weights:  # the converter drops a bias of zeros
        if weight.name == "bias":
            weight.assign_add(np.linspace(-0.1, 0.1, weight.shape[0]))
    return convert(lm.model, (8,), generate=(16, 8), stop_ids=lm.generation_config.stop_ids)


def test_biases_tables_and_attention(lm, content):
    file = LiteRTFile(content)
    decode, layers = file.operations("decode"), lm.model.transformer_config.num_layers
    assert decode["FULLY_CONNECTED"] == 6 * layers + 1
    assert decode["BATCH_MATMUL"] == 0 and decode["SUM"] == 2 * layers
    assert decode["GATHER"] == decode["SELECT"] == 0 and decode["EMBEDDING_LOOKUP"] == 2
    # What is left: residuals, and in each norm the epsilon and the shift.
    assert decode["ADD"] + decode["SUB"] <= 2 * layers + 3 * (2 * layers + 1) + layers + 3
    # No logits: of the last block only keys and values are computed.
    assert file.operations("prefill_8")["BATCH_MATMUL"] == 2 * (layers - 1)
    graph = file.model.subgraphs[file.signatures()["decode"]]
    dense = [o for o in graph.operators if file.name(o) == "FULLY_CONNECTED"]
    assert sum(len(o.inputs) > 2 and o.inputs[2] >= 0 for o in dense) == 6 * layers


def test_twice_is_once(content):
    file = LiteRTFile(content)
    simplify(file)
    assert LiteRTFile(file.to_bytes()).operations() == LiteRTFile(content).operations()


def test_the_generate_signature(lm, content, tmp_path):

    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    assert export.verify(path, lm).passed
    litert = export.LiteRTModel(path)
    prompt = lm.tokenizer.encode("The government said")
    for settings in ({"temperature": 0.0}, {"temperature": 0.8, "top_k": 20, "seed": 5},
                     {"temperature": 1.0, "top_k": 64, "top_p": 0.8, "seed": 6}):  # fmt: skip
        config = lm.generation_config.replace(max_new_tokens=8, **settings)
        wanted = lm.generator.generate([prompt], config)[0].ids
        assert litert.generate_at_once(prompt, 8, **settings) == wanted
    assert len(litert.generate_at_once(prompt, 3)) == 3
    with pytest.raises(ValueError, match="must have 1 to 16 tokens; it has 17"):
        litert.generate_at_once([1] * 17, 3)


@pytest.mark.slow
def test_stop_tokens_end_the_generate_signature(lm, tmp_path):
    prompt = lm.tokenizer.encode("The government said")
    wanted = lm.generator.generate([prompt], lm.generation_config.replace(max_new_tokens=8))[0].ids
    path = tmp_path / "model.tflite"
    path.write_bytes(convert(lm.model, (), generate=(16, 8), stop_ids=(wanted[4],)))
    found = export.LiteRTModel(path).generate_at_once(prompt, 8)
    assert found == wanted[: wanted.index(wanted[4])]
    with pytest.raises(ValueError, match="has no 'generate' signature"):
        path.write_bytes(convert(lm.model, ()))
        export.LiteRTModel(path).generate_at_once(prompt, 8)
    with pytest.raises(ValueError, match=r"generate=\(150, 20\) is more than"):
        convert(lm.model, (), generate=(150, 20))


@pytest.mark.parametrize("kind", [None, "int8", "int4"])
def test_every_name_stands_for_one_tensor(lm, kind):
    """Tools such as litert-quantizer find tensors by name, in all graphs at once."""
    file = LiteRTFile(convert(lm.model, (8,), quantization=kind))
    buffers = {}
    for graph in file.model.subgraphs:
        names = [tensor.name for tensor in graph.tensors]
        assert all(names) and len(set(names)) == len(names)
        for tensor in graph.tensors:
            buffers.setdefault(tensor.name, []).append(tensor.buffer)
    for name, found in buffers.items():
        assert len(found) == 1 or (len(set(found)) == 1 and found[0]), name
