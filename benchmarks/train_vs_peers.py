"""Training steps of the same GPT-2 in keraslm and KerasHub, in turns, on the same batches.

    python benchmarks/train_vs_peers.py [--rounds 4] [--steps 4] [--small]

Both start from the same weights and use the same AdamW, so their losses must agree.
"""

import argparse

from peers import (
    OURS,
    THEIRS,
    Stopwatch,
    make_gpts,
    show_shape,
    show_versions,
)  # first: sets the backend

# isort: split
import keras
import keras_hub
import numpy as np

SHAPE = dict(num_layers=6, d_model=384, num_heads=6, vocab_size=8192, max_length=256)
SMALL = dict(num_layers=2, d_model=32, num_heads=2, vocab_size=256, max_length=32)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=4, help="turns of each contestant")
    parser.add_argument("--steps", type=int, default=4, help="timed steps in a turn")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--small", action="store_true", help="a tiny model, to try the script")
    args = parser.parse_args()

    show_versions()
    shape = SMALL if args.small else SHAPE
    length = shape["max_length"]
    print(f"batch {args.batch} x {length} tokens, AdamW 3e-4, cross-entropy from logits")
    contestants = {}
    for jit in (False, True):
        ours, backbone = make_gpts(**shape)
        contestants[OURS, jit] = ours
        contestants[THEIRS, jit] = keras_hub.models.GPT2CausalLM(backbone, preprocessor=None)
    show_shape(ours, backbone)
    for (name, jit), model in contestants.items():
        # KerasHub would add a metric of accuracy, even for None, that keraslm does not compute.
        extra = {"weighted_metrics": []} if name == THEIRS else {}
        model.compile(
            optimizer=keras.optimizers.AdamW(3e-4, weight_decay=0.1),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=jit,
            **extra,
        )

    rng = np.random.default_rng(1)
    size = (1 + args.rounds * args.steps, args.batch, length + 1)
    batches = rng.integers(0, shape["vocab_size"], size, dtype="int32")
    everywhere = np.ones((args.batch, length), "int32")

    def step(name, model, batch):
        inputs, targets = batch[:, :-1], batch[:, 1:]
        if name == THEIRS:
            inputs = {"token_ids": inputs, "padding_mask": everywhere}
        return float(model.train_on_batch(inputs, targets))  # a list if there were metrics

    losses = {key: [step(key[0], model, batches[0])] for key, model in contestants.items()}
    watch = Stopwatch()
    for turn in range(args.rounds):
        for key, model in contestants.items():
            for batch in batches[1 + turn * args.steps :][: args.steps]:
                losses[key].append(watch.run(key, lambda k=key, m=model, b=batch: step(k[0], m, b)))
    watch.table("step", args.batch * length)

    apart = np.ptp([losses[key] for key in contestants], axis=0)
    print(f"losses apart: {apart[0]:.1e} at the first step, at most {apart.max():.1e}")
    if apart[0] > 1e-4:
        raise SystemExit("The first losses differ by more than 1e-4: not the same computation.")


if __name__ == "__main__":
    main()
