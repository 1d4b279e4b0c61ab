"""The loop around a model's ``step``: all at once, token by token, and scoring."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import keras
import numpy as np
from keras import ops

from keraslm._compat import compiled_quietly
from keraslm._text import checked_count, checked_rows
from keraslm._types import Tensor
from keraslm.generation.cache import ContextModel, StepModel, init_cache, take_rows, updated
from keraslm.generation.config import GenerationConfig, checked_config
from keraslm.generation.sampling import (
    Method,
    Settings,
    method_at_run_time,
    method_of,
    next_token,
    settings_of,
)

Context = Mapping[str, Any]  # inputs of a model's memory, by name


class Generated(NamedTuple):
    """New tokens of one sequence, without the stop token, and the log-probability of each.

    Example:
        >>> found = Generator(gpt).generate([[1, 2, 3]], GenerationConfig(max_new_tokens=5))[0]
        >>> len(found.ids), len(found.log_probs)
        (5, 5)
    """

    ids: list[int]
    log_probs: list[float]


KEPT = 8  # compiled functions, each of some 25 MB


class Generator:
    """Generates with any `keraslm.generation.StepModel`.

    Functions are compiled once for each bucket of shapes and kept here.

    Args:
        model: for example a `keraslm.models.GPT`.
        jit_compile: compile with XLA: takes seconds for every new bucket, then small models
            decode faster; worth it for many calls.

    Example:
        >>> generator = keraslm.generation.Generator(gpt)
        >>> found = generator.generate([[1, 2, 3]], GenerationConfig(max_new_tokens=5))
        >>> len(found[0].ids)
        5
    """

    def __init__(self, model: StepModel, jit_compile: bool = False) -> None:
        has_cache = hasattr(model, "cache_spec") or hasattr(model, "init_cache")
        if not has_cache or not hasattr(model, "step"):
            raise ValueError(
                "model must have cache_spec and step, as keraslm.models.GPT has; received "
                f"{type(model).__name__}, which has no {'step' if has_cache else 'cache_spec'}."
            )
        self.model = model
        self.jit_compile = jit_compile
        self._compiled: dict = {}

    # === All at once ===

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        config: GenerationConfig,
        num_return_sequences: int = 1,
        context: Context | None = None,
    ) -> list[Generated]:
        """Continue each prompt.

        Args:
            prompts: token ids, at least one each; lengths may differ. A float is no id.
            config: how.
            num_return_sequences: continuations of each prompt.
            context: what ``model.context`` takes, a row for each prompt: of an encoder–decoder the
                source texts.

        Returns:
            ``len(prompts) * num_return_sequences`` results, those of a prompt side by side.

        Raises:
            ValueError: an empty prompt, one that fills the context, ids out of range; a config that
                is none, or a number of sequences that is no whole number from 1 on.
        """
        ids, pad, room, real = self._prepare(prompts, config)
        n = checked_count(num_return_sequences, "num_return_sequences")
        method = method_of(config, self.model.vocab_size)
        length = _cache_length(ids.shape[1] + room)
        run = self._compile(
            ("generate", method, length, n, ids.shape),
            lambda ids, pad, room, stop, settings, context, rows: self.loop(
                ids, pad, room, stop, settings, method, length, n, context, rows
            ),
        )
        tokens, log_probs, counts = run(
            ops.convert_to_tensor(ids),
            ops.convert_to_tensor(pad),
            ops.convert_to_tensor(room, "int32"),
            ops.convert_to_tensor(config.stop_ids or (-1,), "int32"),
            settings_of(config),
            self._context(context, real),
            ops.convert_to_tensor(real * n, "int32"),
        )
        tokens, log_probs, counts = (ops.convert_to_numpy(x) for x in (tokens, log_probs, counts))
        return [
            Generated(tokens[i, :count].tolist(), log_probs[i, :count].tolist())
            for i, count in enumerate(counts[: real * n])
        ]

    def loop(
        self,
        ids: Tensor,
        pad: Tensor,
        room: int | Tensor,
        stop: Tensor,
        settings: Settings,
        method: Method,
        length: int | Tensor,
        n: int = 1,
        context: dict[str, Tensor] | None = None,
        real: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The whole generation as one graph: tokens, log-probs ``(rows, …)`` and counts.

        Rows from ``real`` on fill a batch up to a size that is compiled; nothing waits for them.
        """
        batch, prompt = ops.shape(ids)
        rows = batch * n
        row = ops.arange(rows, dtype="int32")
        cache = self._new_cache(batch, length, context)
        logits, changed = self.model.step(ids, cache, 0, pad, last_only=True)
        cache = updated(cache, changed)
        if n > 1:
            cache = take_rows(cache, row // n)
            logits, pad = ops.repeat(logits, n, axis=0), ops.repeat(pad, n, axis=0)
        seen = self._seen(ids, pad if n == 1 else pad[::n], n) if method.needs_seen else None
        token, log_prob = self._choose(logits[:, 0], seen, method, settings, row, 0)
        done = _is_in(token, stop)
        if real is not None:
            done = ops.logical_or(done, row >= real)
        tokens = ops.zeros((rows, length - prompt), "int32")
        log_probs = ops.zeros((rows, length - prompt), "float32")
        count = ops.cast(ops.logical_not(done), "int32")
        # Before each turn: i tokens were chosen; ``token`` is the newest, not yet run.
        tokens = ops.slice_update(tokens, (0, 0), ops.expand_dims(token, 1))
        log_probs = ops.slice_update(log_probs, (0, 0), ops.expand_dims(log_prob, 1))
        seen = () if seen is None else (seen,)

        def unfinished(i, token, done, *_):
            return ops.logical_and(i < room, ops.logical_not(ops.all(done)))

        def turn(i, token, done, count, tokens, log_probs, cache, *seen):
            seen = tuple(ops.logical_or(s, _one_hot(token, s)) for s in seen)
            logits, changed = self.model.step(
                ops.expand_dims(token, 1), cache, prompt + i - 1, pad, last_only=True
            )
            cache = updated(cache, changed)
            token, log_prob = self._choose(
                logits[:, 0], seen[0] if seen else None, method, settings, row, i
            )
            done = ops.logical_or(done, _is_in(token, stop))
            count = count + ops.cast(ops.logical_not(done), "int32")
            tokens = ops.slice_update(tokens, (0, i), ops.expand_dims(token, 1))
            log_probs = ops.slice_update(log_probs, (0, i), ops.expand_dims(log_prob, 1))
            return (i + 1, token, done, count, tokens, log_probs, cache, *seen)

        first = ops.convert_to_tensor(1, "int32")
        _, _, _, count, tokens, log_probs, *_ = ops.while_loop(
            unfinished, turn, (first, token, done, count, tokens, log_probs, cache, *seen)
        )
        return tokens, log_probs, count

    def generate_in_graph(
        self,
        ids: Any,
        pad: Any,
        max_new_tokens: Any,
        stop_ids: Sequence[int],
        settings: Settings,
        length: int | None = None,
        most: int | None = None,
    ) -> tuple[Any, Any]:
        """`generate` inside a ``tf.function``, with settings that are tensors, for exports.

        Args:
            ids: int32 ``(batch, seq)``, padded on the left.
            pad: int32 ``(batch,)``, how much.
            max_new_tokens: int32 scalar.
            stop_ids: ints.
            settings: scalars by name, ``seed`` among them; a temperature of 0 is greedy.
            length: slots of the cache; default as many as the call needs.
            most: the largest ``top_k``, if the logits are to be sorted.

        Returns:
            int32 ``(batch, …)``, the new tokens, and int32 ``(batch,)``, how many they are.
        """
        method = method_at_run_time(tuple(settings), most)
        with keras.name_scope("stop_ids"):  # by this name a proof finds them in a file
            stop = ops.convert_to_tensor(tuple(stop_ids) or (-1,), "int32")
        length = ops.shape(ids)[1] + max_new_tokens if length is None else length
        tokens, _, counts = self.loop(ids, pad, max_new_tokens, stop, settings, method, length)
        return tokens, counts

    def _choose(self, logits, seen, method, settings, row, step):
        """The next token ``(rows,)`` and its log-probability, before penalties and filters."""
        log_p = ops.log_softmax(logits, axis=-1)
        token = next_token(logits, method, settings, row, step, seen)
        return token, ops.take_along_axis(log_p, ops.expand_dims(token, 1), axis=1)[:, 0]

    def _seen(self, ids, pad, n):
        """Bool ``(rows, vocab_size)``: which tokens stand in the prompt."""
        slots = ops.expand_dims(ops.arange(ops.shape(ids)[1], dtype="int32"), 0)
        real = slots >= ops.expand_dims(pad, 1)
        one_hot = ops.one_hot(ops.where(real, ids, -1), self.model.vocab_size, dtype="bool")
        return ops.repeat(ops.any(one_hot, axis=1), n, axis=0)

    # === Token by token ===

    def stream(
        self,
        prompts: Sequence[Sequence[int]],
        config: GenerationConfig,
        context: Context | None = None,
    ) -> Iterator[list[tuple[int, float] | None]]:
        """Continue the prompts, giving each new token as soon as it is there.

        Args:
            prompts, config, context: as in `generate`.

        Yields:
            for each prompt ``(token id, log-probability)``, or ``None`` once it has ended. The
            same tokens as `generate`. Close the iterator to stop earlier.
        """
        ids, pad, room, real = self._prepare(prompts, config)
        method = method_of(config, self.model.vocab_size)
        length = _cache_length(ids.shape[1] + room)
        settings = settings_of(config)
        row = ops.arange(len(ids), dtype="int32")
        seen = self._seen(ops.convert_to_tensor(ids), pad, 1) if method.needs_seen else None
        cache = self._new_cache(len(ids), length, self._context(context, real))

        def one_step(ids, cache, start, pad, seen, settings, row, number):
            logits, changed = self.model.step(ids, cache, start, pad, last_only=True)
            cache = updated(cache, changed)
            token, log_prob = self._choose(logits[:, 0], seen, method, settings, row, number)
            if seen is not None:
                seen = ops.logical_or(seen, _one_hot(token, seen))
            return token, log_prob, cache, seen

        run = self._compile(("stream", method, length, len(ids)), one_step)
        start, done = 0, np.arange(len(ids)) >= real
        for number in range(room):
            token, log_prob, cache, seen = run(
                ops.convert_to_tensor(ids),
                cache,
                ops.convert_to_tensor(start, "int32"),
                ops.convert_to_tensor(pad),
                seen,
                settings,
                row,
                ops.convert_to_tensor(number, "int32"),
            )
            tokens = ops.convert_to_numpy(token)
            done |= np.isin(tokens, config.stop_ids)
            if done.all():
                return
            log_probs = ops.convert_to_numpy(log_prob)
            yield [
                None if over else (int(t), float(p))
                for t, p, over in zip(tokens[:real], log_probs[:real], done[:real], strict=True)
            ]
            start, ids = start + ids.shape[1], tokens[:, np.newaxis]

    # === Scoring ===

    def score(
        self, sequences: Sequence[Sequence[int]], context: Context | None = None
    ) -> list[list[float]]:
        """Log-probability (natural) of each token but the first, given those before it.

        Args:
            sequences: token ids, two at least.
            context: as in `generate`.

        Raises:
            ValueError: fewer than two tokens, more than the context, ids out of range.
        """
        sequences = self._checked(sequences, "sequences")
        if min(map(len, sequences)) < 2:
            raise ValueError("A sequence to score needs at least two tokens.")
        longest = self._bucket(max(len(ids) for ids in sequences))
        batch = np.zeros((_batch_size(len(sequences)), longest), "int32")
        for i, ids in enumerate(sequences):
            batch[i, : len(ids)] = ids  # padding on the right: causal, so no mask is needed

        def log_probs_of(ids, context):
            cache = self._new_cache(ids.shape[0], ids.shape[1], context)
            logits, _ = self.model.step(ids, cache, 0)
            log_p = ops.log_softmax(logits[:, :-1], axis=-1)
            return ops.take_along_axis(log_p, ops.expand_dims(ids[:, 1:], -1), axis=-1)[..., 0]

        run = self._compile(("score", batch.shape), log_probs_of)
        context = self._context(context, len(sequences))
        result = ops.convert_to_numpy(run(ops.convert_to_tensor(batch), context))
        return [result[i, : len(ids) - 1].tolist() for i, ids in enumerate(sequences)]

    # === Context ===

    def _context(self, context, rows):
        """The inputs of the model's memory as tensors, or None."""
        names = tuple(self.model.context_spec(1)) if hasattr(self.model, "context_spec") else ()
        if not isinstance(context, Mapping | None):
            raise ValueError(f"context must be a dict of arrays; received {context!r:.80}.")
        given = {name: ops.convert_to_tensor(value) for name, value in (context or {}).items()}
        if set(given) != set(names):
            needs = f"needs {', '.join(names)}" if names else "takes none"
            raise ValueError(
                f"context must fit the model: a {type(self.model).__name__} {needs}; received "
                f"{', '.join(sorted(given)) or 'none'}."
            )
        for name, value in given.items():
            if tuple(value.shape)[:1] != (rows,):
                raise ValueError(
                    f"context[{name!r}] must have a row for each of {rows} prompts; received the "
                    f"shape {tuple(value.shape)}."
                )
        size = _batch_size(rows)
        return {name: ops.take(value, np.arange(size) % rows, axis=0)
                for name, value in given.items()}  # fmt: skip

    def _new_cache(self, batch, length, context=None):
        cache = init_cache(self.model, batch, length)
        if not context:
            return cache
        return updated(cache, cast(ContextModel, self.model).context(**context))

    # === Shapes and compilation ===

    def _prepare(self, prompts, config):
        """Prompts padded left ``(batch, bucket)``, padding ``(batch,)``, room, number of prompts.

        The first prompt fills the batch up to one of few sizes.
        """
        config, prompts = checked_config(config), self._checked(prompts, "prompts")
        longest = max(len(p) for p in prompts)
        room = min(config.max_new_tokens, self.model.max_length - longest)
        if room < 1:
            raise ValueError(
                f"The prompt has {longest} tokens and fills the context of "
                f"{self.model.max_length}: nothing can follow. Shorten the prompt."
            )
        bucket, real = self._bucket(longest), len(prompts)
        prompts = [*prompts, *[prompts[0]] * (_batch_size(real) - real)]
        ids = np.zeros((len(prompts), bucket), "int32")
        for i, prompt in enumerate(prompts):
            ids[i, bucket - len(prompt) :] = prompt
        return ids, np.array([bucket - len(p) for p in prompts], "int32"), room, real

    def _checked(self, sequences, name):
        """Lists of ids, one at least, that the model takes."""
        longest = self.model.max_length
        sequences = checked_rows(sequences, name, self.model.vocab_size)
        if not sequences:
            raise ValueError(f"{name} is empty: give at least one.")
        for ids in sequences:
            if not ids:
                raise ValueError("A prompt has no tokens. Start from the end-of-text token.")
            if len(ids) > longest:
                raise ValueError(
                    f"The text has {len(ids)} tokens, more than the context of {longest}. "
                    "Shorten it."
                )
        return sequences

    def _bucket(self, length):
        """The next power of two, at least 8, at most the context."""
        return min(max(8, 1 << (length - 1).bit_length()), self.model.max_length)

    def _compile(self, key, function):
        """The function of a key, compiled; of many, the one that was not used for longest goes."""
        compiled = self._compiled.pop(key, None)
        if compiled is None and keras.backend.backend() == "tensorflow":
            compiled = compiled_quietly(function, self.jit_compile)
        self._compiled[key] = compiled or function
        while len(self._compiled) > KEPT:
            del self._compiled[next(iter(self._compiled))]
        return self._compiled[key]


def _batch_size(rows):
    """A size of a batch, of few: 1, 2, 3, 4, 6, 8, 12, 16, …"""
    power = 1 << (rows - 1).bit_length()
    return power // 4 * 3 if power >= 4 and rows <= power // 4 * 3 else power


def _cache_length(length):
    """A length of the cache, of few: multiples of 32, of 64 from 257 on, of 128 from 513 on, …"""
    step = max(32, 1 << max(0, (length - 1).bit_length() - 3))
    return -(-length // step) * step


def _is_in(token, stop):
    return ops.any(ops.equal(ops.expand_dims(token, 1), ops.expand_dims(stop, 0)), axis=1)


def _one_hot(token, like):
    return ops.one_hot(token, like.shape[-1], dtype="bool")
