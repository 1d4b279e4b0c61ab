"""From logits to the next token: penalties, filters, the draw."""

from typing import NamedTuple

from keras import ops

from keraslm.generation.random import uniform


class Method(NamedTuple):
    """What is fixed when decoding is compiled; a change of it compiles again."""

    sample: bool = False
    k: int = 0  # how many of the likeliest tokens are sorted; 0: none
    penalty: bool = False


class Settings(NamedTuple):
    """What may change from call to call: scalars, float32 but for top_k and seed, int32."""

    temperature: object
    top_k: object
    top_p: object
    min_p: object
    repetition_penalty: object
    seed: object


def method_of(config, vocab_size):
    """The `Method` of a `GenerationConfig`."""
    k = 0
    if config.is_sampled:
        if config.top_k is not None:
            # Powers of two, so that 40 and 50 share a compiled function.
            k = min(vocab_size, 1 << (min(config.top_k, vocab_size) - 1).bit_length())
        elif config.top_p is not None or config.min_p is not None:
            k = vocab_size
    return Method(config.is_sampled, k, config.repetition_penalty != 1.0)


def settings_of(config, seed):
    """The `Settings` of a `GenerationConfig`, as tensors."""

    def scalar(value, default, dtype):
        return ops.convert_to_tensor(default if value is None else value, dtype)

    return Settings(
        scalar(config.temperature, 1.0, "float32"),
        scalar(config.top_k, 2**31 - 1, "int32"),
        scalar(config.top_p, 1.0, "float32"),
        scalar(config.min_p, 0.0, "float32"),
        scalar(config.repetition_penalty, 1.0, "float32"),
        scalar(seed, 0, "int32"),
    )


def penalise(logits, seen, penalty):
    """Make tokens that were seen less likely (CTRL, Keskar et al. 2019).

    Args:
        logits: float32 ``(batch, vocab_size)``.
        seen: bool ``(batch, vocab_size)``.
        penalty: scalar; a positive logit is divided by it, a negative one multiplied.
    """
    return ops.where(seen, ops.where(logits > 0, logits / penalty, logits * penalty), logits)


def next_token(logits, method, settings, row, step):
    """Choose a token for each row.

    Args:
        logits: float32 ``(batch, vocab_size)``, after penalties.
        method: a `Method`.
        settings: `Settings`.
        row: int32 ``(batch,)``, the number of each row, for the random numbers.
        step: int32 scalar, the number of the new token.

    Returns:
        int32 ``(batch,)``.
    """
    if not method.sample:
        return ops.cast(ops.argmax(logits, axis=-1), "int32")
    logits = logits / settings.temperature
    share = ops.expand_dims(uniform(settings.seed, row, step), 1)  # (B, 1)
    if not method.k:
        return _draw(ops.softmax(logits, axis=-1), share)
    logits, tokens = ops.top_k(logits, method.k)  # (B, K), likeliest first
    rank = ops.expand_dims(ops.arange(method.k, dtype="int32"), 0)
    in_k = ops.cast(rank < settings.top_k, "float32")
    # As in Hugging Face: top_p counts what top_k left over.
    p = ops.softmax(logits, axis=-1) * in_k
    p = p / ops.sum(p, axis=-1, keepdims=True)
    before = ops.cumsum(p, axis=-1) - p
    keep = ops.logical_and(before < settings.top_p, p >= settings.min_p * p[:, :1])
    choice = _draw(p * ops.cast(keep, "float32"), share)
    return ops.take_along_axis(tokens, ops.expand_dims(choice, 1), axis=1)[:, 0]


def _draw(weights, share):
    """Index at which the running sum of ``weights`` passes ``share`` of its total: ``(batch,)``."""
    running = ops.cumsum(weights, axis=-1)
    total = running[:, -1:]
    passed = ops.cast(running <= share * total, "int32")
    # Rounding must not lead past the last token that has a weight.
    last = ops.sum(ops.cast(running < total, "int32"), axis=-1)
    return ops.minimum(ops.sum(passed, axis=-1), last)
