"""How to decode, as data: saved as ``generation_config.json``."""

import dataclasses
import numbers
import operator
from collections.abc import Mapping
from typing import Any

WHOLE = ("max_new_tokens", "top_k", "seed")
FLOAT32_MAX = 3.4e38
LAST_ID = 2**31 - 1  # ids are int32 in every graph


@dataclasses.dataclass(frozen=True)
class GenerationConfig:
    """Settings of generation. Greedy unless one of the sampling settings is given.

    Args:
        max_new_tokens: at most so many new tokens; fewer when the context is full.
        temperature: divides the logits (sampling); 0 is greedy.
        top_k: sample from the ``k`` likeliest tokens (Fan et al. 2018); 0 is off.
        top_p: sample from the likeliest tokens that together reach this probability (Holtzman et
            al. 2020).
        min_p: leave out tokens less likely than this share of the likeliest (Nguyen et al. 2024).
        repetition_penalty: above 1, tokens already there get less likely (Keskar et al. 2019).
        seed: the same seed gives the same tokens, in every float32 export too; any whole number,
            of which the remainder by ``2**31 - 1`` counts; ``None``: another each time.
        stop_ids: token ids that end a sequence; they are not part of the result.

    Raises:
        ValueError: a value out of range.

    Example:
        >>> config = GenerationConfig(max_new_tokens=20, temperature=0.8, top_k=40, seed=1)
        >>> config.replace(seed=2).seed
        2
    """

    max_new_tokens: int = 50
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop_ids: tuple[int, ...] = ()

    def __post_init__(self):
        checks = (
            ("max_new_tokens", "a positive whole number", lambda v: _is_whole(v) and v >= 1),
            ("temperature", "0 (greedy) or more", lambda v: v is None or v >= 0),
            ("top_k", "0 (off) or a positive whole number",
             lambda v: v is None or (_is_whole(v) and v >= 0)),
            ("top_p", "above 0 and at most 1", lambda v: v is None or 0 < v <= 1),
            ("min_p", "from 0 to 1", lambda v: v is None or 0 <= v <= 1),
            ("repetition_penalty", "above 0", lambda v: v > 0),
            ("seed", "a whole number", lambda v: v is None or _is_whole(v)),
        )  # fmt: skip
        default = {field.name: field.default for field in dataclasses.fields(self)}
        for name, meaning, check in checks:
            value = getattr(self, name)
            is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
            may_be = value is None and default[name] is None or is_number and _fits(name, value)
            if not (may_be and check(value)):
                raise ValueError(f"{name} must be {meaning}; received {value!r}.")
            if value is not None:  # plain numbers: files hold no others
                object.__setattr__(self, name, (int if name in WHOLE else float)(value))
        object.__setattr__(self, "stop_ids", _ids(self.stop_ids))

    @property
    def is_sampled(self) -> bool:
        """Whether tokens are drawn; else the likeliest is taken."""
        if self.temperature is not None:
            return self.temperature > 0
        return bool(self.top_k) or self.top_p is not None or self.min_p is not None

    def replace(self, **changes: Any) -> "GenerationConfig":
        """A copy with some settings changed.

        Raises:
            ValueError: an unknown setting or a value out of range.
        """
        unknown = sorted(set(changes) - {f.name for f in dataclasses.fields(self)})
        if unknown:
            raise ValueError(
                f"There is no generation setting {unknown[0]!r}. Settings are "
                f"{', '.join(f.name for f in dataclasses.fields(self))}."
            )
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON-ready values."""
        return {**dataclasses.asdict(self), "stop_ids": list(self.stop_ids)}


def checked_config(config: Any, name: str = "config") -> GenerationConfig:
    """The config, if it is one.

    Raises:
        ValueError: it is something else, such as a dict of settings.
    """
    if not isinstance(config, GenerationConfig):
        raise ValueError(
            f"{name} must be a keraslm.generation.GenerationConfig; received {config!r:.80}. Make "
            "one of settings: GenerationConfig(max_new_tokens=20)."
        )
    return config


def stated_length(config: GenerationConfig, stated: Mapping[str, Any]) -> int | None:
    """Tokens of prompt and continuation together, where nothing states how many are new.

    Args:
        config: the default settings.
        stated: what a Hugging Face folder says of generation.
    """
    is_default = config.max_new_tokens == GenerationConfig().max_new_tokens
    return stated.get("max_length") if is_default else None


def _fits(name, value):
    """Whether a number is finite as a float32, which a whole number never becomes."""
    if name in WHOLE and isinstance(value, numbers.Integral):
        return True
    return abs(value) <= FLOAT32_MAX  # not for NaN


def _ids(value):
    """Token ids as a tuple of ints."""
    try:
        ids = None if isinstance(value, str) else tuple(map(operator.index, value))
    except TypeError:
        ids = None
    if ids is None or any(isinstance(i, bool) or not 0 <= i <= LAST_ID for i in value):
        raise ValueError(
            f"stop_ids must be a list of token ids, whole numbers from 0 to {LAST_ID}; received "
            f"{value!r}."
        )
    return ids


def _is_whole(value):
    return value == int(value)
