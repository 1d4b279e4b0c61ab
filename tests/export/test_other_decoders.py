"""Two small models that share nothing with GPT but the step protocol: generated, exported, run.

An LSTM, whose state padding would spoil and which must not go on from text to text, and an
encoder–decoder, whose memory is read and never written. Nothing in the library knows them.
"""

import keras
import numpy as np
import pytest
from keras import ops

from keraslm import export
from keraslm.generation import (
    CacheEntry,
    GenerationConfig,
    Generator,
    StepModel,
    init_cache,
    real_tokens,
    take_rows,
)
from keraslm.layers import PositionalEncoding, TransformerBlock

VOCAB, WIDTH, LONGEST, SOURCE = 37, 16, 48, 12
GREEDY = GenerationConfig(max_new_tokens=20)


def spread():
    return keras.initializers.RandomNormal(stddev=1.0)


class LSTMLanguageModel(keras.Model):
    """An LSTM whose state stands still on padding."""

    vocab_size, max_length = VOCAB, LONGEST

    def __init__(self):
        super().__init__()
        self.embed = keras.layers.Embedding(VOCAB, WIDTH, embeddings_initializer=spread())
        self.cell = keras.layers.LSTMCell(
            WIDTH, kernel_initializer=spread(), recurrent_initializer=spread()
        )
        self.head = keras.layers.Dense(VOCAB, kernel_initializer=spread())
        self.embed.build((None, None))
        self.cell.build((None, WIDTH))
        self.head.build((None, None, WIDTH))
        self.built = True

    def cache_spec(self, batch, length):
        return {name: CacheEntry((batch, WIDTH)) for name in ("state_h", "state_c")}

    def step(self, token_ids, cache, start, pad=None, last_only=False, *, count=None):
        x = self.embed(token_ids)
        real = real_tokens(token_ids.shape[1], start, pad, count)  # (B or 1, T)
        state, rows = (cache["state_h"], cache["state_c"]), []
        for t in range(token_ids.shape[1]):  # unrolled: prefill lengths are small
            _, new = self.cell(x[:, t], state)
            state = [ops.where(real[:, t : t + 1], n, s) for n, s in zip(new, state, strict=True)]
            rows.append(state[0])
        hidden = ops.expand_dims(state[0], 1) if last_only else ops.stack(rows, axis=1)
        return self.head(hidden), {"state_h": state[0], "state_c": state[1]}


class EncoderDecoder(keras.Model):
    """One encoder block and one decoder block with cross attention."""

    vocab_size, max_length = VOCAB, LONGEST

    def __init__(self):
        super().__init__()
        self.embed = keras.layers.Embedding(VOCAB, WIDTH, embeddings_initializer=spread())
        self.positions = PositionalEncoding(LONGEST, WIDTH)
        self.encoder = TransformerBlock(WIDTH, 2, 32, kernel_initializer=spread())
        self.decoder = TransformerBlock(
            WIDTH, 2, 32, causal=True, cross_attention=True, kernel_initializer=spread()
        )
        self.head = keras.layers.Dense(VOCAB, kernel_initializer=spread())
        self.embed.build((None, None))
        self.encoder.build((None, None, WIDTH))
        self.decoder.build((None, None, WIDTH), (None, None, WIDTH))
        self.head.build((None, None, WIDTH))
        self.built = True

    def context_spec(self, batch):
        return {name: ((batch, SOURCE), "int32") for name in ("source_ids", "source_mask")}

    def context(self, source_ids, source_mask):
        x = self.encoder(
            self.positions(self.embed(source_ids)), attention_mask=ops.cast(source_mask, "bool")
        )
        keys, values = self.decoder.cross.project(x)
        return {"memory_k": keys, "memory_v": values, "memory_mask": ops.cast(source_mask, "int32")}

    def cache_spec(self, batch, length):
        own = CacheEntry((batch, 2, length, WIDTH // 2), length_axis=2)
        memory = CacheEntry((batch, 2, SOURCE, WIDTH // 2))
        mask = CacheEntry((batch, SOURCE), "int32")
        return {"kv_cache_k_0": own, "kv_cache_v_0": own, "memory_k": memory, "memory_v": memory,
                "memory_mask": mask}  # fmt: skip

    def step(self, token_ids, cache, start, pad=None, last_only=False):
        positions = start + ops.expand_dims(ops.arange(token_ids.shape[1], dtype="int32"), 0)
        mask = None
        if pad is not None:
            pad = ops.expand_dims(ops.cast(pad, "int32"), 1)
            slots = ops.arange(cache["kv_cache_k_0"].shape[2], dtype="int32")
            mask = ops.expand_dims(slots, 0) >= pad
            positions = ops.maximum(positions - pad, 0)
        names = ("kv_cache_k_0", "kv_cache_v_0", "memory_k", "memory_v")
        x, new = self.decoder(
            self.positions(self.embed(token_ids), positions=positions),
            attention_mask=mask, encoder_mask=cache["memory_mask"],
            cache=tuple(cache[name] for name in names), start=start,
        )  # fmt: skip
        return self.head(x[:, -1:] if last_only else x), dict(zip(names[:2], new[:2], strict=True))


MODELS = {"lstm": LSTMLanguageModel, "encoder_decoder": EncoderDecoder}


def one_at_a_time(model, prompt, context):
    """Greedy tokens without padding, batches or a compiled loop."""
    cache = init_cache(model, 1, LONGEST)
    if context:
        cache |= model.context(**context)
    ids = list(prompt)
    for position in range(len(prompt) + GREEDY.max_new_tokens - 1):
        token = np.array([[ids[position]]], "int32")
        logits, changed = model.step(token, cache, position)
        cache |= changed
        if position + 1 >= len(prompt):
            ids.append(int(np.argmax(ops.convert_to_numpy(logits)[0, -1])))
    return ids[len(prompt) :]


@pytest.fixture(scope="module", params=MODELS)
def case(request):
    """A model, prompts, a context for all and one for each, and what each gives alone."""
    keras.utils.set_random_seed(0)
    model = MODELS[request.param]()
    rng = np.random.default_rng(0)
    prompts = [rng.integers(1, VOCAB, n).tolist() for n in (1, 5, 9, 13)]
    context, each = None, [None] * 4
    if hasattr(model, "context"):
        real = np.arange(SOURCE)[None] < np.array([[3], [12], [7], [5]])
        context = {"source_ids": rng.integers(1, VOCAB, (4, SOURCE)).astype("int32"),
                   "source_mask": real.astype("int32")}  # fmt: skip
        each = [{name: x[i : i + 1] for name, x in context.items()} for i in range(4)]
    alone = [one_at_a_time(model, p, c) for p, c in zip(prompts, each, strict=True)]
    assert len({token for ids in alone for token in ids}) > 5
    return model, prompts, context, each, alone


def test_they_follow_the_protocol(case):
    assert isinstance(case[0], StepModel)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_batch_gives_what_each_prompt_gives_alone(case, jit_compile):
    model, prompts, context, _, alone = case
    generator = Generator(model, jit_compile=jit_compile)
    found = generator.generate(prompts, GREEDY, context=context)
    assert [result.ids for result in found] == alone


def test_the_stream_gives_the_same(case):
    model, prompts, context, _, alone = case
    rows = list(Generator(model).stream(prompts, GREEDY, context=context))
    assert [[row[i][0] for row in rows] for i in range(4)] == alone


def test_several_sequences_of_a_prompt_share_its_context(case):
    model, prompts, context, _, _ = case
    config = GREEDY.replace(temperature=1.0, seed=3)
    generator = Generator(model)
    twice = generator.generate(prompts, config, 2, context=context)
    assert len(twice) == 8
    assert twice[0].ids != twice[1].ids
    again = generator.generate(prompts, config, 2, context=context)
    assert [r.ids for r in twice] == [r.ids for r in again]


def test_the_file_gives_what_keras_gives_text_after_text(case, tmp_path):
    model, prompts, _, each, alone = case
    path = export.tflite(model, tmp_path, prefill_lengths=(4, 8))  # proven
    litert = export.LiteRTModel(path)
    for _ in range(2):
        found = [list(litert.generate(p, GREEDY, c)) for p, c in zip(prompts, each, strict=True)]
        assert found == alone


def test_rows_of_the_cache_may_be_reordered_as_beams_are(case):
    model, prompts, context, _, _ = case
    cache = init_cache(model, 2, LONGEST)
    if context:
        cache |= model.context(**{name: x[:2] for name, x in context.items()})
    ids = np.array([prompts[2][:6], prompts[3][:6]], "int32")
    cache |= model.step(ids, cache, 0)[1]
    token = np.array([[5], [7]], "int32")
    swapped, _ = model.step(token[::-1], take_rows(cache, np.array([1, 0])), 6)
    straight, _ = model.step(token, cache, 6)
    np.testing.assert_allclose(np.array(swapped)[::-1], straight, atol=1e-6)


def test_a_context_that_does_not_fit_is_named(case, tmp_path):
    model, prompts, context, _, _ = case
    generator = Generator(model)
    if context is None:
        with pytest.raises(ValueError, match="takes none; received source_ids"):
            generator.generate(prompts, GREEDY, context={"source_ids": np.ones((4, SOURCE))})
        return
    with pytest.raises(ValueError, match="needs source_ids, source_mask; received none"):
        generator.generate(prompts, GREEDY)
    with pytest.raises(
        ValueError, match=r"context\['source_ids'\] must have a row for each of 1 prompts"
    ):
        generator.generate(prompts[:1], GREEDY, context=context)
