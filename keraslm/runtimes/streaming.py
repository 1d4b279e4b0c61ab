"""What all runtimes have in common: a text in, pieces of its continuation out."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from keraslm._files.facts import read_dict, read_json
from keraslm._text import is_whole
from keraslm.generation.config import GenerationConfig, checked_config, stated_length
from keraslm.generation.processors import check_supported
from keraslm.tokenizers.stream import StopStrings, TextStream
from keraslm.tokenizers.tokenizer import Tokenizer


class Piece(str):
    """A piece of a continuation: a str that also knows the tokens it came with.

    Attributes:
        ids: ids of the tokens since the piece before; empty where the runtime does not tell.
        log_probs: their natural log-probabilities, likewise.
        finish_reason: of the last piece, ``"stop"`` (an end token or a stop string came) or
            ``"length"``; ``None`` before.

    Example:
        >>> piece = Piece(" cat", (7,), (-0.5,))
        >>> piece + "!", piece.ids
        (' cat!', (7,))
    """

    ids: tuple[int, ...]
    log_probs: tuple[float, ...]
    finish_reason: str | None

    def __new__(
        cls,
        text: str,
        ids: Iterable[int] = (),
        log_probs: Iterable[float] = (),
        finish_reason: str | None = None,
    ) -> "Piece":
        piece = super().__new__(cls, text)
        piece.ids, piece.log_probs = tuple(ids), tuple(log_probs)
        piece.finish_reason = finish_reason
        return piece


class Runtime(Protocol):
    """An exported file in its runtime. The command line and servers take any.

    Example:
        >>> runtime = keraslm.runtimes.open_runtime("saved_models/mine/model.tflite")
        >>> sorted(runtime.supports)
        ['min_p', 'repetition_penalty', 'temperature', 'top_k', 'top_p']
    """

    supports: frozenset[str]  # settings of `GenerationConfig` that change the text

    def stream(
        self,
        text: str,
        max_new_tokens: int | None = None,
        config: GenerationConfig | None = None,
        *,
        stop: str | Sequence[str] = (),
        **settings: Any,
    ) -> Iterator[Piece]:
        """Continue a text, giving each piece as soon as it is there.

        Args:
            text: the prompt.
            max_new_tokens: at most so many new tokens.
            config: how; default what the file or its folder states.
            stop: strings at which to stop; they are not part of the continuation.
            settings: fields of `GenerationConfig`, which win over ``config``.

        Raises:
            ValueError: a setting that the runtime does not support, ``stop_ids`` that it cannot
                change, or a prompt that does not fit.
        """


def with_settings(
    config: GenerationConfig,
    max_new_tokens: int | None,
    settings: dict[str, Any],
    supports: frozenset[str],
    runtime: str,
    fixed_stops: Callable[[], Collection[int]] | None = None,
) -> GenerationConfig:
    """The config that a call asks for, if the runtime can do what it says.

    Args:
        config, max_new_tokens, settings: as in `Runtime.stream`.
        supports: of the runtime.
        runtime: its name, for errors.
        fixed_stops: gives the tokens at which the file itself stops, if no others can be asked for.
    """
    checked_config(config)
    if max_new_tokens is not None:
        settings = {**settings, "max_new_tokens": max_new_tokens}
    config = config.replace(**settings)
    check_supported(config, supports, runtime)
    if fixed_stops is not None and ("stop_ids" in settings or config.stop_ids):
        stops = sorted(fixed_stops())
        if sorted(set(config.stop_ids)) != stops:
            raise ValueError(
                f"stop_ids must be those of the file, {stops}; received {list(config.stop_ids)}. "
                f"{runtime} takes no others: give stop= a text, or export the model with them."
            )
    return config


def config_beside(path: Path, tokenizer: Tokenizer, prompt: int) -> GenerationConfig:
    """The ``generation_config.json`` of the bundle that a file stands in; else greedy to the end.

    Where the bundle came from a Hugging Face folder that states a ``max_length``, this counts the
    prompt, as in `keraslm.tasks.TextGenerator.generate`.

    Args:
        path: the file.
        tokenizer: gives the stop tokens where no file does.
        prompt: tokens of the prompt.

    Raises:
        ValueError: it is damaged.
    """
    file = path.parent / "generation_config.json"
    if not file.is_file():
        return GenerationConfig(stop_ids=tokenizer.eos_ids)
    try:
        config = GenerationConfig().replace(**read_dict(file))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file} is damaged: {error}") from error
    length = stated_length(config, _stated_beside(path))
    return config.replace(max_new_tokens=max(length - prompt, 1)) if length else config


def _stated_beside(path):
    """What the bundle that a file stands in keeps of a Hugging Face folder's settings."""
    file = path.parent / "config.json"
    found: Any = read_json(file) if file.is_file() else {}
    for key in ("settings", "stated"):
        found = found.get(key) if isinstance(found, Mapping) else None
    found = found if isinstance(found, Mapping) else {}
    length = found.get("max_length")
    if length is not None and not is_whole(length, 1):
        raise ValueError(f"{file} is damaged: 'max_length' is {length!r}, no whole number.")
    return found


def pieces_of(tokens: Iterable[tuple[int, float]], text: TextStream, most: int) -> Iterator[Piece]:
    """Pieces from tokens as they come.

    Args:
        tokens: pairs of a token id and its log-probability, without an end token.
        text: decodes them.
        most: how many tokens there can be.
    """
    ids: list[int] = []
    log_probs: list[float] = []
    count = 0
    for token, log_prob in tokens:
        count += 1
        ids.append(token)
        log_probs.append(log_prob)
        piece = text.add(token)
        if text.stopped:
            yield Piece(piece, ids, log_probs, "stop")
            return
        if piece:
            yield Piece(piece, ids, log_probs)
            ids, log_probs = [], []
    yield Piece(text.close(), ids, log_probs, "length" if count >= most else "stop")


def cut(pieces: Iterable[str], stop: str | Sequence[str]) -> Iterator[Piece]:
    """Pieces of a runtime that knows no stop strings, up to the first of them."""
    through = StopStrings(stop)
    for piece in pieces:
        found = through.add(piece)
        if through.stopped:
            yield Piece(found, finish_reason="stop")
            return
        if found:
            yield Piece(found)
    yield Piece(through.close(), finish_reason="stop")
