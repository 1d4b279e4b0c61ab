"""Running a ``.tflite`` in LiteRT, from Python."""

import atexit
import functools
import json
import os
from pathlib import Path

import numpy as np

from keraslm.generation.config import GenerationConfig
from keraslm.generation.processors import ORDER, check_supported
from keraslm.generation.random import resolve_seed
from keraslm.generation.sampling import Method, method_of, next_token, settings_of
from keraslm.litert.conversion import quiet
from keraslm.litert.flatbuffer import read_note


def compiled(path, num_threads):
    """LiteRT's compiled model of a file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a ``.tflite``, or a damaged one.
    """
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.hardware_accelerator import HardwareAccelerator
    from ai_edge_litert.options import CpuOptions, Options

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No file {path}. Export one with keraslm.export.tflite.")
    options = Options(
        hardware_accelerators=HardwareAccelerator.CPU,
        cpu_options=CpuOptions(num_threads=num_threads),
    )
    try:
        check_structure(path)
        with quiet():  # it announces its accelerators on stderr, and the wrapper's own once more
            model = CompiledModel.from_file(str(path), environment=_environment(), options=options)
            _write_once(model)
            return model
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"{path} is not a .tflite file, or is damaged: {error}. Export the model again."
        ) from error


def _write_once(model):
    """Have the runtime say now what it says at the first write to a buffer."""
    name, tensors = next(iter(model.get_signature_list().items()))
    for tensor in tensors["inputs"][:1]:
        detail = model.get_input_tensor_details(name)[tensor]
        buffer = model.create_input_buffer_by_name(name, tensor)
        buffer.write(np.zeros(detail["shape"], detail["dtype"]))


def check_structure(path):
    """Raise a ValueError for a file that is no whole flatbuffer: a compiled model would crash."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    with quiet():
        Interpreter(
            model_path=str(path),
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )


@functools.cache
def _environment():
    """The runtime's environment, one for all models."""
    from ai_edge_litert.environment import Environment, EnvironmentOptions

    # When the program ends, LiteRT's own objects write lines to stderr: after this, nowhere.
    atexit.register(lambda: os.dup2(os.open(os.devnull, os.O_WRONLY), 2))
    return Environment.create(options=EnvironmentOptions())


class Signature:
    """One signature of a compiled model, with its buffers.

    Args:
        model: from `compiled`.
        name: of the signature.
        shared: buffers by tensor name, which stand for an input and an output at once.
    """

    def __init__(self, model, name, shared=None):
        shared = shared or {}
        self.model, self.name = model, name
        self.details = model.get_input_tensor_details(name)
        self.results = model.get_output_tensor_details(name)
        self.inputs = {
            key: shared.get(key) or model.create_input_buffer_by_name(name, key)
            for key in self.details
        }
        self.outputs = {
            key: shared.get(key) or model.create_output_buffer_by_name(name, key)
            for key in self.results
        }

    def __call__(self, **values):
        """Write these inputs and run."""
        for key, value in values.items():
            dtype = self.details[key]["dtype"]
            self.inputs[key].write(np.ascontiguousarray(value, dtype))
        self.model.run_by_name(self.name, self.inputs, self.outputs)

    def output(self, key):
        """An output as an array."""
        shape, dtype = self.results[key]["shape"], np.dtype(self.results[key]["dtype"])
        return self.outputs[key].read(int(np.prod(shape)), dtype).reshape(shape)


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

    # Settings that change the text and that this runtime honours: all.
    supports = frozenset(kind.setting for kind in ORDER)

    def __init__(self, path, num_threads=2):
        self._model = compiled(path, num_threads)
        names = list(self._model.get_signature_list())
        if "decode" not in names:
            raise ValueError(f"{path} has no 'decode' signature; it has {sorted(names)}.")
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
        self.cache_length = _cache_length(path, cache)
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
        slots = np.arange(self.position, self.position + len(tokens))
        slots[real:] = -1  # padding, which must not change a recurrent state
        signature(tokens=[tokens], input_pos=slots)
        self.position += real
        return signature

    def set_context(self, **inputs):
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

    def generate(self, prompt, config: GenerationConfig, context=None):
        """Continue a prompt, giving each new token as soon as it is there.

        The same tokens as `keraslm.generation.Generator`, for the same settings and seed.

        Args:
            prompt: token ids.
            config: how.
            context: as in `set_context`, a dict.

        Yields:
            token ids.
        """
        prompt = [int(i) for i in prompt]
        self._check(prompt)
        check_supported(config, self.supports, "LiteRT")
        self.reset()
        self.set_context(**(context or {}))
        self.prefill(prompt[:-1])
        token, seen = prompt[-1], set(prompt)
        choose = self._chooser(method_of(config, self.vocab_size), settings_of(config))
        for step in range(min(config.max_new_tokens, self.cache_length - len(prompt))):
            token = choose(self.decode(token), seen, step)
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
        if 64 < top_k < self.vocab_size:
            raise ValueError(
                f"top_k must be at most 64 in one call, or 0 for all; received {top_k}."
            )
        longest = signature.details["tokens"]["shape"][1]
        if not 0 < len(prompt) <= longest:
            raise ValueError(f"The prompt must have 1 to {longest} tokens; it has {len(prompt)}.")
        tokens = np.zeros((1, longest))
        tokens[0, : len(prompt)] = prompt
        signature(
            tokens=tokens, length=len(prompt), max_new_tokens=max_new_tokens,
            temperature=temperature, top_k=min(top_k, self.vocab_size), top_p=top_p,
            seed=resolve_seed(seed),
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
    facts = read_note(path, "keraslm")
    if facts is not None:
        return json.loads(facts)["max_length"]
    return next(shape[2] for name, shape in cache.items() if name.startswith("kv_cache_"))


class LiteRTEncoder:
    """An encoder's ``.tflite``, written by `keraslm.export.tflite`, in the LiteRT runtime.

    Args:
        path: the file.
        num_threads: threads of the runtime.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file.

    Example:
        >>> model = LiteRTEncoder("saved_models/classifier/model.tflite")
        >>> logits = model([7, 8, 9])
    """

    def __init__(self, path, num_threads=2):
        self._model = compiled(path, num_threads)
        names = list(self._model.get_signature_list())
        self._by_length = {
            int(n.removeprefix("encode_")): Signature(self._model, n)
            for n in names
            if n.startswith("encode_")
        }
        if not self._by_length and "encode" not in names:
            raise ValueError(f"{path} has no 'encode' signature; it has {sorted(names)}.")
        self.max_length = max(self._by_length, default=None)
        self.lengths = tuple(self._by_length)
        name = "encode" if "encode" in names else names[0]
        self.input_names = sorted(self._model.get_input_tensor_details(name))
        self._dynamic = None if self._by_length else _any_length(path, num_threads)

    def __call__(self, token_ids, **others):
        """The output, float32 ``(1, …)``, for one sequence.

        Args:
            token_ids: ints, as many as there are tokens; padded to the next length of the file.
            others: inputs such as ``token_types``, as long. ``padding_mask`` is made here.
        """
        token_ids = [int(i) for i in token_ids]
        length = self._length(len(token_ids))
        values = {}
        for name in self.input_names:
            if name == "padding_mask":
                row = [1] * len(token_ids)
            else:
                row = list(others.get(name, [0] if name in OTHERS else token_ids))
                row += [0] * (len(token_ids) - len(row))
            values[name] = np.array([row + [0] * (length - len(row))], "int32")
        if self._dynamic is not None:
            found = self._dynamic(**values)
        else:
            signature = self._by_length[length]
            signature(**values)
            found = {name: signature.output(name) for name in signature.results}
        return found["output"] if list(found) == ["output"] else found

    def _length(self, wanted):
        """The shortest length of the file that holds so many tokens."""
        if self._dynamic is not None:
            return wanted
        length = min((n for n in self._by_length if n >= wanted), default=None)
        if length is None:
            raise ValueError(
                f"The text has {wanted} tokens, more than the {self.max_length} that the file "
                "takes. Shorten it, or export with larger lengths."
            )
        return length


def _any_length(path, num_threads):
    """The ``encode`` signature in LiteRT's interpreter, which allocates anew for each length."""
    from ai_edge_litert.interpreter import Interpreter

    with quiet():
        interpreter = Interpreter(model_path=str(path), num_threads=num_threads)
        return interpreter.get_signature_runner("encode")


OTHERS = ("token_types",)
