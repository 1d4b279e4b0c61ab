"""Keeping some layers as they are for the first epochs."""

import keras


class Freeze(keras.callbacks.Callback):
    """Freezes layers for some epochs, then lets them train: for pretrained word vectors.

    Works on a model that is compiled already, which setting ``trainable`` alone does not: there
    the optimizer would not know the layers when they thaw.

    Args:
        layers: names of layers of the model, at whatever depth; one or several. All of a name.
        epochs: how many to keep them frozen. More than the training has: always.

    Raises:
        ValueError: no layer of that name, or a model that is not built (when training starts).

    Example:
        >>> model.fit(x, y, epochs=5, callbacks=[Freeze("token_embedding", epochs=2)])
    """

    def __init__(self, layers, epochs=1):
        super().__init__()
        self.names = [layers] if isinstance(layers, str) else list(layers)
        if epochs < 1:
            raise ValueError(f"epochs must be a positive whole number; received {epochs!r}.")
        self.epochs = epochs
        self._frozen = []

    def on_train_begin(self, logs=None):
        if not self.model.built:
            raise ValueError(
                "The model has no weights yet, so none can be frozen. Start it with keras.Input, "
                "or call model.build(input_shape) before fit."
            )
        layers = list(self.model._flatten_layers(include_self=False))
        missing = set(self.names) - {layer.name for layer in layers}
        if missing:
            raise ValueError(
                f"The model has no layer {min(missing)!r}; it has "
                f"{', '.join(layer.name for layer in self.model.layers)}."
            )
        # While all of them train: the optimizer makes its slots for all.
        self.model.optimizer.build(self.model.trainable_variables)
        self._frozen = [x for x in layers if x.name in self.names and x.trainable]
        self._set(False)

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epochs:
            self._set(True)

    def on_train_end(self, logs=None):
        self._set(True)

    def _set(self, trainable):
        if not self._frozen:
            return
        for layer in self._frozen:
            layer.trainable = trainable
        if trainable:
            self._frozen = []
        self.model.make_train_function(force=True)
