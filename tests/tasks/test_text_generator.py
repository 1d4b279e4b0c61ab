"""Text in, text out."""

import math

import numpy as np
import pytest

from keraslm.generation import Generated
from keraslm.models import GPT
from keraslm.tasks import TextGenerator
from keraslm.tokenizers import Tokenizer


def test_a_string_gives_a_string_and_a_list_a_list(lm):
    one = lm.generate("The government", max_new_tokens=5)
    assert isinstance(one, str) and one.startswith("The government") and len(one) > 14
    assert lm.generate(["The government", "In"], max_new_tokens=5)[0] == one
    both = lm.generate("The", max_new_tokens=5, top_k=50, seed=1, num_return_sequences=2)
    assert len(both) == 2 and both[0] != both[1]


def test_several_sequences_switch_sampling_on_and_say_so(lm):
    with pytest.warns(UserWarning, match="sampling with temperature=1"):
        found = lm.generate("The", max_new_tokens=8, num_return_sequences=3, seed=0)
    assert len(set(found)) > 1


def test_max_length_counts_the_prompt(lm):
    prompt = "The government of Australia"
    n = len(lm.tokenizer.encode(prompt))
    result = lm.generate(prompt, max_length=n + 4, return_log_probs=True, stop_ids=())
    assert isinstance(result, Generated) and len(result.ids) == len(result.log_probs) == 4
    with pytest.raises(ValueError, match=f"has {n} tokens"):
        lm.generate(prompt, max_length=n)
    with pytest.raises(ValueError, match="not both"):
        lm.generate(prompt, max_length=9, max_new_tokens=9)


def test_stop_strings_end_the_text_before_them(lm):
    free = lm.generate("The", max_new_tokens=30, stop_ids=())
    new = free[3:]
    stop = new[len(new) // 2 :][:2]
    cut = "The" + new[: new.index(stop)]
    assert lm.generate("The", max_new_tokens=30, stop=stop, stop_ids=()) == cut
    assert "The" + "".join(lm.stream("The", max_new_tokens=30, stop=[stop], stop_ids=())) == cut


@pytest.mark.parametrize("settings", [{}, {"top_k": 300, "temperature": 1.5, "seed": 5}])
def test_stream_joins_to_the_same_text_in_whole_characters(lm, settings):
    prompt = "Caf\u00e9 \U0001f600"
    pieces = list(lm.stream(prompt, max_new_tokens=40, **settings))
    assert prompt + "".join(pieces) == lm.generate(prompt, max_new_tokens=40, **settings)
    assert len(pieces) > 10


def test_stream_checks_before_the_first_piece(lm):
    with pytest.raises(ValueError, match="top_p must be"):
        lm.stream("The", top_p=2.0)


def test_empty_prompt_starts_a_text(lm):
    assert lm.generate("", max_new_tokens=5)
    chars = Tokenizer.train(["abcabc"], "char", None, special_tokens=["<unk>"])
    bare = TextGenerator(GPT(chars.vocab_size, 1, 8, 1, max_length=16), chars)
    with pytest.raises(ValueError, match="no token that starts a text"):
        bare.generate("")
    with pytest.raises(ValueError, match="There is no prompt"):
        lm.generate([])


def test_score_is_the_chain_rule(lm):
    score = lm.score("The government said")
    ids = [lm.tokenizer.bos_id, *lm.tokenizer.encode("The government said")]
    logits = np.asarray(lm.model(np.array([ids])))[0].astype("float64")
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    wanted = [log_p[i, ids[i + 1]] for i in range(len(ids) - 1)]
    np.testing.assert_allclose(score.log_probs, wanted, atol=1e-4)
    assert score.total == pytest.approx(sum(wanted), abs=1e-3)
    assert score.perplexity == pytest.approx(math.exp(-np.mean(wanted)), rel=1e-3)
    assert len(score.tokens) == len(wanted)


def test_evaluate_weighs_tokens(lm, articles):
    texts = articles[60:62]
    found = lm.evaluate(texts, length=32, batch_size=4)
    total = count = 0
    from keraslm.data import encode_documents

    ids = encode_documents(texts, lm.tokenizer).ids.astype("int32")
    for start in range(0, len(ids) - 32, 32):
        row = ids[start : start + 33]
        logits = np.asarray(lm.model(row[None, :-1]))[0].astype("float64")
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        total -= log_p[np.arange(32), row[1:]].sum()
        count += 32
    assert found.num_tokens == count
    assert found.loss == pytest.approx(total / count, rel=1e-4)
    assert found.perplexity == pytest.approx(math.exp(found.loss))
    size = sum(len(t.encode()) for t in texts) / len(ids)
    assert found.bits_per_byte == pytest.approx(found.loss / math.log(2) / size, rel=1e-6)


def test_training_made_it_better(lm, articles):
    fresh = TextGenerator(type(lm.model).from_config(lm.model.get_config()), lm.tokenizer)
    before = fresh.evaluate(articles[60:70]).loss
    assert lm.evaluate(articles[60:70]).loss < before - 0.3


def test_nan_loss_is_told(lm, articles):
    gpt = GPT(lm.tokenizer.vocab_size, 1, 8, 1, max_length=32)
    gpt.compile("sgd")
    gpt.optimizer.learning_rate = 1e30
    with pytest.raises(ValueError, match="became NaN"):
        TextGenerator(gpt, lm.tokenizer).fit(articles[:20], length=32, verbose=0)


def test_too_little_text_and_a_foreign_tokenizer_are_told(lm):
    with pytest.raises(ValueError, match="fewer than"):
        lm.fit(["Too short."], length=64)
    with pytest.raises(ValueError, match="vocab_size=tokenizer.vocab_size"):
        TextGenerator(GPT(10, 1, 8, 1), lm.tokenizer)
