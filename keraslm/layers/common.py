"""What several layers need: registration, fresh initializers, argument checks."""

import operator

import keras
import numpy as np
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


# === Checks: each gets the name and the value of an argument, and gives back the value to keep ===


def positive(name, value):
    """``value`` as an int, NumPy's included; a ValueError if it is not a positive whole number."""
    return _whole(name, value, 1, "a positive whole number")


def count(name, value):
    """Like `positive`, with 0."""
    return _whole(name, value, 0, "a whole number, 0 or more")


def _whole(name, value, least, words):
    try:
        number = least - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise ValueError(f"{name} must be {words}; received {value!r}.")
    return number


def rate(name, value):
    """A share: a number in [0, 1)."""
    return _number(name, value, lambda x: 0 <= x < 1, "in [0, 1)")


def portion(name, value):
    """A number in (0, 1]."""
    return _number(name, value, lambda x: 0 < x <= 1, "in (0, 1]")


def above_zero(name, value):
    """A finite number above 0."""
    return _number(name, value, lambda x: x > 0, "a positive number")


def not_negative(name, value):
    """A finite number, 0 or more."""
    return _number(name, value, lambda x: x >= 0, "a number, 0 or more")


def _number(name, value, is_right, words):
    is_number = isinstance(value, (int, float, np.integer, np.floating))
    if isinstance(value, bool) or not is_number or not (np.isfinite(value) and is_right(value)):
        raise ValueError(f"{name} must be {words}; received {value!r}.")
    return value if isinstance(value, (int, float)) else value.item()


def flag(name, value):
    """``True`` or ``False``."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} must be True or False; received {value!r}.")
    return bool(value)


def one_of(*choices):
    """The check that a value is one of these."""

    def check(name, value):
        if not isinstance(value, (str, type(None))) or value not in choices:
            known = sorted(choices, key=str)
            raise ValueError(f"{name} must be one of {known}; received {value!r}.")
        return value

    return check
