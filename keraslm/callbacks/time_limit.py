"""Training for so long and no longer."""

import time

import keras

from keraslm.layers.common import above_zero


class TimeLimit(keras.callbacks.Callback):
    """Stops training after a number of minutes.

    Args:
        minutes: of each ``fit``, counted from its first step, so that compiling does not count.

    Raises:
        ValueError: ``minutes`` is no positive number.

    Attributes:
        reached: whether it stopped the last ``fit``.

    Example:
        >>> limit = keraslm.callbacks.TimeLimit(minutes=5)
        >>> history = lm.fit(texts, length=32, callbacks=[limit], verbose=0)
        >>> limit.reached
        False
    """

    def __init__(self, minutes: float) -> None:
        super().__init__()
        self.minutes = above_zero("minutes", minutes)
        self.reached = False
        self._started: float | None = None

    def on_train_begin(self, logs=None):
        self.reached, self._started = False, None

    def on_train_batch_end(self, batch, logs=None):
        now = time.perf_counter()
        if self._started is None:
            self._started = now
        elif now - self._started > 60 * self.minutes:
            self.reached = True
            self.model.stop_training = True
