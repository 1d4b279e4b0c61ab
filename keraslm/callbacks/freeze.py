"""Layers that stay as they are for the first epochs."""

from collections.abc import Iterable

import keras

from keraslm._compat import layers_in
from keraslm._text import checked_count, checked_texts


class Freeze(keras.callbacks.Callback):
    """Freezes layers for some epochs, then lets them train: for pretrained word vectors.

    Works on a model that is compiled already, which setting ``trainable`` alone does not: there
    the optimizer would not know the layers when they thaw. Between two steps every layer's
    ``trainable`` is what it was, whatever ends the training: an error or Ctrl-C leaves nothing
    frozen, and neither does it for a model that is not keraslm's (TensorFlow backend).

    Args:
        layers: names of layers of the model, at whatever depth; one or several. All of a name.
        epochs: how many to keep them frozen. More than the training has: always.

    Raises:
        ValueError: names or a number that cannot be; no layer of that name, or a model that is not
            built (when training starts).

    Example:
        >>> freeze = keraslm.callbacks.Freeze("token_embedding", epochs=1)
        >>> history = lm.fit(texts, length=32, epochs=2, callbacks=[freeze], verbose=0)
    """

    def __init__(self, layers: str | Iterable[str], epochs: int = 1) -> None:
        super().__init__()
        self.names = checked_texts(layers, "layers")
        if not self.names:
            raise ValueError("layers is empty. Give the names of the layers to freeze.")
        self.epochs = checked_count(epochs, "epochs")

    def on_train_begin(self, logs=None):
        model = self.model
        if not model.built:
            raise ValueError(
                "The model has no weights yet, so none can be frozen. Start it with keras.Input, "
                "or call model.build(input_shape) before fit."
            )
        layers = layers_in(model)
        missing = set(self.names) - {layer.name for layer in layers}
        if missing:
            raise ValueError(
                f"The model has no layer {min(missing)!r}; it has "
                f"{', '.join(layer.name for layer in model.layers)}."
            )
        if not model.optimizer.built:  # with slots for all weights, for when they thaw
            model.optimizer.build(model.trainable_variables)
        self._train_with({**self._others(), self: [x for x in layers if x.name in self.names]})

    def on_epoch_begin(self, epoch, logs=None):
        if epoch >= self.epochs:
            self._thaw()

    def on_train_end(self, logs=None):
        self._thaw()

    def on_train_interrupted(self) -> None:
        """Called by keraslm's models when an error or Ctrl-C ends ``fit``."""
        self._thaw()

    def _thaw(self):
        step = self.model.train_function
        if isinstance(step, _FrozenStep) and self in step.layers:
            self._train_with(self._others())

    def _others(self):
        """What other `Freeze`s keep frozen in this ``fit``, by callback."""
        step = self.model.train_function
        if not isinstance(step, _FrozenStep) or step.fit is not self.model.history:
            return {}
        return {freeze: layers for freeze, layers in step.layers.items() if freeze is not self}

    def _train_with(self, layers):
        self.model.make_train_function(force=True)  # one that has not been traced
        if layers:
            self.model.train_function = _FrozenStep(self.model, layers)


class _FrozenStep:
    """A training function during whose steps some layers are frozen.

    Keras tells no callback that an error ended ``fit``, and keeps ``model.train_function`` for
    the next. So each ``fit`` is known by its History, and in another one nothing is frozen.

    Args:
        model: whose ``train_function`` it takes the place of.
        layers: by callback.
    """

    def __init__(self, model, layers):
        self.model, self.layers = model, layers
        self.fit = model.history
        self.step = model.train_function

    def __call__(self, *args, **kwargs):
        if self.model.history is not self.fit:
            self.model.make_train_function(force=True)
            return self.model.train_function(*args, **kwargs)
        layers = [layer for some in self.layers.values() for layer in some]
        # Setting a layer's flag sets those of all that is in it: keep each, parents first.
        inside = [x for layer in layers for x in (layer, *layers_in(layer), *layer.variables)]
        before = [(x, x.trainable) for x in inside]
        try:
            for layer in layers:
                layer.trainable = False
            return self.step(*args, **kwargs)
        finally:
            for x, trainable in before:
                x.trainable = trainable
