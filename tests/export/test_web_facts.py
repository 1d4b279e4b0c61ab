"""What a web folder holds beside its code, and that a proof in the browser sees it changed."""

import hashlib
import json
import shutil

import pytest

from keraslm import export

peer = pytest.mark.peer


def restated(site, folder, change):
    """A copy of the folder whose ``model.json`` says something else."""
    copy = shutil.copytree(site, folder / "site")
    info = json.loads((copy / "model.json").read_text())
    change(info)
    (copy / "model.json").write_text(json.dumps(info))
    return copy


@peer
def test_a_proof_reads_what_model_json_states(lm, site, tmp_path):
    changes = {"stop_ids": [5], "temperature": 0.7, "seed": 4, "max_new_tokens": 7}

    def change(info):
        info["generation"].update(changes)
        info.update(vocab_size=599, context=128, max_length=30)

    result = export.verify(restated(site, tmp_path, change), lm)
    assert not result.passed and result.equal_tokens < result.tokens
    assert result.differing == (
        "max_new_tokens is 7 in the file and 50 in the task",
        "stop_ids is [5] in the file and [0] in the task",
        "temperature is 0.7 in the file and 0 in the task",
        "seed is 4 in the file and nothing in the task",
        "max_length is 30 in the file and nothing in the task",
        "vocab_size is 599 in the file and 600 in the task",
        "context is 128 in the file and 160 in the task",
    )


@peer
def test_a_proof_notices_corrupt_weights(lm, site, tmp_path):
    """Though ``model.json`` describes the very file."""
    content = bytearray((site / "model.tflite").read_bytes())
    weights = lm.model.get_layer("token_embedding").embeddings.numpy().tobytes()
    place = content.find(weights[:256])
    content[place : place + len(weights) // 4] = bytes(len(weights) // 4)
    assert place > 0

    def change(info):
        digest = hashlib.sha256(content).hexdigest()
        info["files"]["model.tflite"] = {"bytes": len(content), "sha256": digest}

    copy = restated(site, tmp_path, change)
    (copy / "model.tflite").write_bytes(content)
    result = export.verify(copy, lm)
    assert not result.passed and result.max_difference > 0.1 and not result.differing
