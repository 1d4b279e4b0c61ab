"""From logits to the next token: processors, then one draw in the order of the vocabulary."""

from typing import Any, NamedTuple

from keras import ops

from keraslm.generation.processors import (
    ORDER,
    Candidates,
    Processor,
    Switch,
    TopK,
    inner,
    processors_of,
)
from keraslm.generation.random import exponential, resolve_seed

SIDE = 64  # tokens of a block, and blocks of a group, when a token is drawn


class Method(NamedTuple):
    """What is fixed when decoding is compiled; a change of it compiles again.

    Args:
        processors: run one after the other.
        sample: whether the token is drawn; else the likeliest is taken.
        at_run_time: whether a temperature of 0 takes the likeliest, for exports.
    """

    processors: tuple[Processor, ...] = ()
    sample: bool = False
    at_run_time: bool = False

    @property
    def needs_seen(self) -> bool:
        """Whether a processor asks which tokens the text has so far."""
        return any(inner(processor).needs_seen for processor in self.processors)


# Values of the settings by name, and the seed: tensors or numbers.
Settings = dict[str, Any]


def method_of(config: Any, vocab_size: int) -> Method:
    """The `Method` of a `GenerationConfig`."""
    return Method(processors_of(config, vocab_size), config.is_sampled)


def settings_of(config: Any) -> Settings:
    """The values of a `GenerationConfig`, as tensors; a seed is drawn if it has none."""
    values = {kind.setting: _value(kind, getattr(config, kind.setting)) for kind in ORDER}
    return {**values, "seed": ops.convert_to_tensor(resolve_seed(config.seed), "int32")}


def _value(kind, value):
    value = kind.neutral if value is None else value
    # An int32 holds no larger top_k, and one beyond the vocabulary leaves out nothing.
    value = min(value, 2**31 - 1) if kind is TopK else value
    return ops.convert_to_tensor(value, kind.dtype)


def method_at_run_time(settings: tuple[str, ...], most: int | None = None) -> Method:
    """A `Method` whose settings are inputs of an exported file.

    Args:
        settings: their names; a neutral value leaves a processor out.
        most: the largest ``top_k``, if the logits are to be sorted.
    """
    kinds = [kind for kind in ORDER if kind.setting in settings]
    made = [TopK(most) if kind is TopK else kind() for kind in kinds]
    switched = tuple(p if p.setting == "temperature" else Switch(p) for p in made)
    return Method(switched, sample=True, at_run_time=True)


def next_token(
    logits: Any, method: Method, settings: Settings, row: Any, step: Any, seen: Any = None
) -> Any:
    """Choose a token for each row.

    Args:
        logits: float32 ``(batch, vocab_size)``.
        method: a `Method`.
        settings: its values.
        row: int32 ``(batch,)``, the number of each row, for the random numbers.
        step: int32 scalar, the number of the new token.
        seen: bool ``(batch, vocab_size)``, the tokens of the text so far, if ``method`` needs them.

    Returns:
        int32 ``(batch,)``.
    """

    def drawn():
        candidates = Candidates(logits, seen=seen)
        for processor in method.processors:
            candidates = processor(candidates, settings[processor.setting])
        if not method.sample:
            return ops.cast(ops.argmax(candidates.logits, axis=-1), "int32")
        return draw(candidates.logits, settings["seed"], row, step)

    def likeliest():
        candidates = Candidates(logits, seen=seen)
        for processor in method.processors:
            if inner(processor).needs_seen:
                candidates = processor(candidates, settings[processor.setting])
        return _first(candidates.logits)

    if method.at_run_time:
        return ops.cond(settings["temperature"] <= 0.0, likeliest, drawn)
    return drawn()


def draw(logits: Any, seed: Any, row: Any, step: Any) -> Any:
    """Draw a token of each row by its probability.

    In three levels: a group of `SIDE` blocks, a block of `SIDE` tokens, a token. Each is a race:
    a weight divided by an exponentially distributed number is the largest as often as its share.
    The sums have few terms, so float32 is exact enough for vocabularies of any size, where one
    running sum over 262,144 tokens would never draw many of them; and only two that are nearly
    equal could be confused by the rounding of another runtime.

    Args:
        logits: float32 ``(batch, vocab_size)``.
        seed, row, step: of `keraslm.generation.random.uniform`.

    Returns:
        int32 ``(batch,)``.
    """
    weights = ops.exp(logits - ops.max(logits, axis=-1, keepdims=True))
    if missing := -weights.shape[-1] % SIDE**2:
        weights = ops.pad(weights, [[0, 0], [0, missing]])
    groups = weights.shape[-1] // SIDE**2
    number = ops.arange(2 * SIDE + groups, dtype="int32")
    against = exponential(seed, ops.expand_dims(row, 1), step, number)  # (B, 2 * SIDE + groups)
    blocks = ops.sum(ops.reshape(weights, (-1, groups * SIDE, SIDE)), axis=-1)
    place = 0 * row
    if groups > 1:
        sums = ops.sum(ops.reshape(blocks, (-1, groups, SIDE)), axis=-1)
        place = _first(sums / against[:, 2 * SIDE :])
    block = place * SIDE + _first(_part(blocks, place) / against[:, SIDE : 2 * SIDE])
    token = block * SIDE + _first(_part(weights, block) / against[:, :SIDE])
    return ops.minimum(token, logits.shape[-1] - 1)  # of NaN any may be the first


def _first(scores):
    """Index of the largest of each row: ``(batch,)``."""
    # argmax of Keras asks for the sign of zeros, which LiteRT cannot.
    return ops.cast(ops.top_k(scores, 1)[1][:, 0], "int32")


def _part(values, number):
    """The part of each row that has a number: ``(batch, parts * SIDE)`` → ``(batch, SIDE)``."""
    parts = values.shape[-1] // SIDE
    if parts == 1:
        return values
    row = ops.arange(ops.shape(values)[0], dtype="int32")
    return ops.take(ops.reshape(values, (-1, SIDE)), row * parts + number, axis=0)
