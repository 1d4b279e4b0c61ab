"""What several layers need: registration, fresh initializers, argument checks."""

import keras
from keras import ops

from keraslm._text import checked_count, checked_flag, checked_number

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
    return checked_count(value, name)


def count(name, value):
    """Like `positive`, with 0."""
    return checked_count(value, name, 0)


def rate(name, value):
    """A share: a number in [0, 1)."""
    return checked_number(value, name, lambda x: 0 <= x < 1, "in [0, 1)")


def portion(name, value):
    """A number in (0, 1]."""
    return checked_number(value, name, lambda x: 0 < x <= 1, "in (0, 1]")


def above_zero(name, value):
    """A finite number above 0."""
    return checked_number(value, name, lambda x: x > 0, "a positive number")


def not_negative(name, value):
    """A finite number, 0 or more."""
    return checked_number(value, name, lambda x: x >= 0, "a number, 0 or more")


def flag(name, value):
    """``True`` or ``False``."""
    return checked_flag(value, name)


def initializer(name, value):
    """A Keras initializer; no array, which no config can hold."""
    get = None if hasattr(value, "__array__") else keras.initializers.get
    return _from_keras(get, name, value, "initializer", "glorot_uniform")


def regularizer(name, value):
    """A Keras regularizer."""
    return _from_keras(keras.regularizers.get, name, value, "regularizer", "l2")


def activation(name, value):
    """A Keras activation, as it was given; ``None``: none."""
    _from_keras(keras.activations.get, name, value, "activation", "tanh")
    return value


def _from_keras(get, name, value, kind, example):
    try:
        return get(value)
    except (AttributeError, KeyError, TypeError, ValueError):  # which name no argument
        raise ValueError(
            f"{name} must be a Keras {kind} or its name, such as {example!r}; received "
            f"{value!r:.80}."
        ) from None


def one_of(*choices):
    """The check that a value is one of these."""

    def check(name, value):
        if not isinstance(value, (str, type(None))) or value not in choices:
            known = sorted(choices, key=str)
            raise ValueError(f"{name} must be one of {known}; received {value!r}.")
        return value

    return check
