"""Learning-rate schedules."""

import keras


def warmup_cosine(
    peak: float, steps: int, warmup: float = 0.05, final: float = 0.1
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Up in a line, then down along a cosine: a Keras ``CosineDecay``.

    Args:
        peak: highest learning rate.
        steps: training steps in all.
        warmup: share of the steps spent going up.
        final: learning rate at the end, as a share of ``peak``.

    Example:
        >>> schedule = warmup_cosine(1e-3, steps=100, warmup=0.1)
        >>> [round(float(schedule(step)), 6) for step in (0, 9, 10, 100)]
        [0.0001, 0.00091, 0.001, 0.0001]
    """
    if not 0 <= warmup < 1:
        raise ValueError(f"warmup must be in [0, 1); received {warmup!r}.")
    up = max(1, round(steps * warmup))
    return keras.optimizers.schedules.CosineDecay(
        peak / up, max(1, steps - up), alpha=final, warmup_target=peak, warmup_steps=up
    )
