"""What ``lm.fit`` passes to Keras to walk through the rows as its recipe says."""

import keras

from keraslm.callbacks.counting import StepCallback


class RowsOfEpoch(keras.callbacks.Callback):
    """Begins with the rows of the epoch that training goes on with.

    The order of the rows is a function of the seed and the pass, and a new dataset begins with
    the first pass: after ``initial_epoch`` or ``keras.callbacks.BackupAndRestore`` the passes
    before are skipped, so that the rest of the training sees what it would have seen.

    Args:
        data: the shuffled ``tf.data.Dataset`` that is trained on, new.
    """

    def __init__(self, data):
        super().__init__()
        self.data = data
        self._skipped = False

    def on_epoch_begin(self, epoch, logs=None):
        if not self._skipped:
            for _ in range(epoch):
                next(iter(self.data))
        self._skipped = True


class StopAfter(StepCallback):
    """Ends training after a number of steps."""

    def __init__(self, steps):
        super().__init__()
        self.every = steps

    def on_steps(self, logs):
        self.model.stop_training = True
