"""What several layers need: registration, fresh initializers, argument checks."""

import operator

import keras
from keras import ops

register = keras.saving.register_keras_serializable("keraslm")


def fresh(initializer):
    """A copy of an initializer with a seed of its own.

    A Keras initializer without a seed draws one when it is made, so one instance used for two
    weights of one shape gives both the same values.
    """
    initializer = keras.initializers.get(initializer)
    if not isinstance(initializer, keras.initializers.Initializer):  # a plain function
        return initializer
    return type(initializer).from_config(initializer.get_config())


@register
class Dense(keras.layers.Dense):
    """Keras' ``Dense``, faster when XLA generates token by token.

    XLA for CPUs makes one loop, on one thread, of the product with a single row and an addition
    after it. It leaves a subtraction alone, and then the product runs on all threads.
    """

    def call(self, inputs, training=None):
        if self.bias is None or tuple(inputs.shape[1:-1]) != (1,):
            return super().call(inputs, training=training)
        y = ops.matmul(inputs, self.kernel) - ops.negative(self.bias)
        return y if self.activation is None else self.activation(y)


def dense(units, layer, name, initializer, axis_bias=True):
    """A `Dense` that shares its parent's dtype policy and kernel regularizer."""
    return Dense(
        units,
        use_bias=axis_bias,
        kernel_initializer=fresh(initializer),
        kernel_regularizer=layer.kernel_regularizer,
        dtype=layer.dtype_policy,
        name=name,
    )


def positive(name, value):
    """``value`` as an int, NumPy's included; a ValueError if it is not a positive whole number."""
    try:
        number = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(f"{name} must be a positive whole number; received {value!r}.")
    return number


def check_rate(**values):
    """Raise a ValueError for the first value outside [0, 1)."""
    for name, value in values.items():
        if isinstance(value, bool) or not 0 <= value < 1:
            raise ValueError(f"{name} must be in [0, 1); received {value!r}.")
