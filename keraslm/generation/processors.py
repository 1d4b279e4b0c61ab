"""What changes the logits before a token is drawn: a list of small objects, each with one setting.

A processor maps logits to logits in the order of the vocabulary; tokens that it leaves out get
`REMOVED`. Its setting is a tensor, so that another value needs no other compiled function; the
processor itself is part of that function's key. The order is that of Hugging Face: penalties,
temperature, top-k, top-p, min-p.
"""

import dataclasses
from collections.abc import Collection
from typing import Any, ClassVar, NamedTuple

from keras import ops

# The logit of a token that was left out. Finite, so that no difference of two is NaN.
REMOVED = -1e30
HALVINGS = 30  # of an interval of logits: its last is below the spacing of float32
SMALL = 4096  # in a vocabulary up to this, several borders are tried at once
SPAN = 40.0  # tokens e**40 times less likely than the likeliest weigh nothing in float32


class Candidates(NamedTuple):
    """The tokens that are left.

    Args:
        logits: float32 ``(batch, vocab_size)``.
        top: float32 ``(batch, k)``: the largest of them, descending, if a processor sorted them.
        seen: bool ``(batch, vocab_size)``: tokens of the text so far, if a processor needs them.
    """

    logits: Any
    top: Any = None
    seen: Any = None


@dataclasses.dataclass(frozen=True)
class Processor:
    """Base of all processors: ``processor(candidates, value) → candidates``."""

    setting: ClassVar[str] = ""  # field of `GenerationConfig` that holds the value
    dtype: ClassVar[str] = "float32"
    neutral: ClassVar[float] = 1.0  # the value that changes nothing
    needs_seen: ClassVar[bool] = False

    def is_neutral(self, value: Any, vocab_size: int) -> Any:
        """Whether a value, a number or a tensor, changes nothing."""
        return value == self.neutral

    def __call__(self, candidates: Candidates, value: Any) -> Candidates:
        """The tokens that are left, and their logits."""
        raise ValueError(f"{type(self).__name__} does not say what it does to logits.")


@dataclasses.dataclass(frozen=True)
class RepetitionPenalty(Processor):
    """Makes tokens of the text so far less likely (CTRL, Keskar et al. 2019).

    A positive logit is divided by the value, a negative one multiplied.
    """

    setting = "repetition_penalty"
    needs_seen = True

    def __call__(self, candidates: Candidates, value: Any) -> Candidates:
        """See the class."""
        x = candidates.logits
        punished = ops.where(x > 0, x / value, x * value)
        return candidates._replace(logits=ops.where(candidates.seen, punished, x))


@dataclasses.dataclass(frozen=True)
class Temperature(Processor):
    """Divides the logits."""

    setting = "temperature"

    def __call__(self, candidates: Candidates, value: Any) -> Candidates:
        """See the class."""
        x = candidates.logits
        # From the largest on, so that no quotient by a small temperature is infinity or NaN.
        x = (x - ops.max(x, axis=-1, keepdims=True)) / ops.maximum(value, 1e-30)
        return candidates._replace(logits=ops.maximum(x, REMOVED))


@dataclasses.dataclass(frozen=True)
class TopK(Processor):
    """Keeps the ``k`` likeliest tokens (Fan et al. 2018), and all that are as likely as the last.

    Args:
        most: the largest ``k``: so many logits are sorted. ``None``: any ``k``, found without
            sorting.
    """

    setting = "top_k"
    dtype = "int32"
    neutral = 0
    most: int | None = None

    def is_neutral(self, value: Any, vocab_size: int) -> Any:
        """0 and the whole vocabulary leave out nothing."""
        return (value <= 0) | (value >= vocab_size)

    def __call__(self, candidates: Candidates, value: Any) -> Candidates:
        """See the class."""
        x = candidates.logits
        if self.most is None:
            return candidates._replace(logits=_keep(x, _kth_largest(x, value)), top=None)
        values, tokens = ops.top_k(x, self.most)
        # XLA finds its fast top-k only where the indices are used; else it sorts the vocabulary.
        values = ops.where(tokens >= 0, values, 0.0)
        rank = ops.expand_dims(ops.arange(self.most, dtype="int32"), 0)
        border = ops.sum(ops.where(rank == value - 1, values, 0.0), axis=-1, keepdims=True)
        return candidates._replace(logits=_keep(x, border), top=_keep(values, border))


@dataclasses.dataclass(frozen=True)
class TopP(Processor):
    """Keeps the likeliest tokens that together reach a probability (Holtzman et al. 2020).

    Of tokens that are equally likely at the border only as many as are needed stay, the first in
    the order of the vocabulary.
    """

    setting = "top_p"

    def is_neutral(self, value: Any, vocab_size: int) -> Any:
        """1 leaves out nothing."""
        return value >= 1.0

    def __call__(self, candidates: Candidates, value: Any) -> Candidates:
        """See the class."""
        x, top = candidates.logits, candidates.top
        weights = ops.exp(x - ops.max(x, axis=-1, keepdims=True))
        mass = value * ops.sum(weights, axis=-1, keepdims=True)
        border = _border_by_search(x, weights, mass) if top is None else _border_in(top, mass)
        above = ops.sum(ops.where(x > border, weights, 0.0), axis=-1, keepdims=True)
        weight = ops.exp(border - ops.max(x, axis=-1, keepdims=True))
        # 1e-4: rounding of the sums must not ask for one token more.
        count = ops.ceil((mass - above) / ops.maximum(weight, 1e-30) - 1e-4)
        keep = ops.logical_or(x > border, _first_of(ops.equal(x, border), ops.maximum(count, 1.0)))
        return candidates._replace(logits=ops.where(keep, x, REMOVED), top=None)


@dataclasses.dataclass(frozen=True)
class MinP(Processor):
    """Leaves out tokens less likely than a share of the likeliest (Nguyen et al. 2024)."""

    setting = "min_p"
    neutral = 0.0

    def __call__(self, candidates: Candidates, value: Any) -> Candidates:
        """See the class."""
        x = candidates.logits
        share = ops.exp(x - ops.max(x, axis=-1, keepdims=True))
        return candidates._replace(logits=ops.where(share >= value, x, REMOVED), top=None)


@dataclasses.dataclass(frozen=True)
class Switch(Processor):
    """Another processor, left out at run time where its value is neutral.

    For exports whose settings are inputs.
    """

    processor: Processor = Processor()

    @property
    def setting(self) -> str:  # type: ignore[override]  # of the object, not of the class
        """That of the processor."""
        return self.processor.setting

    def __call__(self, candidates: Candidates, value: Any) -> Candidates:
        """See the class."""
        x = candidates.logits
        logits = ops.cond(
            self.processor.is_neutral(value, x.shape[-1]),
            lambda: x,
            lambda: self.processor(candidates, value).logits,
        )
        return candidates._replace(logits=logits, top=None)


def inner(processor: Processor) -> Processor:
    """The processor of a `Switch`, or the processor itself."""
    return processor.processor if isinstance(processor, Switch) else processor


# In the order in which they run.
ORDER: tuple[type[Processor], ...] = (RepetitionPenalty, Temperature, TopK, TopP, MinP)


def processors_of(config: Any, vocab_size: int) -> tuple[Processor, ...]:
    """The processors that a `keraslm.generation.GenerationConfig` asks for, in their order."""
    found = []
    for kind in ORDER:
        value = getattr(config, kind.setting)
        if value is None or bool(kind().is_neutral(value, vocab_size)):
            continue
        if kind is not RepetitionPenalty and not config.is_sampled:
            continue
        # Powers of two, so that 40 and 50 share a compiled function.
        most = min(vocab_size, 1 << (value - 1).bit_length()) if kind is TopK else None
        found.append(TopK(most) if kind is TopK else kind())
    return tuple(found)


def check_supported(config: Any, supported: Collection[str], runtime: str) -> None:
    """Refuse settings that a runtime cannot honour.

    Args:
        config: a `keraslm.generation.GenerationConfig`.
        supported: names of the settings that it can.
        runtime: its name, for the error.

    Raises:
        ValueError: a setting that changes the text and is not supported.
    """
    for processor in processors_of(config, 2**31 - 1):
        if processor.setting not in supported:
            raise ValueError(
                f"{runtime} has no {processor.setting}; received {processor.setting}="
                f"{getattr(config, processor.setting)!r}. Leave it out, or run the model in LiteRT "
                "or Keras."
            )


# === Borders ===


def _keep(logits, border):
    return ops.where(logits >= border, logits, REMOVED)


def _first_of(tied, count):
    """The first ``count`` true ones of each row: bool ``(batch, vocab_size)``."""
    number = ops.cast(tied, "float32")
    return ops.cond(  # there are rarely more, and a running sum of a vocabulary takes long
        ops.any(ops.sum(number, axis=-1, keepdims=True) > count),
        lambda: ops.logical_and(tied, ops.cumsum(number, axis=-1) <= count),
        lambda: tied,
    )


def _kth_largest(logits, k):
    """Largest value that ``k`` logits reach, float32 ``(batch, 1)``."""
    low = ops.min(ops.where(logits > REMOVED, logits, 1e30), axis=-1, keepdims=True)
    high = ops.max(logits, axis=-1, keepdims=True)
    wanted = ops.cast(k, "float32")
    for _ in range(HALVINGS):
        middle = (low + high) * 0.5
        count = ops.sum(ops.cast(logits >= middle, "float32"), axis=-1, keepdims=True)
        low = ops.where(count >= wanted, middle, low)
        high = ops.where(count >= wanted, high, middle)
    # The border itself, not the end of the interval below it.
    return ops.min(ops.where(logits >= low, logits, 1e30), axis=-1, keepdims=True)


def _border_by_search(logits, weights, mass):
    """The least logit of the likeliest that together weigh ``mass``, float32 ``(batch, 1)``."""
    ways, passes = (4, 15) if logits.shape[-1] <= SMALL else (2, HALVINGS)
    tries = ops.arange(1, ways, dtype="float32")
    low = ops.max(logits, axis=-1, keepdims=True) - SPAN
    for number in range(1, passes + 1):
        size = SPAN / ways**number
        borders = ops.expand_dims(low + size * tries, -1)  # (B, ways - 1, 1)
        above = ops.where(logits[:, None] >= borders, weights[:, None], 0.0)
        reached = ops.cast(ops.sum(above, axis=-1) >= mass, "float32")
        low = low + size * ops.sum(reached, axis=-1, keepdims=True)
    return ops.min(ops.where(logits >= low, logits, 1e30), axis=-1, keepdims=True)


def _border_in(top, mass):
    """The same among sorted logits."""
    weights = ops.exp(top - top[:, :1])
    before = ops.cumsum(weights, axis=-1) - weights
    keep = ops.logical_and(before < mass, top > REMOVED)
    return ops.min(ops.where(keep, top, 1e30), axis=-1, keepdims=True)
