"""Optimizers that decay matrices only, and the default one of language models."""

from typing import Any

import keras

from keraslm.layers.common import register

DECAYED = ("matrices", "all")


class MatrixDecay(keras.optimizers.Optimizer):
    """Part of an optimizer: what ``weight_decay`` does not touch is a rule, not a list.

    A list of weights is not in an optimizer's config, so a loaded optimizer would decay all.

    Args:
        decayed: ``"matrices"``: neither norms, biases nor embeddings; ``"all"``: as in Keras.
        arguments: of the Keras optimizer.
    """

    def __init__(self, *arguments: Any, decayed: str = "matrices", **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        if decayed not in DECAYED:
            raise ValueError(f"decayed must be one of {', '.join(DECAYED)}; received {decayed!r}.")
        self.decayed = decayed

    def build(self, variables):
        if not self.built and self.decayed == "matrices":
            exclude_from_decay(self, variables)
        super().build(variables)

    def get_config(self):
        return {**super().get_config(), "decayed": self.decayed}


@register
class AdamW(MatrixDecay, keras.optimizers.AdamW):
    """Keras' ``AdamW`` (Loshchilov & Hutter 2019) that decays matrices only; see `MatrixDecay`.

    Example:
        >>> gpt.compile(keraslm.training.AdamW(3e-4, weight_decay=0.1))
    """


@register
class Lion(MatrixDecay, keras.optimizers.Lion):
    """Keras' ``Lion`` (Chen et al. 2023) that decays matrices only; see `MatrixDecay`.

    Example:
        >>> gpt.compile(keraslm.training.Lion(1e-4, weight_decay=0.1))
    """


@register
class SGD(MatrixDecay, keras.optimizers.SGD):
    """Keras' ``SGD`` that decays matrices only; see `MatrixDecay`.

    Example:
        >>> gpt.compile(keraslm.training.SGD(1e-2, momentum=0.9, weight_decay=0.1))
    """


def default_optimizer(
    model: Any = None, learning_rate: Any = 3e-4, weight_decay: float = 0.1
) -> keras.optimizers.Optimizer:
    """AdamW that decays matrices but neither norms, biases nor embeddings.

    Args:
        model: not used any more: the optimizer looks at the weights when it is built.
        learning_rate: a number or a schedule.
        weight_decay: share of a weight taken off per step, times the learning rate.

    Example:
        >>> gpt.compile(default_optimizer(learning_rate=warmup_cosine(3e-4, steps=1000)))
    """
    return AdamW(learning_rate, weight_decay=weight_decay, beta_2=0.95, global_clipnorm=1.0)


def exclude_from_decay(optimizer, variables):
    """Keep the norms, biases and embeddings among ``variables`` from being decayed."""
    optimizer.exclude_from_weight_decay(
        [w for w in variables if len(w.shape) < 2 or "embeddings" in w.name]
    )
