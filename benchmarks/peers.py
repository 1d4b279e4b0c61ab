"""What the benchmarks share: one GPT-2 in all libraries, a stopwatch, a table of ratios."""

import os
import resource
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras  # noqa: E402
import keras_hub  # noqa: E402
import numpy as np  # noqa: E402

import keraslm  # noqa: E402

OURS, THEIRS = "keraslm", "KerasHub"


def show_versions():
    """Print what is compared, and how busy the machine is before it starts."""
    import tensorflow as tf

    print(
        f"keraslm {keraslm.__version__}, KerasHub {keras_hub.__version__}, Keras "
        f"{keras.__version__}, TensorFlow {tf.__version__}, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.2f}, float32"
    )


def make_gpts(num_layers, d_model, num_heads, vocab_size, max_length):
    """A `keraslm.models.GPT` and KerasHub's backbone, with the same weights.

    The weights are random, larger than at the start of training, so that greedy text varies.
    """
    keras.utils.set_random_seed(0)
    ours = keraslm.models.GPT(
        vocab_size=vocab_size,
        num_layers=num_layers,
        d_model=d_model,
        num_heads=num_heads,
        max_length=max_length,
    )
    rng = np.random.default_rng(0)
    for weight in ours.weights:
        if len(weight.shape) == 2:
            weight.assign(rng.normal(0, 0.05, weight.shape))
    theirs = make_keras_hub(num_layers, d_model, num_heads, vocab_size, max_length)
    copy_weights(ours, theirs)
    return ours, theirs


def make_keras_hub(num_layers, d_model, num_heads, vocab_size, max_length):
    """KerasHub's backbone, untrained."""
    return keras_hub.models.GPT2Backbone(
        vocabulary_size=vocab_size,
        num_layers=num_layers,
        num_heads=num_heads,
        hidden_dim=d_model,
        intermediate_dim=4 * d_model,
        dropout=0.0,
        max_sequence_length=max_length,
    )


def hugging_face_gpt2(ours):
    """A `transformers` GPT-2 with the weights of ours."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    shape = ours.transformer_config
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=shape.vocab_size,
            n_positions=shape.max_length,
            n_embd=shape.d_model,
            n_layer=shape.num_layers,
            n_head=shape.num_heads,
            bos_token_id=None,
            eos_token_id=None,
        )
    ).eval()
    weights = {w.path: torch.from_numpy(w.numpy()) for w in ours.weights}
    state = {
        "transformer.wte.weight": weights["token_embedding/embeddings"],
        "transformer.wpe.weight": weights["positions/embeddings"],
        "transformer.ln_f.weight": weights["final_norm/gamma"],
        "transformer.ln_f.bias": weights["final_norm/beta"],
        "lm_head.weight": weights["token_embedding/embeddings"],
    }
    for i in range(shape.num_layers):
        at, own = f"transformer.h.{i}.", f"block_{i}/"
        for theirs, name in (("ln_1", "attention_norm"), ("ln_2", "feed_forward_norm")):
            state[f"{at}{theirs}.weight"] = weights[f"{own}{name}/gamma"]
            state[f"{at}{theirs}.bias"] = weights[f"{own}{name}/beta"]
        for theirs, names in (
            ("attn.c_attn", ("attention/query", "attention/key", "attention/value")),
            ("attn.c_proj", ("attention/output",)),
            ("mlp.c_fc", ("feed_forward/up",)),
            ("mlp.c_proj", ("feed_forward/down",)),
        ):
            for part, end in (("kernel", "weight"), ("bias", "bias")):
                parts = [weights[f"{own}{name}/{part}"] for name in names]
                state[f"{at}{theirs}.{end}"] = torch.cat(parts, dim=-1)
    model.load_state_dict(state, strict=False)
    return model


def show_shape(ours, theirs):
    """Print the architecture and both counts of parameters."""
    shape = ours.transformer_config
    print(
        f"GPT-2: {shape.num_layers} layers, width {shape.d_model}, {shape.num_heads} heads, "
        f"vocabulary {shape.vocab_size:,}, context {shape.max_length}, no dropout, tied head"
    )
    print(f"parameters: {OURS} {ours.count_params():,}, {THEIRS} {theirs.count_params():,}")


def copy_weights(source, target):
    """Both libraries list the weights in the same order; KerasHub splits the axis of the heads."""
    for ours, theirs in zip(source.weights, target.weights, strict=True):
        theirs.assign(np.reshape(ours.numpy(), theirs.shape))


class Stopwatch:
    """Wall and CPU seconds (all threads, user and system) of calls, by contestant.

    Example:
        >>> watch = Stopwatch()
        >>> watch.run(("keraslm", True), lambda: model.train_on_batch(x, y))
    """

    def __init__(self):
        self.wall, self.cpu = {}, {}

    def run(self, contestant, function):
        """Call ``function``, note how long it took, return its result."""
        wall, cpu = time.perf_counter(), _cpu_seconds()
        result = function()
        self.cpu.setdefault(contestant, []).append(_cpu_seconds() - cpu)
        self.wall.setdefault(contestant, []).append(time.perf_counter() - wall)
        return result

    def table(self, unit, tokens):
        """Print the medians, then how many times as fast we are, by setting and at best.

        Args:
            unit: what one call is, for example ``"step"``.
            tokens: tokens of one call.
        """
        wall = {key: statistics.median(times) for key, times in self.wall.items()}
        cpu = {key: statistics.median(times) for key, times in self.cpu.items()}
        print(f"{'library':<14}{'jit_compile':<13}{'s/' + unit:>10}{'tokens/s':>11}{'CPU s':>9}")
        for name, jit in wall:
            key = name, jit
            print(f"{name:<14}{jit!s:<13}{wall[key]:>10.3f}{tokens / wall[key]:>11,.1f}", end="")
            print(f"{cpu[key]:>9.2f}")
        for peer in sorted({name for name, _ in wall} - {OURS}):
            pairs = {
                f"jit_compile={jit}": ((peer, jit), (OURS, jit))
                for jit in (False, True)
                if (peer, jit) in wall
            }
            pairs["best against best"] = [
                min((key for key in wall if key[0] == name), key=wall.get) for name in (peer, OURS)
            ]
            for label, (theirs, own) in pairs.items():
                print(
                    f"ratio {OURS} / {peer}, {label}: speed {wall[theirs] / wall[own]:.2f}x, "
                    f"CPU {cpu[theirs] / cpu[own]:.2f}x"
                )
        print(f"load at the end {os.getloadavg()[0]:.2f}", flush=True)


def _cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
