"""The loop: equal to running the model without a cache, in every arrangement."""

import keras
import numpy as np
import pytest
from keras import ops

from keraslm.generation import GenerationConfig, Generator
from keraslm.generation.generator import KEPT
from keraslm.models import GPT

GREEDY = GenerationConfig(max_new_tokens=12)
PROMPTS = [[1, 2, 3, 4, 5], [7], [9, 8, 7, 6, 5, 4, 3, 2, 1]]


def make(seed=3, **options):
    keras.utils.set_random_seed(seed)
    gpt = GPT(50, 2, 16, 2, max_length=40, initializer_range=0.5, **options)
    return gpt


@pytest.fixture(scope="module")
def generator():
    return Generator(make())


def uncached(gpt, prompt, n):
    ids = list(prompt)
    for _ in range(n):
        logits = ops.convert_to_numpy(gpt(np.array([ids])))[0, -1]
        ids.append(int(np.argmax(logits)))
    return ids[len(prompt) :]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"positions": "rotary", "norm": "rms", "gated": True, "activation": "silu",
         "use_bias": False, "tied": False, "num_kv_heads": 1},
        {"positions": "sinusoidal", "norm_first": False, "embedding_scale": True},
    ],
)  # fmt: skip
def test_cached_greedy_is_uncached_greedy(options):
    gpt = make(**options)
    found = Generator(gpt).generate(PROMPTS, GREEDY)
    assert [r.ids for r in found] == [uncached(gpt, p, 12) for p in PROMPTS]


def test_rows_of_different_length_are_as_if_alone(generator):
    together = generator.generate(PROMPTS, GREEDY)
    for prompt, result in zip(PROMPTS, together, strict=True):
        alone = generator.generate([prompt], GREEDY)[0]
        assert alone.ids == result.ids
        np.testing.assert_allclose(alone.log_probs, result.log_probs, atol=1e-5)


def test_log_probs_are_those_of_the_model_and_of_score(generator):
    result = generator.generate([PROMPTS[0]], GREEDY)[0]
    ids = PROMPTS[0] + result.ids
    logits = generator.model(np.array([ids]))
    log_p = ops.convert_to_numpy(ops.log_softmax(logits, axis=-1))[0]
    wanted = [log_p[i - 1, ids[i]] for i in range(1, len(ids))]
    np.testing.assert_allclose(generator.score([ids])[0], wanted, atol=1e-5)
    np.testing.assert_allclose(result.log_probs, wanted[4:], atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [{}, {"temperature": 0.9}, {"top_k": 5}, {"top_p": 0.8, "repetition_penalty": 1.5}],
)
def test_stream_gives_the_same_tokens(generator, settings):
    config = GREEDY.replace(seed=4, **settings)
    whole = generator.generate(PROMPTS, config)
    rows = [[], [], []]
    for tokens in generator.stream(PROMPTS, config):
        for row, token in zip(rows, tokens, strict=True):
            row.append(token)
    for row, result in zip(rows, whole, strict=True):
        assert [t for t, _ in row] == result.ids
        np.testing.assert_allclose([p for _, p in row], result.log_probs, atol=1e-5)


def test_seed_decides_and_sequences_differ(generator):
    config = GREEDY.replace(temperature=1.0, seed=1)
    first = [r.ids for r in generator.generate([[1, 2]], config, 3)]
    assert first == [r.ids for r in generator.generate([[1, 2]], config, 3)]
    assert len({tuple(ids) for ids in first}) == 3
    other = [r.ids for r in generator.generate([[1, 2]], config.replace(seed=2), 3)]
    assert first != other
    unseeded = config.replace(seed=None)
    assert generator.generate([[1, 2]], unseeded) != generator.generate([[1, 2]], unseeded)


def test_stop_token_ends_its_own_row_only(generator):
    free = [r.ids for r in generator.generate(PROMPTS, GREEDY)]
    stop = free[0][4]
    found = [r.ids for r in generator.generate(PROMPTS, GREEDY.replace(stop_ids=(stop,)))]
    for before, after in zip(free, found, strict=True):
        assert after == (before[: before.index(stop)] if stop in before else before)
    streamed = list(generator.stream(PROMPTS, GREEDY.replace(stop_ids=(stop,))))
    for i, ids in enumerate(found):
        assert [t[i][0] for t in streamed if t[i] is not None] == ids


def test_strong_penalty_forbids_repetition(generator):
    config = GREEDY.replace(repetition_penalty=1e6)
    ids = generator.generate([[1, 2, 3]], config)[0].ids
    assert len(set(ids) | {1, 2, 3}) == len(ids) + 3


def test_the_context_bounds_generation(generator):
    config = GREEDY.replace(max_new_tokens=1000)
    result = generator.generate([[1] * 35], config)[0]
    assert len(result.ids) == 5
    assert result.ids == uncached(generator.model, [1] * 35, 5)
    with pytest.raises(ValueError, match="fills the context of 40"):
        generator.generate([[1] * 40], config)
    with pytest.raises(ValueError, match="more than the context of 40"):
        generator.score([[1] * 41])


def test_bad_prompts_are_named(generator):
    with pytest.raises(ValueError, match="prompts is empty"):
        generator.generate([], GREEDY)
    with pytest.raises(ValueError, match="has no tokens"):
        generator.generate([[1], []], GREEDY)
    with pytest.raises(ValueError, match="from 0 to 49; received 50"):
        generator.generate([[3, 50]], GREEDY)
    with pytest.raises(ValueError, match="must have cache_spec and step"):
        Generator(keras.Sequential())


def test_compiled_once_for_a_bucket_of_shapes():
    generator = Generator(make())
    traces = []
    step = generator.model.step
    generator.model.step = lambda *a, **k: traces.append(1) or step(*a, **k)
    for prompt in ([1], [1, 2, 3], [5] * 8):
        for temperature in (0.7, 0.8):
            generator.generate([prompt], GREEDY.replace(temperature=temperature, top_k=40))
            generator.generate([prompt], GREEDY.replace(temperature=temperature, top_k=45))
    first = len(traces)
    generator.generate([[1] * 9], GREEDY.replace(temperature=1.0, top_k=40))
    assert len(traces) == 2 * first  # the next bucket: one more compilation, and only one


def test_few_functions_for_many_shapes_and_the_oldest_are_dropped():
    generator = Generator(make())
    traces = []
    step = generator.model.step
    generator.model.step = lambda *a, **k: traces.append(1) or step(*a, **k)
    expected = {}
    for rows in (1, 2, 3, 5, 4, 7):
        prompts = [[1 + i] * (1 + i) for i in range(rows)]
        found = generator.generate(prompts, GREEDY)
        streamed = [*zip(*generator.stream(prompts, GREEDY), strict=True)]
        for i, (result, stream) in enumerate(zip(found, streamed, strict=True)):
            assert expected.setdefault(i, result.ids) == result.ids
            assert [piece[0] for piece in stream if piece][: len(result.ids)] == result.ids
    assert len(traces) <= 6 * 4, "a batch of 5 runs as one of 6, of 7 as one of 8"
    first = len(traces)
    generator.generate([[1]] * 6, GREEDY)
    generator.generate([[1]] * 8, GREEDY)
    assert len(traces) == first
    for k in range(2, 30):
        generator.generate([[1]], GREEDY.replace(temperature=1.0, top_k=2, seed=k))
        generator._compile(("key", k), lambda x: x)
    assert len(generator._compiled) == KEPT


def test_streamed_rows_draw_what_generated_rows_draw_in_batches_of_any_size():
    generator = Generator(make())
    config = GREEDY.replace(temperature=1.0, seed=3, max_new_tokens=5)
    for rows in (1, 3, 2):
        prompts = [[7]] * rows
        streamed = [*zip(*generator.stream(prompts, config), strict=True)]
        for result, stream in zip(generator.generate(prompts, config), streamed, strict=True):
            assert [piece[0] for piece in stream if piece] == result.ids


def test_xla_gives_the_same_tokens(generator):
    compiled = Generator(generator.model, jit_compile=True)
    assert [r.ids for r in compiled.generate([PROMPTS[0]], GREEDY)] == [
        r.ids for r in generator.generate([PROMPTS[0]], GREEDY)
    ]


def test_bfloat16_cached_is_uncached():
    gpt = make(dtype="mixed_bfloat16")
    found = Generator(gpt).generate([PROMPTS[2]], GREEDY)[0].ids
    ids = PROMPTS[2] + found
    logits = ops.convert_to_numpy(gpt(np.array([ids])))[0]
    for i, token in enumerate(found):
        row = logits[len(PROMPTS[2]) - 1 + i]
        # bfloat16 has three digits: the token is the likeliest, or as likely as it.
        assert row[token] >= row.max() - 0.05 * (row.max() - row.min())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"prompts": 3}, "prompts must be a list of lists of token ids; received int"),
        ({"prompts": None}, "prompts must be a list of lists of token ids; received NoneType"),
        ({"prompts": {1: [2]}}, "prompts must be a list of lists of token ids; received dict"),
        ({"prompts": [1, 2]}, "token ids must be a list of whole numbers; received 1"),
        ({"prompts": [[1.0]]}, "token ids must be whole numbers; received 1.0"),
        ({"config": None}, "config must be a keraslm.*GenerationConfig; received None"),
        ({"config": {"top_k": 2}}, "config must be .*; received {'top_k': 2}"),
        ({"config": GenerationConfig}, "config must be .*; received <class"),
        ({"num_return_sequences": 0}, "num_return_sequences must be a positive .*; received 0"),
        ({"num_return_sequences": -1}, "num_return_sequences must be a positive .*; received -1"),
        ({"num_return_sequences": 2.0}, "num_return_sequences must be a .*; received 2.0"),
        ({"num_return_sequences": True}, "num_return_sequences must be a .*; received True"),
        ({"num_return_sequences": "2"}, "num_return_sequences must be a .*; received '2'"),
        ({"num_return_sequences": None}, "num_return_sequences must be a .*; received None"),
        ({"context": 3}, "context must be a dict of arrays; received 3"),
    ],
    ids=repr,
)
def test_what_is_no_setting_is_named(generator, arguments, says):
    given = {"prompts": PROMPTS, "config": GREEDY, **arguments}
    with pytest.raises(ValueError, match=says):
        generator.generate(**given)
    if "num_return_sequences" not in arguments:
        with pytest.raises(ValueError, match=says):
            next(generator.stream(**given))
    if not {"config", "num_return_sequences"} & set(arguments):
        with pytest.raises(ValueError, match=says.replace("prompts", "sequences")):
            generator.score(arguments.get("prompts", [[1, 2]]), arguments.get("context"))


def test_prompts_may_be_arrays_or_an_iterator(generator):
    found = generator.generate(PROMPTS, GREEDY, np.int64(1))
    assert generator.generate((np.array(p) for p in PROMPTS), GREEDY) == found
