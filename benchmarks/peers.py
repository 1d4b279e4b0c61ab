"""What the benchmarks share: one GPT-2 in both libraries, a stopwatch, a table of ratios."""

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


def make_gpts(num_layers, d_model, num_heads, vocab_size, max_length, copies=1):
    """A `keraslm.models.GPT` and ``copies`` of KerasHub's backbone, with the same weights.

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
    theirs = []
    for _ in range(copies):
        theirs.append(
            keras_hub.models.GPT2Backbone(
                vocabulary_size=vocab_size,
                num_layers=num_layers,
                num_heads=num_heads,
                hidden_dim=d_model,
                intermediate_dim=4 * d_model,
                dropout=0.0,
                max_sequence_length=max_length,
            )
        )
        copy_weights(ours, theirs[-1])
    print(
        f"GPT-2 shape: {num_layers} layers, width {d_model}, {num_heads} heads, vocabulary "
        f"{vocab_size:,}, context {max_length}, no dropout, tied head; parameters: {OURS} "
        f"{ours.count_params():,}, {THEIRS} {theirs[0].count_params():,}"
    )
    return ours, theirs


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

    def table(self, unit, tokens, ours=OURS):
        """Print the medians, then how many times as fast we are, by setting and at best.

        Args:
            unit: what one call is, for example ``"step"``.
            tokens: tokens of one call.
            ours: the library whose speed stands above the line.
        """
        wall = {key: statistics.median(times) for key, times in self.wall.items()}
        cpu = {key: statistics.median(times) for key, times in self.cpu.items()}
        print(f"{'library':<14}{'jit_compile':<13}{'s/' + unit:>10}{'tokens/s':>11}{'CPU s':>9}")
        for name, jit in wall:
            key = name, jit
            print(f"{name:<14}{jit!s:<13}{wall[key]:>10.3f}{tokens / wall[key]:>11,.1f}", end="")
            print(f"{cpu[key]:>9.2f}")
        peers = sorted({name for name, _ in wall} - {ours})
        for peer in peers:
            for _, jit in [key for key in wall if key[0] == ours]:
                if (peer, jit) in wall:
                    _show_ratio(
                        f"{ours} / {peer}, jit_compile={jit}",
                        (wall[peer, jit], cpu[peer, jit]),
                        (wall[ours, jit], cpu[ours, jit]),
                    )
            best = [min((k for k in wall if k[0] == name), key=wall.get) for name in (peer, ours)]
            _show_ratio(f"{ours} / {peer}, best / best", *((wall[k], cpu[k]) for k in best))
        print(f"load at the end {os.getloadavg()[0]:.2f}", flush=True)


def _show_ratio(label, peer, own):
    print(f"ratio {label}: speed {peer[0] / own[0]:.2f}x, CPU {peer[1] / own[1]:.2f}x")


def _cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
