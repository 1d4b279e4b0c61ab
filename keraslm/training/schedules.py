"""Learning-rate schedules."""

import keras


def warmup_cosine(peak, steps, warmup=0.05, final=0.1):
    """Up in a line, then down along a cosine: a Keras ``CosineDecay``.

    Args:
        peak: highest learning rate.
        steps: training steps in all.
        warmup: share of the steps spent going up.
        final: learning rate at the end, as a share of ``peak``.
    """
    if not 0 <= warmup < 1:
        raise ValueError(f"warmup must be in [0, 1); received {warmup!r}.")
    up = max(1, round(steps * warmup))
    return keras.optimizers.schedules.CosineDecay(
        peak / up, max(1, steps - up), alpha=final, warmup_target=peak, warmup_steps=up
    )
