"""What `info` tells of bundles and checkpoints, without loading them."""

import pytest

import keraslm
from keraslm.models import BERT
from keraslm.tasks import SentenceEncoder, info


def test_a_bundle(lm, tmp_path):
    found = info(lm.save(tmp_path / "mine", card="| licence | MIT |\n"))
    assert found.kind == "keraslm bundle" and found.task == "TextGenerator"
    assert found.parameters == lm.model.count_params()
    assert found.memory["float32"] == 4 * found.parameters == 8 * found.memory["int8"] // 2
    assert found.cache_bytes == 2 * 2 * 32 * 4  # keys and values, layers, width, float32
    assert found.licence == "MIT" and found.tokenizer.startswith("bpe, 600 tokens")
    assert found.files["model.safetensors"] > 4 * found.parameters
    text = str(found)
    assert "decoder, 2 blocks, width 32, 2 heads" in text and "context 160" in text


def test_a_checkpoint(lm, tmp_path):
    found = info(lm.save_huggingface(tmp_path / "hf"))
    assert found.kind == "Hugging Face (gpt2)" and found.task == "TextGenerator"
    assert found.parameters == lm.model.count_params()
    encoder = SentenceEncoder(BERT(40, 1, 16, 2, head=None), None)
    found = info(encoder.save_huggingface(tmp_path / "sentences"))
    assert (found.task, found.tokenizer, found.cache_bytes) == ("SentenceEncoder", None, 0)
    head = BERT(40, 1, 16, 2, head="token_classifier", num_classes=3)
    found = info(keraslm.interop.save_huggingface(head, tmp_path / "head"))
    assert found.task == "TokenClassifier"


def test_bad_input(tmp_path):
    with pytest.raises(FileNotFoundError, match="No model at"):
        info(tmp_path / "nothing")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="is not a whole bundle"):
        info(tmp_path)
