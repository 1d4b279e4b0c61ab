"""What several layers need: registration, fresh initializers, argument checks."""

import operator

import keras

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


def dense(units, layer, name, initializer, axis_bias=True):
    """A ``Dense`` that shares its parent's dtype policy and kernel regularizer."""
    return keras.layers.Dense(
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
