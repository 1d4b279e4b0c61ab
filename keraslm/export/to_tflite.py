"""A decoder as a ``.tflite`` file: builtin operations only, the cache as inputs and outputs.

The signatures are those of LiteRT-LM: ``prefill_<T>`` and ``decode`` take ``tokens`` int32
``(1, T)``, ``input_pos`` int32 ``(T,)`` and the cache ``kv_cache_k_<i>``, ``kv_cache_v_<i>``
float32 ``(1, num_kv_heads, length, head_dim)``, and give the cache back under the same names;
``decode`` (T = 1) also gives ``logits`` float32 ``(1, 1, vocab_size)``. The new keys and values are
written from slot ``input_pos[0]`` on, so ``input_pos[0] + T`` must not pass ``length``.
"""

from pathlib import Path

from keraslm._files import replaced_file
from keraslm.export.conversion import in_float32, to_litert
from keraslm.export.verification import prove, write_manifest

PREFILL_LENGTHS = (8, 32, 128)


def tflite(lm, path, *, prefill_lengths=PREFILL_LENGTHS, cache_length=None, verify="quick"):
    """Export a language model to LiteRT.

    Args:
        lm: a `keraslm.tasks.TextGenerator`, or a model with ``init_cache`` and ``step``.
        path: the ``.tflite`` file, or a folder, which then gets ``model.tflite``.
        prefill_lengths: numbers of prompt tokens that are read at once; those that do not fit
            in the cache are left out.
        cache_length: tokens of prompt and continuation together; default ``max_length``.
        verify: ``"quick"`` runs the file in LiteRT and compares it with Keras (needs a
            `TextGenerator` or model of integer ids); ``False`` does not.

    Returns:
        the file's ``Path``.

    Raises:
        ValueError: the model has no step function, or needs an operation that LiteRT does not
            have built in.
        RuntimeError: the file does not give what Keras gives. It is not left behind.

    Example:
        >>> keraslm.export.tflite(lm, "saved_models/mine")
    """
    model = getattr(lm, "model", lm)
    if not hasattr(model, "init_cache") or not hasattr(model, "step"):
        raise ValueError(
            f"model must have init_cache and step, as keraslm.models.GPT has; received "
            f"{type(model).__name__}."
        )
    cache_length = cache_length or model.max_length
    if cache_length > model.max_length:
        raise ValueError(
            f"cache_length={cache_length} is more than the model's max_length={model.max_length}."
        )
    path = Path(path)
    path = path if path.suffix == ".tflite" else path / "model.tflite"
    content = convert(model, [t for t in prefill_lengths if t <= cache_length], cache_length)
    with replaced_file(path) as new:
        new.write_bytes(content)
        result = prove(new, lm, name=path) if verify else None
    write_manifest(path, result)
    return path


def convert(model, prefill_lengths, cache_length):
    """The bytes of the ``.tflite`` file."""
    model = in_float32(model)
    signatures = {
        f"prefill_{t}": _signature(model, t, cache_length, logits=False) for t in prefill_lengths
    }
    signatures["decode"] = _signature(model, 1, cache_length, logits=True)
    return to_litert(model.weights, signatures)


def _signature(model, tokens, cache_length, logits):
    """A concrete function on the LiteRT-LM contract."""
    import tensorflow as tf

    cache = model.init_cache(1, cache_length)
    spec = {
        "tokens": tf.TensorSpec((1, tokens), tf.int32, "tokens"),
        "input_pos": tf.TensorSpec((tokens,), tf.int32, "input_pos"),
    }
    for name, value in named_cache(cache).items():
        spec[name] = tf.TensorSpec(value.shape, tf.float32, name)

    def run(**inputs):
        state = tuple(
            (inputs[f"kv_cache_k_{i}"], inputs[f"kv_cache_v_{i}"]) for i in range(len(cache))
        )
        y, state = model.step(inputs["tokens"], state, inputs["input_pos"][0], last_only=True)
        outputs = named_cache(state)
        if logits:
            outputs["logits"] = y
        return outputs

    return tf.function(run, autograph=False).get_concrete_function(**spec)


def named_cache(cache):
    """The cache as LiteRT-LM names it."""
    return {
        f"kv_cache_{kind}_{i}": value
        for i, pair in enumerate(cache)
        for kind, value in zip("kv", pair, strict=True)
    }
