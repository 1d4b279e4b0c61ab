"""Invalid texts, settings, token ids and labels are refused with a sentence that names them."""

import json

import keras
import numpy as np
import pytest

from keraslm._text import checked_ids, checked_texts
from keraslm.generation import GenerationConfig
from keraslm.models import BERT, GPT
from keraslm.tasks import TextGenerator
from keraslm.tokenizers import Roles, TextStream, Tokenizer

TOKENIZER = Tokenizer.train(["to be or not to be"] * 3, kind="char", vocab_size=None)


@pytest.fixture(scope="module")
def tiny():
    return TextGenerator(GPT(TOKENIZER.vocab_size, 1, 8, 2, max_length=16), TOKENIZER)


TEXTS = [
    (3, "text must be a str or a list of str; received int"),
    (None, "text must be a str or a list of str; received NoneType"),
    (b"to", "text must be a str or a list of str; received bytes"),
    ({"to": "be"}, "text must be a str or a list of str; received dict"),
    ([None], r"text\[0\] must be str; received NoneType"),
    (["to", 3.5], r"text\[1\] must be str; received float"),
    ("\ud800", "half of a character, the lone surrogate U"),
    ([], "There is no prompt: give a text or a list of texts"),
]


@pytest.mark.parametrize(("text", "says"), TEXTS, ids=repr)
def test_invalid_prompts(tiny, text, says):
    with pytest.raises(ValueError, match=says):
        tiny.generate(text)


@pytest.mark.parametrize("text", [3, "to", {"to": 1}], ids=repr)
def test_prompt_ids_are_of_a_list(tiny, text):
    with pytest.raises(ValueError, match="texts must be a list of str; received"):
        tiny.prompt_ids(text)


@pytest.mark.parametrize("config", [3, {"top_k": 2}], ids=repr)
def test_default_settings_are_a_config(tiny, config):
    with pytest.raises(ValueError, match="generation_config must be a keraslm.*; received"):
        TextGenerator(tiny.model, TOKENIZER, config)


@pytest.mark.parametrize("call", ["stream", "score"])
@pytest.mark.parametrize("text", [3, None, ["to"], "\ud800"], ids=repr)
def test_one_text_is_one_text(tiny, call, text):
    with pytest.raises(ValueError, match="text"):
        list(getattr(tiny, call)(text))


SETTINGS = [
    ({"stop": 3}, "stop must be a str or a list of str; received int"),
    ({"stop": [None]}, r"stop\[0\] must be str; received NoneType"),
    ({"stop_ids": "x"}, "stop_ids must be a list of token ids"),
    ({"stop_ids": 3}, "stop_ids must be a list of token ids"),
    ({"stop_ids": (-1,)}, "stop_ids must be a list of token ids, whole numbers from 0"),
    ({"stop_ids": (1.5,)}, "stop_ids must be a list of token ids"),
    ({"stop_ids": (2**40,)}, "stop_ids must be a list of token ids, whole .*; received .10995"),
    ({"stop_ids": (True,)}, "stop_ids must be a list of token ids"),
    ({"stop_ids": (10**6,)}, "stop_ids must be from 0 to .*; received 1000000"),
    ({"num_return_sequences": True}, "num_return_sequences must be a positive whole number"),
    ({"num_return_sequences": 1.0}, "num_return_sequences must be a positive whole number"),
    ({"max_new_tokens": True}, "max_new_tokens must be a positive whole number; received True"),
    ({"max_new_tokens": "5"}, "max_new_tokens must be a positive whole number; received '5'"),
    ({"max_length": "9"}, "max_length must be a positive whole number; received '9'"),
    ({"max_length": 2.5}, "max_length must be a positive whole number; received 2.5"),
    ({"temperature": float("nan")}, "temperature must be 0 .greedy. or more; received nan"),
    ({"temperature": "hot"}, "temperature must be 0 .greedy. or more; received 'hot'"),
    ({"top_p": True}, "top_p must be above 0 and at most 1; received True"),
    ({"top_k": 2.5}, "top_k must be 0 .off. or a positive whole number; received 2.5"),
    ({"min_p": float("inf")}, "min_p must be from 0 to 1; received inf"),
    ({"repetition_penalty": None}, "repetition_penalty must be above 0; received None"),
    ({"temperature": 10**39}, "temperature must be 0 .greedy. or more; received 1000"),
    ({"min_p": -(10**400)}, "min_p must be from 0 to 1"),
    ({"seed": 1.5}, "seed must be a whole number; received 1.5"),
    ({"seed": "a"}, "seed must be a whole number; received 'a'"),
]


@pytest.mark.parametrize(("settings", "says"), SETTINGS, ids=repr)
def test_invalid_settings(tiny, settings, says):
    with pytest.raises(ValueError, match=says):
        tiny.generate("to", **settings)


def test_whole_numbers_may_be_huge(tiny):
    huge = {"max_new_tokens": 10**39, "top_k": 10**400, "seed": -(10**400)}
    assert tiny.generate("to", **huge).startswith("to")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"texts": None}, "texts must be a list of str; received NoneType"),
        ({"texts": 3}, "texts must be a list of str; received int"),
        ({"texts": {"to be or not": 1}}, "texts must be a list of str; received dict"),
        ({"length": "a"}, "length must be a whole number, at least 1; received 'a'"),
        ({"length": 1.5}, "length must be a whole number, at least 1; received 1.5"),
        ({"length": 0}, "length must be a whole number, at least 1; received 0"),
        ({"batch_size": None}, "batch_size must be a positive whole number; received None"),
        ({"batch_size": np.array([1, 2])}, "batch_size must be a positive whole number"),
    ],
    ids=str,
)
def test_evaluation_names_what_it_cannot_take(tiny, arguments, says):
    with pytest.raises(ValueError, match=says):
        tiny.evaluate(**{"texts": ["to be or not to be"], **arguments})


def test_numbers_of_numpy_are_numbers(tiny):
    config = GenerationConfig(stop_ids=np.array([3, 4]), top_k=np.int64(5))
    assert config.stop_ids == (3, 4) and config.top_k == 5
    config = GenerationConfig(temperature=np.float32(0.5), top_p=np.float64(0.5), seed=2.0)
    assert json.loads(json.dumps(config.to_dict())) == config.to_dict()
    assert (config.temperature, config.top_p, config.seed) == (0.5, 0.5, 2)
    assert checked_ids(np.array([1, 2])) == [1, 2]
    assert checked_texts(iter(["a", "b"])) == ["a", "b"]


IDS = [
    ([1.5], "token ids must be whole numbers; received 1.5"),
    ([1.0], "token ids must be whole numbers; received 1.0"),
    ([True], "token ids must be whole numbers; received True"),
    (["a"], "token ids must be whole numbers; received 'a'"),
    ("abc", "token ids must be a list of whole numbers; received 'abc'"),
    (7, "token ids must be a list of whole numbers; received 7"),
    ({1: 2}, "token ids must be a list of whole numbers; received {1: 2}"),
    (np.array([1.0, 2.0]), "token ids must be whole numbers; received np.float64.1.0"),
    ([[1, 2]], r"token ids must be whole numbers; received \[1, 2\]"),
    ([-1], "token ids must be .*; received -1"),
    ([10**12], "token ids must be .*; received 1000000000000"),
]


@pytest.mark.parametrize(("ids", "says"), IDS, ids=repr)
def test_invalid_token_ids(tiny, ids, says):
    with pytest.raises(ValueError, match=says):
        TOKENIZER.decode(ids)
    with pytest.raises(ValueError, match=says):
        TOKENIZER.decode_plain(ids)
    with pytest.raises(ValueError, match=says):
        TOKENIZER.decode_batch([[1], ids])
    with pytest.raises(ValueError, match=says):
        TextStream(TOKENIZER, ids)
    with pytest.raises(ValueError, match="token ids"):
        tiny.generator.generate([ids], GenerationConfig())


ONE_ID = [ids for ids in IDS if isinstance(ids[0], list)]


@pytest.mark.parametrize(("ids", "says"), ONE_ID, ids=repr)
def test_one_invalid_token_id(ids, says):
    with pytest.raises(ValueError, match=says):
        TOKENIZER.id_to_token(*ids)
    with pytest.raises(ValueError, match=says):
        TextStream(TOKENIZER).add(*ids)


def test_a_padded_vocabulary_has_ids_without_text():
    beyond = TOKENIZER.vocab_size + 40
    assert TOKENIZER.decode([beyond]) == ""
    assert TextStream(TOKENIZER).add(beyond) == ""
    assert TOKENIZER.id_to_token(beyond) is None


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: Tokenizer(None), "engine must be a tokenizers.Tokenizer; received NoneType"),
        (lambda: Tokenizer(TOKENIZER), "engine must be a tokenizers.Tokenizer; received Tokenizer"),
        (lambda: Tokenizer(TOKENIZER.engine, {}), "roles must be keraslm.*Roles; received dict"),
        (lambda: TOKENIZER.with_roles(None), "roles must be keraslm.*Roles; received NoneType"),
        (lambda: TOKENIZER.with_roles({"pad": "x"}), "roles must be keraslm.*Roles; received dict"),
        (lambda: Roles(pad=3), "pad must be str; received int"),
        (lambda: Roles(eos=3), "eos must be a str or a list of str; received int"),
        (lambda: Roles(eos=(3,)), r"eos\[0\] must be str; received int"),
        (lambda: TOKENIZER.token_to_id(3), "token must be str; received int"),
        (lambda: TOKENIZER.token_to_id(None), "token must be str; received NoneType"),
        (lambda: TOKENIZER.decode_batch(3), "batch must be a list of lists of token ids; .* int"),
        (lambda: TOKENIZER.decode_batch({1: [2]}), "batch must be a list of lists of token ids"),
        (lambda: TOKENIZER.decode_batch([1, 2]), "token ids must be a list of .*; received 1"),
        (lambda: TOKENIZER.encode_batch({"to": 1}), "texts must be a .*list of str; received dict"),
        (lambda: TextStream(TOKENIZER, prompt=3), "prompt must be str; received int"),
        (lambda: Tokenizer.load(3), "path must be the name of a file or folder, .*; received 3"),
        (lambda: Tokenizer.load(None), "path must be the name of a file .*; received None"),
        (lambda: TOKENIZER.save(3), "path must be the name of a file or folder, .*; received 3"),
        (lambda: Tokenizer.from_gpt2_files(3, "a"), "vocab must be the name .*; received 3"),
        (lambda: Tokenizer.from_gpt2_files("a", 3), "merges must be the name .*; received 3"),
        (lambda: Tokenizer.from_bert_vocab(["a"]), r"vocab must be the name .*; received \['a'\]"),
    ],
)  # fmt: skip
def test_a_tokenizer_names_what_it_cannot_take(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_one_token_that_ends_texts_is_one():
    assert Roles(eos="</s>").eos == ("</s>",)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.array([[1.5, 2.0]]), "whole numbers; received an array of float64 with fractions"),
        (np.array([[np.nan]]), "whole numbers; received an array of float64 with fractions"),
        (np.array([[True]]), "whole numbers; received an array of bool"),
        (np.array([["to"]]), "whole numbers; received an array of <U2"),
        (np.array([[99]]), "from 0 to 19; received 99"),
        (np.array([[-1]]), "from 0 to 19; received -1"),
    ],
    ids=str,
)
@pytest.mark.parametrize("model", [GPT, BERT])
def test_models_refuse_invalid_ids(model, array, says):
    model = model(20, 1, 8, 2, max_length=8)
    with pytest.raises(ValueError, match=says):
        model(array)
    with pytest.raises(ValueError, match=says):
        model.predict(array, verbose=0)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("label", [3, -1, 1.5, float("nan")])
def test_invalid_labels(label, jit_compile):
    model = BERT(20, 1, 8, 2, max_length=8, head="classifier", num_classes=3)
    ids = np.array([[1, 2], [3, 4]])
    model.compile(jit_compile=jit_compile)
    for call in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match="labels must be whole numbers from 0 to 2.*received"):
            call(ids, np.array([0, label]), verbose=0)


def test_a_class_that_the_loss_ignores_is_a_label():
    model = BERT(20, 1, 8, 2, max_length=8, head="classifier", num_classes=3)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
    model.compile("sgd", loss)
    model.check_labels(np.array([0, 2, -1]))
    with pytest.raises(ValueError, match="received -2"):
        model.check_labels(np.array([0, 2, -2]))


def test_a_batch_is_a_list():
    with pytest.raises(ValueError, match="texts must be a list of str; received a str"):
        TOKENIZER.encode_batch("to be")
    with pytest.raises(ValueError, match=r"texts\[1\] must be str; received int"):
        TOKENIZER.encode_batch(["to", 3])


def test_control_characters_are_text():
    tokenizer = Tokenizer.train(["to be"] * 3, vocab_size=260)
    text = "a\x00b\x07\x1b[0m\u200b\x85"
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"texts": None}, "texts must be an iterable of documents; received NoneType"),
        ({"texts": 3}, "texts must be an iterable of documents; received int"),
        ({"texts": {"to be": 1}}, "texts must be an iterable of documents; received dict"),
        ({"kind": ["bpe"]}, r"kind must be one of .*; received \['bpe'\]"),
        ({"vocab_size": "300"}, "vocab_size must be a positive whole number; received '300'"),
        ({"vocab_size": 300.5}, "vocab_size must be a positive whole number; received 300.5"),
        ({"min_frequency": -1}, "min_frequency must be a whole number, 0 or more; received -1"),
        ({"special_tokens": [3]}, r"special_tokens\[0\] must be str; received int"),
    ],
    ids=str,
)
def test_training_a_tokenizer_names_what_it_cannot_take(arguments, says):
    with pytest.raises(ValueError, match=says):
        Tokenizer.train(**{"texts": ["to be"], "vocab_size": 300, **arguments})
