"""Counting the steps of a training."""

from typing import Any

import keras


class StepCallback(keras.callbacks.Callback):
    """Calls ``on_steps`` after every so many training steps.

    With ``steps_per_execution`` Keras calls back only after several steps: then ``on_steps`` comes
    once, after the first call that reaches the number.

    Attributes:
        every: number of steps, or ``None``: never.
        step: steps done, counted from ``first_step()`` when ``fit`` begins.
    """

    every: int | None = None
    step: int = 0

    def first_step(self) -> int:
        """What to count from."""
        return 0

    def on_steps(self, logs: dict[str, Any] | None) -> None:
        """Called after every ``every`` steps, with the logs of the last one."""

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self.step = self._epoch_began_at = self.first_step()

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        self._epoch_began_at = self.step

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        # With steps_per_execution, Keras counts on beyond the end of the epoch.
        done = min(batch + 1, (self.params or {}).get("steps") or batch + 1)
        before, self.step = self.step, self._epoch_began_at + done
        if self.every and self.step // self.every > before // self.every:
            self.on_steps(logs)
