"""What an exported file can be asked: concrete functions for each kind of model.

A decoder's signatures are those of LiteRT-LM: ``prefill_<T>`` and ``decode`` take ``tokens`` int32
``(1, T)``, ``input_pos`` int32 ``(T,)`` and the entries of the model's cache under their own names,
of a GPT ``kv_cache_k_<i>`` and ``kv_cache_v_<i>`` float32 ``(1, num_kv_heads, length, head_dim)``,
and give back those that changed; ``decode`` (T = 1) also gives ``logits`` float32
``(1, 1, vocab_size)``. The tokens stand in the slots from ``input_pos[0]`` on, so ``input_pos[0] +
T`` must not pass ``length``. Behind a text that is shorter than T, ``input_pos`` goes on with
another number than the next slot, such as -1. A model with a memory, such as an encoder–decoder,
has one more signature, ``context``, which gives those entries of the cache that hold it.

Every other model has one signature a length, ``encode_<L>``, or one ``encode`` for all.
"""

import numpy as np

from keraslm.generation.cache import takes_count

TOP_K = 64  # the most that the ``generate`` signature chooses from, if it is not all
DYNAMIC = "dynamic"
SETTINGS = {"temperature": "float32", "top_k": "int32", "top_p": "float32", "seed": "int32"}


# === Decoders ===


def decoder_signatures(model, prefill_lengths, cache_length):
    """``prefill_<T>``, ``decode`` and, of a model with a memory, ``context``; see the module."""
    memory = _context_signature(model) if hasattr(model, "context") else None
    read_only = set() if memory is None else set(memory.structured_outputs)
    signatures = {
        f"prefill_{t}": _step_signature(model, t, cache_length, read_only)
        for t in sorted(prefill_lengths)
    }
    signatures["decode"] = _step_signature(model, 1, cache_length, read_only)
    return signatures if memory is None else {**signatures, "context": memory}


def cache_facts(model, cache_length):
    """What a runner has to know of the cache: kept in the file."""
    spec = model.cache_spec(1, cache_length)
    return {
        "max_length": cache_length,
        "cache": {name: entry.length_axis for name, entry in spec.items()},
    }


def _context_signature(model):
    """The entries of the cache that hold the memory, from what it is made of."""
    import tensorflow as tf

    spec = {
        name: tf.TensorSpec(shape, dtype, name)
        for name, (shape, dtype) in model.context_spec(1).items()
    }

    def run(**inputs):
        # An input that is returned as it is would be garbage in LiteRT's compiled model.
        return {name: tf.maximum(x, x.dtype.min) for name, x in model.context(**inputs).items()}

    return tf.function(run, autograph=False).get_concrete_function(**spec)


def _step_signature(model, tokens, cache_length, read_only):
    import tensorflow as tf

    entries = model.cache_spec(1, cache_length)
    # State has no slots whose position hides the text before: it starts anew with each text.
    state = {
        name
        for name, entry in entries.items()
        if entry.length_axis is None and name not in read_only
    }
    spec = {
        "tokens": tf.TensorSpec((1, tokens), tf.int32, "tokens"),
        "input_pos": tf.TensorSpec((tokens,), tf.int32, "input_pos"),
        **{name: tf.TensorSpec(x.shape, x.dtype, name) for name, x in entries.items()},
    }

    def run(**inputs):
        positions = inputs["input_pos"]
        start = positions[0]
        cache = {name: inputs[name] for name in entries}
        for name in state:
            cache[name] = tf.where(start == 0, tf.zeros_like(cache[name]), cache[name])
        how = {}
        if tokens > 1 and takes_count(model):
            in_order = tf.equal(positions, start + tf.range(tokens))
            how["count"] = tf.reduce_sum(tf.cast(in_order, tf.int32))
        y, changed = model.step(inputs["tokens"], cache, start, last_only=True, **how)
        outputs = {name: x for name, x in changed.items() if x is not inputs[name]}
        return {**outputs, "logits": y} if tokens == 1 else outputs

    return tf.function(run, autograph=False).get_concrete_function(**spec)


def generate_signature(model, prompt_length, new_tokens, stop_ids):
    """The whole loop in one call.

    Inputs: ``tokens`` int32 ``(1, prompt_length)``, the prompt first; ``length`` int32 (), how many
    of them are the prompt; ``max_new_tokens`` int32 (); ``temperature`` float32 () (0: greedy);
    ``top_k`` int32 (), at most `TOP_K`, or 0 for all; ``top_p`` float32 (); ``seed`` int32 ().
    Outputs: ``tokens`` int32 ``(1, new_tokens)`` and ``count`` int32 ``(1,)``, how many of them
    are there.
    """
    import tensorflow as tf

    from keraslm.generation.generator import Generator

    generator = Generator(model)
    spec = {
        "tokens": tf.TensorSpec((1, prompt_length), tf.int32, "tokens"),
        **{n: tf.TensorSpec((), tf.int32, n) for n in ("length", "max_new_tokens")},
        **{name: tf.TensorSpec((), dtype, name) for name, dtype in SETTINGS.items()},
    }

    def run(tokens, length, max_new_tokens, **settings):
        pad = prompt_length - length
        # The loop takes padding on the left.
        ids = tf.gather(tokens, tf.maximum(tf.range(prompt_length) - pad, 0), axis=1)
        found, count = generator.generate_in_graph(
            ids,
            tf.reshape(pad, (1,)),
            tf.minimum(max_new_tokens, new_tokens),
            stop_ids,
            settings,
            length=prompt_length + new_tokens,
            most=min(TOP_K, model.vocab_size),
        )
        return {"tokens": found, "count": count}

    return tf.function(run, autograph=False).get_concrete_function(**spec)


# === Other models ===


def encoder_signatures(model, lengths):
    """``encode_<L>`` for each length, or ``encode``.

    Inputs are the model's own, by name, int32 (a ``padding_mask`` too: 1 for real tokens), each
    ``(1, L)``, or ``(batch, seq)`` if dynamic. The output is called ``output``; several are
    ``output_0``, ``output_1``, …
    """
    if lengths == DYNAMIC:
        return {"encode": _encode_signature(model, None)}
    return {f"encode_{length}": _encode_signature(model, length) for length in lengths}


def _encode_signature(model, length):
    import keras
    import tensorflow as tf

    structure = getattr(model, "_inputs_struct", None)
    if not getattr(model, "inputs", None):
        raise ValueError(
            f"{type(model).__name__} has no symbolic inputs to export. Build it with "
            "keras.Model(inputs, outputs), or call it once on data."
        )
    by_name = isinstance(structure, dict)
    keys = sorted(structure) if by_name else [x.name for x in model.inputs]
    inputs = [structure[k] for k in keys] if by_name else list(model.inputs)
    wanted = {k: x for k, x in zip(keys, inputs, strict=True) if k not in NOT_EXPORTED}

    def shape(tensor):
        fixed = [1, length] if length else [None, None]
        return [n or (fixed[i] if i < 2 else None) for i, n in enumerate(tensor.shape)]

    spec = {
        k: tf.TensorSpec(shape(x), tf.int32 if is_whole(x.dtype) else x.dtype, k)
        for k, x in wanted.items()
    }

    def run(**given):
        given = {k: tf.cast(v, wanted[k].dtype) for k, v in given.items()}
        if by_name:
            y = model(given, training=False)
        else:
            values = [given[k] for k in keys]
            y = model(values[0] if len(values) == 1 else values, training=False)
        flat = [tf.cast(t, "float32") for t in keras.tree.flatten(y)]
        if len(flat) == 1:
            return {"output": flat[0]}
        return {f"output_{i}": t for i, t in enumerate(flat)}

    return tf.function(run, autograph=False).get_concrete_function(**spec)


# Inputs that only training uses.
NOT_EXPORTED = ("segment_ids", "masked_positions")


def is_whole(dtype):
    """Whether a dtype is of whole numbers or bool, which files take as int32."""
    return np.dtype(dtype if isinstance(dtype, str) else str(dtype)).kind in "iub"
