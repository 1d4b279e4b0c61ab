"""Roles of tokens: trained, stated by files, or guessed from names; and what goes by them."""

import dataclasses
import json

import pytest

from keraslm.data import clean_text, encode_documents
from keraslm.tokenizers import Roles, Tokenizer, prune_tokenizer

TEXTS = ["the cat sat on the mat", "GPT-2 ends a text with <|endoftext|> and goes on", "a </s> b"]
HALF = "hello \ud83d x"


def tokenizer_of(kind, **options):
    sizes = {"bpe": 290, "wordpiece": 60, "char": None}
    return Tokenizer.train(TEXTS * 9, kind, sizes[kind], **options)


@pytest.fixture(params=["bpe", "wordpiece"])
def tokenizer(request):
    return tokenizer_of(request.param)


# === Where they come from ===


def test_trained_tokenizers_know_their_roles():
    bpe, wordpiece = tokenizer_of("bpe"), tokenizer_of("wordpiece")
    assert bpe.roles.source == wordpiece.roles.source == "trained"
    assert bpe.eos_ids == (0,) and bpe.bos_id == 0 and bpe.pad_id is None
    roles = wordpiece.roles
    assert (roles.bos, roles.eos, roles.cls, roles.sep) == ("[CLS]", ("[SEP]",), "[CLS]", "[SEP]")
    # Only special tokens have a role, whatever else a word looks like.
    other = tokenizer_of("bpe", special_tokens=["<start>", "<end>"])
    assert other.eos_ids == () and other.bos_id is None


def test_roles_come_back_from_a_folder(tokenizer, tmp_path):
    roles = dataclasses.replace(
        tokenizer.roles, chat_template={"default": "{{ messages }}", "tool": "x"},
        model_max_length=77, settings={"padding_side": "left"},
    )  # fmt: skip
    tokenizer.with_roles(roles).save(tmp_path)
    back = Tokenizer.load(tmp_path)
    assert back.roles == roles and Tokenizer.load(tmp_path / "tokenizer.json").roles == roles
    written = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert written["eos_token"] == roles.eos[0] and written["padding_side"] == "left"
    assert {one["name"] for one in written["chat_template"]} == {"default", "tool"}


def test_without_a_statement_names_are_a_last_resort(tmp_path):
    wordpiece = tokenizer_of("wordpiece")
    wordpiece.save(tmp_path / "other.json")
    bare = Tokenizer.load(tmp_path / "other.json")
    assert bare.roles.source == "names" and bare.special_id("eos") == wordpiece.special_id("eos")
    # As before there were roles: no template around prompts and documents.
    assert bare.prompt_ids("the cat") == bare.encode("the cat")
    assert bare.document_template == ([], [bare.eos_id])
    assert [p.name for p in tmp_path.iterdir()] == ["other.json"]


def test_statements_in_every_spelling():
    one = {"eos_token": {"content": "</s>", "lstrip": False}, "model_max_length": int(1e30)}
    roles = Roles.from_dict({**one, "chat_template": [{"name": "a", "template": "b"}]})
    assert roles.eos == ("</s>",) and roles.chat_template == {"a": "b"}
    assert roles.model_max_length is None and roles.to_dict()["model_max_length"] == int(1e30)
    assert Roles.from_dict(roles.to_bundle()) == roles


@pytest.mark.parametrize(
    "config",
    [{"eos_token": 3}, {"model_max_length": "many"}, {"chat_template": 1}, {"keraslm": 1},
     {"chat_template": [{"name": "a"}]}, {"clean_up_tokenization_spaces": "yes"},
     {"keraslm": {"prompt": "half"}}],
)  # fmt: skip
def test_damaged_statements_are_named(config, tmp_path):
    tokenizer_of("bpe").save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"tokenizer_config.json is damaged"):
        Tokenizer.load(tmp_path)


def test_pruning_keeps_roles(tokenizer):
    pruned, _ = prune_tokenizer(tokenizer, ["the cat"])
    assert pruned.roles == tokenizer.roles
    assert pruned.id_to_token(pruned.eos_id) == tokenizer.id_to_token(tokenizer.eos_id)


# === What goes by them ===


def test_prompts_take_of_the_template_what_the_roles_say():
    wordpiece = tokenizer_of("wordpiece")
    ids = wordpiece.encode("the cat")
    cls, sep = wordpiece.special_id("cls"), wordpiece.special_id("sep")
    expected = {"whole": [cls, *ids, sep], "open": [cls, *ids], "bare": ids}
    for prompt, wanted in expected.items():
        other = wordpiece.with_roles(dataclasses.replace(wordpiece.roles, prompt=prompt))
        assert other.prompt_ids("the cat") == wanted
        before, after = other.prompt_template
        assert [*before, *ids, *after] == wanted
        assert other.prompt_ids("") == [cls]
    assert wordpiece.document_template == ([cls], [sep])
    nothing = wordpiece.with_roles(Roles(prompt="bare"))
    with pytest.raises(ValueError, match="no token that starts a text"):
        nothing.prompt_ids("")


def test_documents_of_a_stream_are_in_the_template():
    wordpiece, bpe = tokenizer_of("wordpiece"), tokenizer_of("bpe")
    for tokenizer, first in ((wordpiece, [wordpiece.special_id("cls")]), (bpe, [])):
        stream = encode_documents(TEXTS[:1], tokenizer)
        ids = [*first, *tokenizer.encode(TEXTS[0]), tokenizer.eos_id]
        assert stream.ids.tolist() == ids and stream.starts.tolist() == [0]


def test_several_tokens_end_a_text():
    bpe = tokenizer_of("bpe", special_tokens=["<a>", "<b>"])
    roles = Roles(eos=("<b>", "<a>"), source="files", prompt="whole")
    assert bpe.with_roles(roles).eos_ids == (1, 0) and bpe.with_roles(roles).eos_id == 1


# === Texts of others ===


def unigram():
    import tokenizers

    engine = tokenizers.Tokenizer(tokenizers.models.Unigram())
    engine.train_from_iterator(TEXTS * 9, tokenizers.trainers.UnigramTrainer(
        vocab_size=60, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    ))  # fmt: skip
    return Tokenizer(engine)


def merged():
    """A BPE whose merges spell its own end token."""
    import tokenizers

    vocab = {name: i for i, name in enumerate(["<unk>", "</s>", "<", "/", "s", ">", "</", "s>"])}
    merges = [("<", "/"), ("s", ">"), ("</", "s>")]
    engine = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, merges, unk_token="<unk>"))
    engine.add_special_tokens(["</s>"])
    return Tokenizer(engine)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: tokenizer_of("bpe"), "say <|endoftext|> now"),
        (lambda: tokenizer_of("wordpiece"), "the [SEP] cat [PAD]"),
        (lambda: tokenizer_of("char"), "a <|endoftext|> b"),
        (unigram, "a </s> b"),
        (merged, "</s>s</s>"),
    ],
)
def test_control_tokens_in_texts_of_others_are_text(make, text):
    tokenizer = make()
    special = set(tokenizer.special_tokens.values()) - {tokenizer.special_id("unk")}
    assert special & set(tokenizer.encode(text))
    plain = tokenizer.encode(text, allow_control_tokens=False)
    assert not special & set(plain) and plain
    assert tokenizer.encode_batch([text], allow_control_tokens=False) == [plain]
    harmless = TEXTS[0]
    assert tokenizer.encode(harmless, allow_control_tokens=False) == tokenizer.encode(harmless)
    if make is not merged and tokenizer.kind in ("bpe", "char"):  # the others lose blanks
        assert tokenizer.decode(plain) == text
    # The template itself stays.
    whole = tokenizer.encode(text, True, allow_control_tokens=False)
    before, after = tokenizer.template
    assert whole == [*before, *plain, *after]


def test_a_document_ends_only_at_its_end():
    bpe = tokenizer_of("bpe")
    assert (encode_documents([TEXTS[1]], bpe).ids == bpe.eos_id).sum() == 1
    allowed = encode_documents([TEXTS[1]], bpe, allow_control_tokens=True)
    assert (allowed.ids == bpe.eos_id).sum() == 2


def test_half_a_character_is_one_sentence_everywhere():
    bpe = tokenizer_of("bpe")
    calls = (
        lambda: bpe.encode(HALF),
        lambda: bpe.encode_batch(["a", HALF]),
        lambda: bpe.encode_with_offsets(HALF),
        lambda: bpe.prompt_ids(HALF),
        lambda: encode_documents([HALF], bpe),
        lambda: Tokenizer.train([HALF] * 9, "bpe", 260),
    )
    for call in calls:
        with pytest.raises(ValueError, match=r"lone surrogate U\+D83D, at position 6") as caught:
            call()
        assert type(caught.value) is ValueError and caught.value.__cause__ is None
    assert clean_text(HALF) == "hello x"  # cleaning drops them


@pytest.mark.parametrize(
    "text",
    ["한국어 문장", "がっこう ガラス", "हिन्दी में", "мой край", "tiếng Việt đẹp", "schön Straße",
     "தமிழ் மொழி", "วัตถุ ท้องฟ้า", "שָׁלוֹם עוֹלָם"],
)  # fmt: skip
def test_lower_case_damages_no_script(text):
    words = Tokenizer.train([text, text.upper()] * 3, "word", None, lowercase=True)
    assert words.decode(words.encode(text)) == text.lower()
