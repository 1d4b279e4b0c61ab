"""What a ``.tflite`` states beside its numbers: its notes, and the tokens that it stops at."""

from pathlib import Path
from typing import Any

import numpy as np
from keras import ops

from keraslm.export.facts import differing
from keraslm.export.to_tflite.encoders import Encoder
from keraslm.export.to_tflite.padding import note_of
from keraslm.generation.random import exponential
from keraslm.generation.sampling import SIDE, draw
from keraslm.litert.notes import DecoderNote, EncoderNote, read_note
from keraslm.runtimes.litert import LiteRTModel

EVEN = 1e30  # a temperature at which all tokens are equally likely, whatever the model
SEARCHED = 2**14  # seeds at a time


def decoder_differing(
    path: Path, litert: LiteRTModel, model: Any, prompt: list[int], stop_ids: tuple[int, ...]
) -> tuple[str, ...]:
    """Sentences about the note and the stop tokens of a decoder's file.

    Args:
        path, litert: the file, and its runtime.
        model: what it was made from.
        prompt: ids that the signature ``generate`` takes, if there is one.
        stop_ids: those of the task.
    """
    note = read_note(path, DecoderNote)
    found: dict[str, Any] = {}
    expected: dict[str, Any] = {}
    if note is not None:
        found["max_length"] = note.max_length
        expected["max_length"] = slots(litert, model)
    if litert.at_once is not None and stop_ids:
        expected["stop_ids"] = sorted(i for i in set(stop_ids) if i < litert.vocab_size)
        found["stop_ids"] = [i for i in expected["stop_ids"] if _stops_at(litert, prompt, i)]
    return differing(found, expected)


def slots(litert: LiteRTModel, model: Any) -> int:
    """Tokens that the caches of a file hold; where they hold a state only, what it states."""
    stated = min(litert.cache_length, model.max_length)
    axes = {name: entry.length_axis for name, entry in model.cache_spec(1, stated).items()}
    lengths = [litert.cache_shapes[name][axis] for name, axis in axes.items() if axis is not None]
    return int(min(lengths, default=stated))


def _stops_at(litert, prompt, token):
    """Whether nothing follows where this token is the first that is drawn."""
    seed = seed_of(token, litert.vocab_size)
    how = {"temperature": EVEN, "top_k": 0, "top_p": 1.0, "seed": seed}
    return not litert.generate_at_once(prompt, 1, **how)


def seed_of(token: int, vocab_size: int) -> int:
    """A seed with which this token is the first that is drawn, where all are as likely.

    Args:
        token: an id.
        vocab_size: how many there are.
    """
    # A draw is three races: of the groups, of the blocks in one, of the tokens in one.
    races, begin, number = [], 0, {SIDE**2: 2 * SIDE, SIDE: SIDE, 1: 0}
    for part, parts in ((SIDE**2, -(-vocab_size // SIDE**2)), (SIDE, SIDE), (1, SIDE)):
        runners = np.arange(parts, dtype="int32")
        weights = np.clip(vocab_size - begin - part * runners, 0, part)
        chosen = (token - begin) // part
        races += [(number[part] + runners, weights, chosen)] if parts > 1 else []
        begin += part * chosen
    logits, row = np.zeros((1, vocab_size), "float32"), np.zeros(1, "int32")
    start = -SEARCHED
    while True:
        start += SEARCHED
        seeds = np.arange(start, start + SEARCHED, dtype="int32")
        for numbers, weights, chosen in races:
            against = ops.convert_to_numpy(exponential(seeds[:, np.newaxis], 0, 0, numbers))
            seeds = seeds[(weights / against).argmax(axis=1) == chosen]
        for seed in seeds.tolist():
            if int(draw(logits, seed, row, 0)[0]) == token:
                return seed


# === Encoders ===


def encoder_differing(path: Path, encoder: Encoder, length: int) -> tuple[str, ...]:
    """Sentences about the note of an encoder's file.

    Args:
        path: the file.
        encoder: what it was made from.
        length: the longest of the file.
    """
    note = read_note(path, EncoderNote)
    if note is None:
        return ()
    found, expected = vars(note), vars(note_of(encoder, length))
    if "padding_mask" not in encoder.inputs:  # whether it reads padding is seen in its numbers
        found = {name: found[name] for name in ("inputs", "optional")}
    return differing(found, expected)
