"""The sample of its text that a text generator keeps, for the proofs of its exports."""

import json

import pytest

import keraslm
from keraslm import export
from keraslm.data import encode_documents, pack
from keraslm.models import GPT
from keraslm.tasks import TextGenerator, prune
from keraslm.tasks.samples import CHARACTERS, DOCUMENTS, sample_of
from keraslm.tokenizers import Tokenizer


@pytest.fixture
def untrained(lm):
    gpt = GPT(lm.tokenizer.vocab_size, num_layers=1, d_model=8, num_heads=1, max_length=64)
    return TextGenerator(gpt, lm.tokenizer)


FIT = {"length": 32, "batch_size": 2, "steps": 1, "verbose": 0}


def test_fit_keeps_the_end_of_the_text(untrained, articles):
    assert untrained.sample is None
    untrained.fit(articles[:9], **FIT)
    text = "".join(articles[:9])
    kept = "".join(untrained.sample)
    assert text.endswith(kept) and CHARACTERS - 1000 < len(kept) <= CHARACTERS
    untrained.fit(articles[:9], validation=articles[20:22], **FIT)
    assert "".join(articles[20:22]).endswith("".join(untrained.sample))


@pytest.mark.parametrize("kind", ["packed", "iterator"])
def test_what_cannot_be_read_again_is_decoded(untrained, articles, kind):
    texts = iter(articles[:9])
    if kind == "packed":
        texts = pack(encode_documents(texts, untrained.tokenizer), length=32)
    untrained.fit(texts, **FIT)
    other = untrained.sample
    untrained.fit(articles[:9], **FIT)
    assert untrained.sample == other  # the tokens are bytes: decoding loses nothing


def test_few_documents_and_few_characters():
    tokenizer = Tokenizer.train(["ab"], kind="char", vocab_size=None)
    for texts in ([*"ab" * 30], ["ab" * 9000, "", "b"], ["a" * CHARACTERS] * 2):
        rows = pack(texts, tokenizer, length=8)
        found = sample_of(texts, rows, tokenizer)
        assert found == sample_of(rows, rows, tokenizer)
        assert 1 <= len(found) <= DOCUMENTS and sum(map(len, found)) <= CHARACTERS
        assert "".join(texts).endswith("".join(found)) and "" not in found
    assert sample_of(rows, rows, None) is None


@pytest.mark.slow
def test_the_bundle_keeps_it_and_exports_are_judged_on_it(lm, tmp_path):
    assert lm.sample
    folder = lm.save(tmp_path / "mine")
    back = keraslm.from_pretrained(folder)
    assert back.sample == lm.sample
    file = export.tflite(back, folder, quantization="int8", limits={"perplexity": 1, "kl": 1})
    proof = export.Verification.from_manifest(file)
    assert proof.judged_on == "the bundle's sample of its training text"
    assert proof.judged_tokens > 200
    assert prune(back, lm.sample)[0].sample == lm.sample


@pytest.mark.slow
def test_a_bundle_without_it(lm, tmp_path):
    folder = lm.save(tmp_path / "mine")
    back = keraslm.from_pretrained(folder)
    back.sample = None
    back.save(folder)
    assert not (folder / "sample.json").exists(), "the text of the older bundle stayed"
    assert keraslm.from_pretrained(folder).sample is None
    file = export.tflite(back, folder, prefill_lengths=())
    assert export.Verification.from_manifest(file).judged_on == "keraslm's English page"


@pytest.mark.parametrize("content", ["", "[", '["a"]', '{"texts": "a"}', '{"texts": [1]}'])
def test_a_damaged_file_is_an_error_with_its_name(lm, tmp_path, content):
    folder = lm.save(tmp_path / "mine")
    assert json.loads((folder / "sample.json").read_text(encoding="utf-8"))["texts"] == lm.sample
    (folder / "sample.json").write_text(content)
    with pytest.raises(ValueError, match=r"sample\.json is damaged"):
        keraslm.from_pretrained(folder)


def test_a_sample_that_is_no_list_is_refused(untrained, tmp_path):
    untrained.sample = "text"
    with pytest.raises(ValueError, match="lm.sample must be a list of str, or None; received"):
        untrained.save(tmp_path / "mine")
    assert not (tmp_path / "mine").exists()
