"""Running a decoder's ``.tflite`` in LiteRT, from Python."""

import numpy as np

from keraslm.generation.config import GenerationConfig
from keraslm.generation.sampling import method_of, next_token, penalise, settings_of
from keraslm.runtimes.compiled import Signature, compiled


class LiteRTModel:
    """A decoder's ``.tflite``, written by `keraslm.export.tflite`, in the LiteRT runtime.

    One set of buffers is the cache of every call, as input and as output, so that nothing of it
    is copied from token to token.

    Args:
        path: the file.
        num_threads: threads of the runtime.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file.

    Example:
        >>> model = LiteRTModel("saved_models/mine/model.tflite")
        >>> list(model.generate([1, 2, 3], GenerationConfig(max_new_tokens=5)))
    """

    def __init__(self, path, num_threads=2):
        self._model = compiled(path, num_threads)
        names = list(self._model.get_signature_list())
        if "decode" not in names:
            raise ValueError(f"{path} has no 'decode' signature; it has {sorted(names)}.")
        decode = Signature(self._model, "decode")
        cache = {n: d["shape"] for n, d in decode.details.items() if "kv_cache" in n}
        buffers = {name: decode.inputs[name] for name in cache}
        for name, shape in cache.items():
            buffers[name].write(np.zeros(shape, decode.details[name]["dtype"]))
        self._signatures = {name: Signature(self._model, name, buffers) for name in names}
        self._prefill = sorted(
            (int(name.removeprefix("prefill_")), name)
            for name in names
            if name.startswith("prefill_")
        )
        self.cache_length = next(iter(cache.values()))[2]
        self.vocab_size = self._signatures["decode"].results["logits"]["shape"][-1]
        self.reset()

    def reset(self):
        """Forget all tokens. What the cache still holds is hidden by its position."""
        self.position = 0

    def prefill(self, ids):
        """Read tokens without asking for logits, in the largest steps that fit."""
        ids = list(ids)
        while ids:
            length, name = self._step_for(len(ids))
            step, ids = ids[:length], ids[length:]
            self._call(name, step + [0] * (length - len(step)), len(step))

    def decode(self, token):
        """Logits float32 ``(vocab_size,)`` after one more token."""
        return self._call("decode", [token], 1).output("logits")[0, 0]

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
        signature(tokens=[tokens], input_pos=np.arange(self.position, self.position + len(tokens)))
        self.position += real
        return signature

    def generate(self, prompt, config: GenerationConfig):
        """Continue a prompt, giving each new token as soon as it is there.

        The same tokens as `keraslm.generation.Generator`, for the same settings and seed.

        Args:
            prompt: token ids.
            config: how.

        Yields:
            token ids.
        """
        prompt = [int(i) for i in prompt]
        self._check(prompt)
        self.reset()
        self.prefill(prompt[:-1])
        token, seen = prompt[-1], set(prompt)
        method = method_of(config, self.vocab_size)
        settings = settings_of(config, config.seed or 0)
        for step in range(min(config.max_new_tokens, self.cache_length - len(prompt))):
            token = self._choose(self.decode(token), seen, method, settings, step)
            if token in config.stop_ids:
                return
            seen.add(token)
            yield token

    def _check(self, prompt):
        if not prompt:
            raise ValueError("The prompt has no tokens. Start from the end-of-text token.")
        if len(prompt) >= self.cache_length:
            raise ValueError(
                f"The prompt has {len(prompt)} tokens and fills the context of "
                f"{self.cache_length}: nothing can follow. Shorten the prompt."
            )

    def generate_at_once(
        self, prompt, max_new_tokens, *, temperature=0.0, top_k=64, top_p=1.0, seed=0
    ):
        """New token ids by the file's ``generate`` signature, in one call of the runtime.

        Raises:
            ValueError: the file has no such signature, or the prompt is too long for it.
        """
        signature = self._signatures.get("generate")
        if signature is None:
            raise ValueError(
                "The file has no 'generate' signature. Export it with generate=(prompt, new)."
            )
        longest = signature.details["tokens"]["shape"][1]
        if not 0 < len(prompt) <= longest:
            raise ValueError(f"The prompt must have 1 to {longest} tokens; it has {len(prompt)}.")
        tokens = np.zeros((1, longest))
        tokens[0, : len(prompt)] = prompt
        signature(
            tokens=tokens, length=len(prompt), max_new_tokens=max_new_tokens,
            temperature=temperature, top_k=top_k, top_p=top_p, seed=seed,
        )  # fmt: skip
        return signature.output("tokens")[0, : int(signature.output("count")[0])].tolist()

    @staticmethod
    def _choose(logits, seen, method, settings, step):
        if not method.sample and not method.penalty:
            return int(np.argmax(logits))
        logits = logits[np.newaxis]
        if method.penalty:
            is_seen = np.isin(np.arange(logits.shape[1]), list(seen))[np.newaxis]
            logits = penalise(logits, is_seen, settings.repetition_penalty)
        row = np.zeros(1, "int32")
        return int(next_token(logits, method, settings, row, np.int32(step))[0])
