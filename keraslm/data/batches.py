"""Batches: in what order a data set's rows are visited, pass after pass."""

from keraslm._text import checked_count, checked_flag, checked_seed
from keraslm._types import Dataset


def batch_indices(
    rows: int, batch_size: int, *, shuffle: bool, seed: int, repeat: bool, epoch: int = 0
) -> Dataset:
    """Row numbers, batch after batch.

    Shuffled, the order of a pass is a pure function of ``(seed, epoch)``: each new pass over the
    dataset is the next epoch, and a fresh dataset begins again with the first. All batches are
    full then (XLA compiles anew for every new shape); the few rows left over differ every epoch.
    Not shuffled, every row comes, the last batch may be short, and every pass is the same.

    Args:
        rows: number of rows.
        batch_size: rows a batch.
        shuffle, seed: see above.
        repeat: pass after pass without end.
        epoch: number of the first pass.

    Returns:
        a ``tf.data.Dataset`` of ``(step, indices)``: int64 ``()``, counted through all epochs (per
        pass if not shuffled), and int64 ``(batch_size,)``.

    Raises:
        ValueError: an argument that cannot be, or more in a batch than ``rows`` when shuffling.

    Example:
        >>> for step, indices in batch_indices(5, 2, shuffle=False, seed=0, repeat=False):
        ...     print(int(step), indices.numpy().tolist())
        0 [0, 1]
        1 [2, 3]
        2 [4]
    """
    import tensorflow as tf

    batch_size, seed = checked_count(batch_size, "batch_size"), checked_seed(seed)
    shuffle, repeat = checked_flag(shuffle, "shuffle"), checked_flag(repeat, "repeat")
    epoch = checked_count(epoch, "epoch", 0)
    if not shuffle:
        batches = tf.data.Dataset.range(rows).batch(batch_size).enumerate()
        return batches.repeat() if repeat else batches
    if batch_size > rows:
        raise ValueError(
            f"batch_size={batch_size} is more than the {rows} rows there are. Use a smaller"
            " batch_size or length, or more text."
        )
    steps = rows // batch_size

    def one_epoch(number):
        order = tf.random.experimental.stateless_shuffle(
            tf.range(rows, dtype=tf.int64), seed=tf.stack([tf.cast(seed, tf.int64), number])
        )
        order = tf.reshape(order[: steps * batch_size], (steps, batch_size))
        return tf.data.Dataset.from_tensor_slices(
            (number * steps + tf.range(steps, dtype=tf.int64), order)
        )

    if repeat:
        epochs = tf.data.Dataset.counter(epoch)
    else:
        with tf.device("CPU:0"):  # tf.data runs there
            passes = tf.Variable(epoch - 1, dtype=tf.int64, trainable=False)
        epochs = tf.data.Dataset.range(1).map(lambda _: passes.assign_add(1))
    cardinality = tf.data.INFINITE_CARDINALITY if repeat else steps
    return epochs.flat_map(one_epoch).apply(tf.data.experimental.assert_cardinality(cardinality))
