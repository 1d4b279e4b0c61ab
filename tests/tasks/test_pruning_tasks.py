"""Pruned tasks: the same states on the same tokens, in every export too."""

import numpy as np
import pytest

import keraslm
from keraslm.models import BERT, GPT
from keraslm.tasks import FillMask, TextGenerator, prune
from keraslm.tokenizers import Tokenizer


def test_text_generator(lm, articles, tmp_path):
    small, report = prune(lm, articles[:2])
    assert report.tokens[1] < report.tokens[0] == lm.model.vocab_size
    assert report.parameters[0] - report.parameters[1] == 32 * (report.tokens[0] - report.tokens[1])
    assert report.perplexity[1] <= report.perplexity[0]
    assert "tokens" in str(report) and "perplexity" in str(report)
    assert [lm.tokenizer.id_to_token(i) for i in lm.generation_config.stop_ids] == [
        small.tokenizer.id_to_token(i) for i in small.generation_config.stop_ids
    ]
    prompt = articles[0][:60]
    text = small.generate(prompt, max_new_tokens=10)
    assert keraslm.from_pretrained(small.save(tmp_path / "mine")).generate(
        prompt, max_new_tokens=10
    ) == text  # fmt: skip
    back = keraslm.from_pretrained(small.save_huggingface(tmp_path / "hf"))
    assert back.generate(prompt, max_new_tokens=10) == text


@pytest.mark.slow
def test_every_export(lm, articles, tmp_path):
    small, _ = prune(lm, articles[:2])
    small.save(tmp_path)
    for target in (keraslm.export.tflite, keraslm.export.litertlm, keraslm.export.saved_model):
        target(small, tmp_path)  # proven, or an error
    keraslm.export.web(small, tmp_path, verify=False)


def test_hidden_states_stay(articles):
    tokenizer = Tokenizer.train(articles, "word", 500)
    config = dict(num_layers=1, d_model=16, num_heads=2, max_length=600, tied=False)
    lm = TextGenerator(GPT(tokenizer.vocab_size, **config), tokenizer)
    small, _ = prune(lm, articles[:1])
    kept = [tokenizer.token_to_id(token) for token in small.tokenizer.vocabulary]
    ids = [np.array([t.encode(articles[0])]) for t in (small.tokenizer, tokenizer)]
    logits = [np.asarray(t.model(i)) for t, i in zip((small, lm), ids, strict=True)]
    assert np.abs(logits[0] - logits[1][..., kept]).max() < 1e-6


def test_fill_mask(articles):
    tokenizer = Tokenizer.train(articles, "wordpiece", 700, lowercase=True)
    bert = BERT(tokenizer.vocab_size, 1, 16, 2, initializer_range=0.3)
    fill = FillMask(bert, tokenizer)
    small, report = prune(fill, articles[:2])
    assert report.perplexity is None and report.tokens[1] < report.tokens[0]
    best = small.predict("the [MASK] said", top_k=1)[0]
    every = {f.token: f.probability for f in fill.predict("the [MASK] said", top_k=700)}
    likeliest = max(small.tokenizer.vocabulary, key=lambda t: every.get(t, 0))
    assert best.token == likeliest
    with pytest.raises(ValueError, match="There is no tokenizer"):
        prune(FillMask(bert, None), articles)
