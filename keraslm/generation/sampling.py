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
from keraslm.generation.random import resolve_seed, uniform

BLOCK = 512  # tokens whose probabilities are summed before one of the blocks is drawn


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
        # argmax of Keras asks for the sign of zeros, which LiteRT cannot.
        return ops.cast(ops.top_k(candidates.logits, 1)[1][:, 0], "int32")

    if method.at_run_time:
        return ops.cond(settings["temperature"] <= 0.0, likeliest, drawn)
    return drawn()


def draw(logits: Any, seed: Any, row: Any, step: Any) -> Any:
    """Draw a token of each row by its probability.

    In two levels, a block of the vocabulary and a token in it, each by a random number of its own:
    the sums have few terms, so float32 is exact enough for vocabularies of any size, where one
    running sum over 262,144 tokens would never draw many of them.

    Args:
        logits: float32 ``(batch, vocab_size)``.
        seed, row, step: of `keraslm.generation.random.uniform`.

    Returns:
        int32 ``(batch,)``.
    """
    weights = ops.exp(logits - ops.max(logits, axis=-1, keepdims=True))
    if missing := -weights.shape[-1] % BLOCK:
        weights = ops.pad(weights, [[0, 0], [0, missing]])
    blocks = ops.reshape(weights, (-1, weights.shape[-1] // BLOCK, BLOCK))  # (B, N, 512)
    block = _pick(ops.sum(blocks, axis=-1), uniform(seed, 2 * row, step))  # (B,)
    chosen = ops.expand_dims(ops.expand_dims(block, 1), 2)
    tokens = ops.take_along_axis(blocks, chosen, axis=1)[:, 0]  # (B, 512)
    return block * BLOCK + _pick(tokens, uniform(seed, 2 * row + 1, step))


def _pick(weights, share):
    """Index at which the running sum of ``weights`` passes ``share`` of its total: ``(batch,)``."""
    running = ops.cumsum(weights, axis=-1)
    total = running[:, -1:]
    passed = ops.cast(running <= ops.expand_dims(share, 1) * total, "int32")
    # Rounding must not lead past the last that has a weight.
    last = ops.sum(ops.cast(running < total, "int32"), axis=-1)
    return ops.minimum(ops.sum(passed, axis=-1), last)
