"""What a decoder's file can be asked, as concrete functions.

A decoder's signatures are those of LiteRT-LM: ``prefill_<T>`` and ``decode`` take ``tokens`` int32
``(1, T)``, ``input_pos`` int32 ``(T,)`` and the cache ``kv_cache_k_<i>``, ``kv_cache_v_<i>``
float32 ``(1, num_kv_heads, length, head_dim)``, and give the cache back under the same names;
``decode`` (T = 1) also gives ``logits`` float32 ``(1, 1, vocab_size)``. The new keys and values are
written from slot ``input_pos[0]`` on, so ``input_pos[0] + T`` must not pass ``length``.
"""

TOP_K = 64  # the most that the ``generate`` signature chooses from


def is_decoder(model):
    """Whether a model follows the step protocol."""
    return hasattr(model, "init_cache") and hasattr(model, "step")


# === Decoders ===


def decoder_signatures(model, prefill_lengths, cache_length):
    """``prefill_<T>`` and ``decode``; see the module."""
    signatures = {
        f"prefill_{t}": _step_signature(model, t, cache_length, logits=False)
        for t in sorted(prefill_lengths)
    }
    return {**signatures, "decode": _step_signature(model, 1, cache_length, logits=True)}


def _step_signature(model, tokens, cache_length, logits):
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


def generate_signature(model, prompt_length, new_tokens, stop_ids):
    """The whole loop in one call.

    Inputs: ``tokens`` int32 ``(1, prompt_length)``, the prompt first; ``length`` int32 (), how many
    of them are the prompt; ``max_new_tokens`` int32 (); ``temperature`` float32 () (0: greedy);
    ``top_k`` int32 (), at most `TOP_K`; ``top_p`` float32 (); ``seed`` int32 (), not negative.
    Outputs: ``tokens`` int32 ``(1, new_tokens)`` and ``count`` int32 ``(1,)``, how many of them
    are there.
    """
    import tensorflow as tf

    from keraslm.generation.generator import Generator
    from keraslm.generation.sampling import Method, Settings

    generator = Generator(model)
    method = Method(True, min(TOP_K, model.vocab_size), False)
    spec = {
        "tokens": tf.TensorSpec((1, prompt_length), tf.int32, "tokens"),
        **{
            n: tf.TensorSpec((), tf.int32, n) for n in ("length", "max_new_tokens", "top_k", "seed")
        },
        **{n: tf.TensorSpec((), tf.float32, n) for n in ("temperature", "top_p")},
    }

    def run(tokens, length, max_new_tokens, temperature, top_k, top_p, seed):
        pad = prompt_length - length
        # The loop wants padding on the left.
        ids = tf.gather(tokens, tf.maximum(tf.range(prompt_length) - pad, 0), axis=1)
        greedy = temperature <= 0.0  # the likeliest is the only one of the top 1
        settings = Settings(
            tf.where(greedy, 1.0, temperature),
            tf.where(greedy, 1, tf.minimum(top_k, method.k)),
            top_p,
            tf.constant(0.0),
            tf.constant(1.0),
            seed,
        )
        found, _, count = generator.loop(
            ids,
            tf.reshape(pad, (1,)),
            tf.minimum(max_new_tokens, new_tokens),
            tf.constant(stop_ids or (-1,), tf.int32),
            settings,
            method,
            prompt_length + new_tokens,
            1,
        )
        return {"tokens": found, "count": count}

    return tf.function(run, autograph=False).get_concrete_function(**spec)
