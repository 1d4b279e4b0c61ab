"""Running a ``.tflite`` language model in LiteRT, from Python."""

from pathlib import Path

import numpy as np

from keraslm.export.conversion import quiet
from keraslm.generation.config import GenerationConfig
from keraslm.generation.sampling import method_of, next_token, penalise, settings_of


class LiteRTModel:
    """A ``.tflite`` written by `keraslm.export.tflite`, in the LiteRT runtime.

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
        from ai_edge_litert.interpreter import Interpreter

        if not Path(path).is_file():
            raise FileNotFoundError(f"No file {path}. Export one with keraslm.export.tflite.")
        try:
            self._interpreter = Interpreter(model_path=str(path), num_threads=num_threads)
            names = self._interpreter.get_signature_list()
        except ValueError as error:
            raise ValueError(f"{path} is not a .tflite file: {error}") from error
        if "decode" not in names:
            raise ValueError(f"{path} has no 'decode' signature; it has {sorted(names)}.")
        self._run = {name: self._interpreter.get_signature_runner(name) for name in names}
        self._prefill = sorted(
            (int(name.removeprefix("prefill_")), name)
            for name in names
            if name.startswith("prefill_")
        )
        inputs = self._run["decode"].get_input_details()
        self._cache_shapes = {
            name: tuple(detail["shape"]) for name, detail in inputs.items() if "kv_cache" in name
        }
        self.cache_length = next(iter(self._cache_shapes.values()))[2]
        self.vocab_size = int(self._run["decode"].get_output_details()["logits"]["shape"][-1])
        self.reset()
        with quiet():  # at its first call it announces its delegate on stderr
            self.decode(0)
        self.reset()

    def reset(self):
        """Forget all tokens."""
        self._cache = {n: np.zeros(s, "float32") for n, s in self._cache_shapes.items()}
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
        return self._call("decode", [token], 1)["logits"][0, 0]

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
        positions = np.arange(self.position, self.position + len(tokens), dtype="int32")
        outputs = self._run[name](
            tokens=np.array([tokens], "int32"), input_pos=positions, **self._cache
        )
        self._cache = {n: outputs[n] for n in self._cache}
        self.position += real
        return outputs

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
        if not prompt:
            raise ValueError("The prompt has no tokens. Start from the end-of-text token.")
        if len(prompt) >= self.cache_length:
            raise ValueError(
                f"The prompt has {len(prompt)} tokens and fills the context of "
                f"{self.cache_length}: nothing can follow. Shorten the prompt."
            )
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
