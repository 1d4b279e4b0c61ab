"""Running a decoder's ``.tflite`` in LiteRT, from Python."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from keraslm._files import checked_path
from keraslm._text import checked_ids
from keraslm._types import StrPath
from keraslm.generation.config import GenerationConfig, checked_config
from keraslm.generation.processors import ORDER, check_supported
from keraslm.generation.random import resolve_seed
from keraslm.generation.sampling import Method, method_of, next_token, settings_of
from keraslm.litert.notes import DecoderNote, read_note
from keraslm.runtimes.compiled import Signature, compiled
from keraslm.runtimes.streaming import Piece, config_beside, pieces_of, with_settings
from keraslm.tokenizers.stream import TextStream
from keraslm.tokenizers.tokenizer import Tokenizer


class LiteRTModel:
    """A decoder's ``.tflite``, written by `keraslm.export.tflite`, in the LiteRT runtime.

    One set of buffers is the cache of every call, as input and as output, so that nothing of it
    is copied from token to token.

    Args:
        path: the file.
        num_threads: threads of the runtime.
        tokenizer: a `keraslm.tokenizers.Tokenizer`, for `stream`; default the one in the folder.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file.

    Example:
        >>> model = LiteRTModel("saved_models/mine/model.tflite")
        >>> config = keraslm.generation.GenerationConfig(max_new_tokens=5)
        >>> len(list(model.generate([1, 2, 3], config)))
        5
        >>> continuation = "".join(model.stream("The city of", 20))
    """

    # Settings that change the text and that this runtime honours: all.
    supports = frozenset(kind.setting for kind in ORDER)

    def __init__(
        self, path: StrPath, num_threads: int = 2, *, tokenizer: Tokenizer | None = None
    ) -> None:
        self.path, self._tokenizer = checked_path(path), tokenizer
        self._model = compiled(path, num_threads)
        names = list(self._model.get_signature_list())
        if "decode" not in names:
            raise ValueError(
                f"{path} has no 'decode' signature; it has {sorted(names)}. An encoder's file is "
                "for keraslm.runtimes.LiteRTEncoder."
            )
        decode = Signature(self._model, "decode")
        given = ("tokens", "input_pos")
        cache = {n: d["shape"] for n, d in decode.details.items() if n not in given}
        buffers = {name: decode.inputs[name] for name in cache}
        for name, shape in cache.items():
            buffers[name].write(np.zeros(shape, decode.details[name]["dtype"]))
        self._signatures = {name: Signature(self._model, name, buffers) for name in names}
        self._prefill = sorted(
            (int(name.removeprefix("prefill_")), name)
            for name in names
            if name.startswith("prefill_")
        )
        self.cache_shapes = cache
        self.cache_length = _cache_length(path, cache)
        self.vocab_size = self._signatures["decode"].results["logits"]["shape"][-1]
        self.reset()

    @property
    def prefill_lengths(self) -> tuple[int, ...]:
        """Numbers of prompt tokens that the file reads at once."""
        return tuple(length for length, _ in self._prefill)

    @property
    def at_once(self) -> tuple[int, int] | None:
        """Most prompt tokens and most new tokens of `generate_at_once`; ``None``: it has none."""
        signature = self._signatures.get("generate")
        if signature is None:
            return None
        return signature.details["tokens"]["shape"][1], signature.results["tokens"]["shape"][1]

    def reset(self) -> None:
        """Forget all tokens. What the cache still holds is hidden by its position."""
        self.position = 0

    def prefill(self, ids: Sequence[int]) -> None:
        """Read tokens without asking for logits, in the largest steps that fit.

        Raises:
            ValueError: no list of ids that the file has; or more than its context holds.
        """
        ids = checked_ids(ids, self.vocab_size)
        while ids:
            length, name = self._step_for(len(ids))
            step, ids = ids[:length], ids[length:]
            self._call(name, step + [0] * (length - len(step)), len(step))

    def decode(self, token: int) -> np.ndarray:
        """Logits float32 ``(vocab_size,)`` after one more token.

        Raises:
            ValueError: no id that the file has, or the context is full.
        """
        return self._call("decode", checked_ids([token], self.vocab_size), 1).output("logits")[0, 0]

    def _step_for(self, wanted):
        """Length and name of the signature that reads ``wanted`` tokens best."""
        # Padding must not cross the end of the cache: the write would slide back over real slots.
        room = self.cache_length - self.position
        fitting = [step for step in self._prefill if step[0] <= room]
        enough = [step for step in fitting if step[0] >= wanted]
        return (enough or fitting[::-1] or [(1, "decode")])[0]

    def _call(self, name, tokens, real):
        if self.position + real > self.cache_length:
            raise ValueError(
                f"The context of {self.cache_length} tokens is full. Shorten the prompt or ask "
                "for fewer new tokens."
            )
        signature = self._signatures[name]
        slots = np.arange(self.position, self.position + len(tokens))
        slots[real:] = -1  # padding, which must not change a recurrent state
        signature(tokens=[tokens], input_pos=slots)
        self.position += real
        return signature

    def set_context(self, **inputs: Any) -> None:
        """Make the memory that the next tokens attend to, of an encoder–decoder its source text.

        Args:
            inputs: what the model's ``context`` takes, each with a batch of 1.

        Raises:
            ValueError: the file has no ``context`` signature, or other inputs.
        """
        signature = self._signatures.get("context")
        names = () if signature is None else tuple(signature.details)
        if set(inputs) != set(names):
            raise ValueError(
                f"context must be given {', '.join(names) or 'nothing'} for this file; received "
                f"{', '.join(sorted(inputs)) or 'nothing'}."
            )
        if signature is not None:
            signature(**inputs)

    def generate(
        self,
        prompt: Sequence[int],
        config: GenerationConfig,
        context: Mapping[str, Any] | None = None,
    ) -> Iterator[int]:
        """Continue a prompt, giving each new token as soon as it is there.

        The same tokens as `keraslm.generation.Generator`, for the same settings and seed.

        Args:
            prompt: token ids.
            config: how.
            context: as in `set_context`, a dict.

        Yields:
            token ids.
        """
        return (token for token, _ in self._tokens(prompt, config, context))

    def stream(
        self,
        text: str,
        max_new_tokens: int | None = None,
        config: GenerationConfig | None = None,
        *,
        stop: str | Sequence[str] = (),
        context: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> Iterator[Piece]:
        """Continue a text, giving each piece as soon as it is there.

        The same text as `keraslm.tasks.TextGenerator`, for the same settings and seed.

        Args:
            text, max_new_tokens, config, stop, settings: as in `keraslm.runtimes.Runtime.stream`.
            context: as in `set_context`, a dict.
        """
        ids = self.tokenizer.prompt_ids(text)
        if config is None:
            config = config_beside(self.path, self.tokenizer, len(ids))
        config = with_settings(config, max_new_tokens, settings, self.supports, "LiteRT")
        pieces = TextStream(self.tokenizer, ids, stop, prompt=text)
        most = min(config.max_new_tokens, self.cache_length - len(ids))
        return pieces_of(self._tokens(ids, config, context), pieces, most)

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of `stream`."""
        if self._tokenizer is None:
            self._tokenizer = Tokenizer.load(self.path.parent)
        return self._tokenizer

    def _tokens(self, prompt, config, context):
        """Pairs of a new token and its log-probability."""
        prompt = checked_ids(prompt, self.vocab_size)
        self._check(prompt)
        check_supported(checked_config(config), self.supports, "LiteRT")
        if not isinstance(context, Mapping | None):
            raise ValueError(f"context must be a dict of arrays; received {context!r:.80}.")
        self.reset()
        self.set_context(**(context or {}))
        self.prefill(prompt[:-1])
        token, seen = prompt[-1], set(prompt)
        choose = self._chooser(method_of(config, self.vocab_size), settings_of(config))
        for step in range(min(config.max_new_tokens, self.cache_length - len(prompt))):
            logits = self.decode(token)
            token = choose(logits, seen, step)
            if token in config.stop_ids:
                return
            seen.add(token)
            top = logits.max()
            log_sum = np.log(np.exp(logits - top).sum(dtype="float64"))
            yield token, float(logits[token] - top - log_sum)

    def _check(self, prompt):
        if not prompt:
            raise ValueError("The prompt has no tokens. Start from the end-of-text token.")
        if len(prompt) >= self.cache_length:
            raise ValueError(
                f"The prompt has {len(prompt)} tokens and fills the context of "
                f"{self.cache_length}: nothing can follow. Shorten the prompt."
            )

    def generate_at_once(
        self,
        prompt: Sequence[int],
        max_new_tokens: int,
        *,
        temperature: float = 0.0,
        top_k: int = 64,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> list[int]:
        """New token ids by the file's ``generate`` signature, in one call of the runtime.

        Args:
            prompt: token ids.
            max_new_tokens: at most so many; never more than `at_once` says.
            temperature, top_k, top_p, seed: as in `keraslm.generation.GenerationConfig`.

        Raises:
            ValueError: the file has no such signature, or the prompt is too long for it; or a
                setting out of range.
        """
        signature = self._signatures.get("generate")
        if signature is None:
            raise ValueError(
                "The file has no 'generate' signature. Export it with generate=(prompt, new)."
            )
        config = GenerationConfig(max_new_tokens, temperature, top_k, top_p, seed=seed)
        temperature = 1.0 if config.temperature is None else config.temperature
        top_k = config.top_k or 0
        if 64 < top_k < self.vocab_size:
            raise ValueError(
                f"top_k must be at most 64 in one call, or 0 for all; received {top_k}."
            )
        prompt = checked_ids(prompt, self.vocab_size)
        longest = signature.details["tokens"]["shape"][1]
        if not 0 < len(prompt) <= longest:
            raise ValueError(f"The prompt must have 1 to {longest} tokens; it has {len(prompt)}.")
        tokens = np.zeros((1, longest))
        tokens[0, : len(prompt)] = prompt
        signature(
            tokens=tokens, length=len(prompt),
            max_new_tokens=min(config.max_new_tokens, signature.results["tokens"]["shape"][1]),
            temperature=temperature if config.is_sampled else 0.0,
            top_k=min(top_k, self.vocab_size),
            top_p=1.0 if config.top_p is None else config.top_p, seed=resolve_seed(config.seed),
        )  # fmt: skip
        return signature.output("tokens")[0, : int(signature.output("count")[0])].tolist()

    def _chooser(self, method, settings):
        """The function from logits, tokens so far and step to the next token."""
        if not method.processors and not method.sample:
            return lambda logits, seen, step: int(np.argmax(logits))
        run, row = _compiled_choice(method, self.vocab_size), np.zeros(1, "int32")

        def choose(logits, seen, step):
            is_seen = None
            if method.needs_seen:
                is_seen = np.zeros((1, self.vocab_size), bool)
                is_seen[0, list(seen)] = True
            return int(run(logits[np.newaxis], settings, row, np.int32(step), is_seen)[0])

        return choose


@functools.lru_cache(maxsize=16)
def _compiled_choice(method: Method, vocab_size: int):
    """Keras' own choice of a token, as one graph: the same draws as in Keras."""
    import tensorflow as tf

    def run(logits, settings, row, step, seen):
        logits = tf.ensure_shape(logits, (1, vocab_size))
        return next_token(logits, method, settings, row, step, seen)

    return tf.function(run, autograph=False, reduce_retracing=True)


def _cache_length(path, cache):
    """Tokens of prompt and continuation together: as the file states, or as its cache shows."""
    note = read_note(path, DecoderNote)
    if note is not None:
        return note.max_length
    return next(shape[2] for name, shape in cache.items() if name.startswith("kv_cache_"))
