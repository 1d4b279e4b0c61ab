"""`TextStream`: joined, its pieces are what the engine decodes, for every kind of tokenizer."""

import dataclasses
import time

import pytest
from tokenizer_kinds import KINDS, LINES, byte_level, cases, wordpiece

from keraslm.tokenizers import TextStream, Tokenizer
from keraslm.tokenizers.stream import StopStrings, continuation


@pytest.mark.parametrize("clean_up", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_joined_it_is_what_follows_the_prompt(kind, clean_up):
    tokenizer = Tokenizer(KINDS[kind]())
    roles = dataclasses.replace(tokenizer.roles, clean_up_tokenization_spaces=clean_up)
    tokenizer = tokenizer.with_roles(roles)
    compared = 0
    for prompt, new in cases(tokenizer, 400):
        before, full = tokenizer.decode(prompt), tokenizer.decode([*prompt, *new])
        stream = TextStream(tokenizer, prompt)
        pieces = [stream.add(i) for i in new]
        joined = "".join(pieces) + stream.close()
        assert joined == stream.text == continuation(tokenizer, prompt, new)
        if kind in ("llama 2", "gemma") and "\ufffd" in full:
            continue  # a run of bytes of which some are broken is decoded anew
        if full.startswith(before):  # clean-up may change the end of the prompt itself
            assert before + joined == full
            compared += 1
    assert compared > 100


def test_characters_are_whole_and_special_tokens_are_not_there():
    tokenizer = Tokenizer(byte_level())
    ids = tokenizer.encode("👩\u200d👧 é")
    stream = TextStream(tokenizer)
    pieces = [stream.add(i) for i in [0, *ids, 1]]
    assert len(ids) > 8 and all("\ufffd" not in piece for piece in pieces)
    assert "".join(pieces) == "👩\u200d👧 é" and stream.close() == ""


def test_no_blanks_between_chinese_characters():
    tokenizer = Tokenizer(wordpiece(True))
    assert tokenizer.decode(tokenizer.encode("今天天气，很好 the cat 今天")) == (
        "今天天气，很好 the cat 今天"
    )
    prompt, new = tokenizer.encode("今天"), tokenizer.encode("天气很好 the")
    assert continuation(tokenizer, prompt, new) == "天气很好 the"


def test_white_space_of_the_prompt_is_not_written_twice():
    tokenizer = Tokenizer(KINDS["words"]())
    ids, new = tokenizer.encode("the cat "), tokenizer.encode("sat on")
    assert continuation(tokenizer, ids, new, prompt="the cat") == " sat on"
    assert continuation(tokenizer, ids, new, prompt="the cat ") == "sat on"


def test_the_sign_of_broken_text_in_a_prompt_is_a_character_of_it():
    tokenizer = Tokenizer(byte_level())
    prompt = "broken \ufffd"
    ids, new = tokenizer.encode(prompt), tokenizer.encode("s of it")
    assert continuation(tokenizer, ids, new, prompt=prompt) == "s of it"
    begin, *rest = tokenizer.encode("👩")
    assert continuation(tokenizer, [begin], rest) == "👩"


@pytest.mark.parametrize("kind", ["byte-level", "llama 2", "wordpiece", "characters"])
def test_stop_strings_are_found_across_pieces(kind):
    tokenizer = Tokenizer(KINDS[kind]())
    ids = tokenizer.encode(LINES[1])
    full = continuation(tokenizer, [], ids)
    for start in range(1, len(full) - 4):
        stop = full[start : start + 4]
        stream = TextStream(tokenizer, stop=stop)
        text = "".join([stream.add(i) for i in ids]) + stream.close()
        assert stream.stopped and text == full[: full.index(stop)]
    stream = TextStream(tokenizer, stop=["nowhere", "hill!"])
    assert "".join([stream.add(i) for i in ids]) + stream.close() == full and not stream.stopped


def test_only_what_may_begin_a_stop_string_is_held_back():
    stop = StopStrings(["\n\n", "END"])
    assert [stop.add(piece) for piece in ("one ", "two\n", "three E", "N", "d")] == [
        "one ", "two", "\nthree ", "", "ENd",
    ]  # fmt: skip
    assert stop.close() == "" and not stop.stopped


@pytest.mark.parametrize("kind", ["byte-level", "llama 2", "metaspace first", "wordpiece"])
def test_the_cost_of_a_token_does_not_grow(kind):
    tokenizer = Tokenizer(KINDS[kind]())
    roles = dataclasses.replace(tokenizer.roles, clean_up_tokenization_spaces=True)
    tokenizer = tokenizer.with_roles(roles)
    sizes = []

    class Counting(TextStream):
        def _finished(self, raw):
            sizes.append(len(self._window))
            return super()._finished(raw)

    stream = Counting(tokenizer)
    for line in LINES * 40:
        for token in tokenizer.encode(line):
            stream.add(token)
    assert max(sizes) <= 70 and sum(sizes) / len(sizes) < 8
    started = time.perf_counter()
    blank = tokenizer.encode(" ") or tokenizer.encode("a")
    for _ in range(2000):
        stream.add(blank[0])
    assert time.perf_counter() - started < 5
