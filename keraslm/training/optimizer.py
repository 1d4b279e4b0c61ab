"""The default optimizer of language models."""

import keras


def default_optimizer(model, learning_rate=3e-4, weight_decay=0.1):
    """AdamW that decays matrices but neither norms, biases nor embeddings.

    Args:
        model: the model, built.
        learning_rate: a number or a schedule.
        weight_decay: share of a weight taken off per step, times the learning rate.
    """
    optimizer = keras.optimizers.AdamW(
        learning_rate, weight_decay=weight_decay, beta_2=0.95, global_clipnorm=1.0
    )
    exclude_from_decay(optimizer, model)
    return optimizer


def exclude_from_decay(optimizer, model):
    """Keep norms, biases and embeddings of ``model`` from being decayed."""
    optimizer.exclude_from_weight_decay(
        [w for w in model.trainable_variables if len(w.shape) < 2 or "embeddings" in w.name]
    )
