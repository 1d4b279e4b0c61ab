"""What a model keeps between two steps, as data, and the protocol of models that generate."""

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import keras
from keras import ops

Cache = dict[str, Any]  # name → tensor, as `CacheEntry` describes it


class CacheEntry(NamedTuple):
    """One tensor of a cache. Its first axis is always the batch.

    Args:
        shape: of the tensor, the batch first.
        dtype: name of the dtype.
        length_axis: the axis with a slot for each token; ``None``: state of a fixed size, such as
            that of an LSTM or the memory of an encoder.

    Example:
        >>> gpt.cache_spec(batch=1, length=64)["kv_cache_k_0"]
        CacheEntry(shape=(1, 2, 64, 16), dtype='float32', length_axis=2)
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    length_axis: int | None = None


@runtime_checkable
class StepModel(Protocol):
    """A model that generates token by token: `Generator`, every export and every runner take it.

    `keraslm.models.GPT` is one. A model with a memory, such as an encoder–decoder, is also a
    `ContextModel`. A model with recurrent state takes the keyword ``count`` in `step`; see there.

    Example:
        >>> isinstance(gpt, StepModel)
        True
        >>> logits, changed = gpt.step(np.array([[7, 8, 9]]), init_cache(gpt, 1, 64), start=0)
        >>> tuple(logits.shape), sorted(changed)
        ((1, 3, 500), ['kv_cache_k_0', 'kv_cache_v_0'])
    """

    max_length: int
    vocab_size: int

    def cache_spec(self, batch: int, length: int) -> Mapping[str, CacheEntry]:
        """The cache for ``batch`` rows of at most ``length`` tokens; names are those in files."""

    def step(
        self,
        token_ids: Any,
        cache: Cache,
        start: Any,
        pad: Any = None,
        last_only: bool = False,
    ) -> tuple[Any, Cache]:
        """Run some tokens.

        Args:
            token_ids: int ``(batch, seq)``.
            cache: a tensor for each name of `cache_spec`.
            start: int scalar: how many tokens came before.
            pad: int ``(batch,)``: how many slots at the left of each row are padding.
            last_only: logits of the last token only.

        A recurrent model also takes ``count``, an int scalar: only so many of the tokens are real,
        those behind them are padding (`real_tokens`).

        Returns:
            float32 logits ``(batch, seq or 1, vocab_size)``, and the entries that changed.
        """


class ContextModel(StepModel, Protocol):
    """A `StepModel` with a memory, such as an encoder–decoder."""

    def context_spec(self, batch: int) -> Mapping[str, tuple[tuple[int, ...], str]]:
        """Shape and dtype of each input of the memory."""

    def context(self, **inputs: Any) -> Cache:
        """The entries of the cache that hold the memory of these inputs."""


def is_step_model(model: Any) -> bool:
    """Whether a model generates token by token, as `StepModel` says."""
    return hasattr(model, "cache_spec") and hasattr(model, "step")


def takes_count(model: Any) -> bool:
    """Whether ``model.step`` can be told how many of its tokens are real."""
    return "count" in inspect.signature(model.step).parameters


def init_cache(model: Any, batch: Any, length: Any) -> Any:
    """An empty cache: zeros, as ``model.cache_spec`` describes it.

    Example:
        >>> {name: tuple(tensor.shape) for name, tensor in init_cache(gpt, 1, 64).items()}
        {'kv_cache_k_0': (1, 2, 64, 16), 'kv_cache_v_0': (1, 2, 64, 16)}
    """
    if not hasattr(model, "cache_spec"):  # a model with a cache of its own making
        return model.init_cache(batch, length)
    spec = model.cache_spec(batch, length)
    return {name: ops.zeros(entry.shape, entry.dtype) for name, entry in spec.items()}


def updated(cache: Any, changed: Any) -> Any:
    """The cache after a step."""
    return {**cache, **changed} if isinstance(changed, dict) else changed


def take_rows(cache: Any, rows: Any) -> Any:
    """The cache of other rows, for example of the beams that survive.

    Args:
        cache: a cache.
        rows: int ``(new batch,)``, with repeats if need be.

    Example:
        >>> cache = take_rows(init_cache(gpt, 2, 64), [1, 1, 0])
        >>> cache["kv_cache_k_0"].shape[0]
        3
    """
    return keras.tree.map_structure(lambda x: ops.take(x, rows, axis=0), cache)


def real_tokens(length: Any, start: Any, pad: Any = None, count: Any = None) -> Any:
    """Which of the tokens of a step are no padding, for models whose state padding would spoil.

    Padding stands left of slot ``pad`` (batched prompts) and behind the first ``count`` tokens (a
    prefill signature that is longer than the text).

    Returns:
        bool ``(batch or 1, length)``.

    Example:
        >>> np.array(real_tokens(4, start=0, pad=np.array([1, 0]), count=3)).tolist()
        [[False, True, True, False], [True, True, True, False]]
    """
    index = ops.expand_dims(ops.arange(length, dtype="int32"), 0)  # (1, T)
    real = index >= 0 if count is None else index < count
    if pad is None:
        return real
    return ops.logical_and(real, start + index >= ops.expand_dims(ops.cast(pad, "int32"), 1))
