"""Pruned tokenizers give the same tokens on the texts that they were pruned for."""

import json

import pytest
import tokenizers

from keraslm.tokenizers import Tokenizer, prune_tokenizer


def unigram(articles):
    """As XLM-RoBERTa's: pieces with scores, and a template with special tokens."""
    engine = tokenizers.Tokenizer(tokenizers.models.Unigram())
    engine.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    engine.decoder = tokenizers.decoders.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=600, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    engine.train_from_iterator(articles, trainer)
    engine.post_processor = tokenizers.processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    engine.enable_padding(pad_id=1, pad_token="<pad>")
    return Tokenizer(engine)


def trained(kind, articles):
    if kind == "unigram":
        return unigram(articles)
    return Tokenizer.train(articles, kind, None if kind == "char" else 900)


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "word", "char", "unigram"])
def test_the_same_tokens(kind, articles):
    tokenizer = trained(kind, articles)
    texts = articles[:3]
    pruned, kept = prune_tokenizer(tokenizer, texts)
    assert pruned.vocab_size == len(kept) < tokenizer.vocab_size
    assert kept == sorted(kept)
    for text in texts:
        for special in (False, True):
            new, old = (t.encode(text, special) for t in (pruned, tokenizer))
            assert [kept[i] for i in new] == old
        assert pruned.decode(pruned.encode(text)) == tokenizer.decode(tokenizer.encode(text))
    assert set(pruned.special_tokens) == set(tokenizer.special_tokens)
    for role in ("pad", "unk", "bos", "eos", "mask"):
        old, new = tokenizer.special_id(role), pruned.special_id(role)
        assert new is old is None or kept[new] == old
    again = Tokenizer(tokenizers.Tokenizer.from_str(pruned.to_json()))
    assert again.encode(texts[0], True) == pruned.encode(texts[0], True)


def test_byte_level_spells_any_other_text(articles):
    pruned, _ = prune_tokenizer(trained("bpe", articles), articles[:1])
    for text in ("Zürich 東京 🙂\u200d", articles[50]):
        assert pruned.decode(pruned.encode(text)) == text


@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
def test_elsewhere_other_words_are_spelled(kind, articles):
    tokenizer = trained(kind, articles)
    pruned, _ = prune_tokenizer(tokenizer, articles[:2])
    unknown = tokenizer.token_to_id("[UNK]" if kind == "wordpiece" else "<unk>")
    assert unknown not in tokenizer.encode("zebras quiz")
    new = pruned.encode("zebras quiz")
    assert pruned.special_id("unk") not in new and pruned.decode(new) == "zebras quiz"
    assert pruned.special_id("unk") in pruned.encode("東")


def test_bad_input(articles):
    tokenizer = trained("char", articles)
    with pytest.raises(ValueError, match="received one string"):
        prune_tokenizer(tokenizer, "text")
    with pytest.raises(ValueError, match="every token would be left out"):
        prune_tokenizer(tokenizer, [])


def test_merges_are_written_in_either_way(articles):
    """Older files have a merge as one string."""
    tokenizer = trained("bpe", articles)
    data = json.loads(tokenizer.to_json())
    data["model"]["merges"] = [" ".join(merge) for merge in data["model"]["merges"]]
    old = Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(data)))
    assert prune_tokenizer(old, articles[:2])[1] == prune_tokenizer(tokenizer, articles[:2])[1]
