"""Classes that a bundle names: keraslm's own, and users' that Keras' registration can find."""

import inspect

import keras

import keraslm.models
from keraslm.models.loading import build_with_values, weights_of


def name_of(model, known):
    """What ``config.json`` calls a model's class: ``"GPT"``, or ``"package>MyGPT"``.

    Args:
        model: a model.
        known: names of classes in `keraslm.models`.

    Raises:
        ValueError: a class that is neither known nor registered.
    """
    for name in known:
        if type(model) is getattr(keraslm.models, name):
            return name
    return registered_name(model)


def registered_name(instance):
    """``"package>Name"`` of a class registered with Keras.

    Raises:
        ValueError: it is not registered.
    """
    cls = type(instance)
    name = keras.saving.get_registered_name(cls)
    if ">" not in name or keras.saving.get_registered_object(name) is not cls:
        raise ValueError(
            f"{cls.__name__} could not be found again when the bundle is loaded: it is not "
            "registered. Write @keras.saving.register_keras_serializable() above the class."
        )
    return name


def base_of(task):
    """Name of keraslm's own task that a task's class is or comes from.

    Raises:
        ValueError: there is none.
    """
    for cls in type(task).__mro__:
        if cls.__module__.startswith("keraslm.tasks.") and cls.__name__ != "Task":
            return cls.__name__
    raise ValueError(
        f"A bundle holds one of the tasks of keraslm.tasks, or one that comes from it; received a "
        f"{type(task).__name__}."
    )


def find(name, known=()):
    """The class of a name that `name_of` or `registered_name` gave; ``None`` if there is none."""
    return (
        getattr(keraslm.models, name) if name in known else keras.saving.get_registered_object(name)
    )


def check_rebuilds(model, config):
    """Raise a ValueError if the config does not make a model with the same weights."""

    name = type(model).__name__
    advice = f"Give {name} a get_config with all arguments of its __init__."
    # The initial vectors are left out of bundles: the weights take their place.
    kept = {"self", "embeddings_initializer", *config}
    for argument, parameter in inspect.signature(type(model).__init__).parameters.items():
        named = parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if named and argument not in kept:
            raise ValueError(
                f"{name}.get_config() does not have {argument!r}, an argument of "
                f"{name}.__init__: it would be lost. {advice}"
            )

    class EnoughError(Exception):
        """Ends the building: nothing need be filled with values."""

    def compare(again):
        expected, found = (
            {path: tuple(w.shape) for path, w in weights_of(m).items()} for m in (model, again)
        )
        if expected != found:
            path = min(p for p in {*expected, *found} if expected.get(p) != found.get(p))
            raise ValueError(f"the weight {path!r} is another one or missing")
        raise EnoughError

    try:
        build_with_values(lambda: type(model).from_config(dict(config)), compare)
    except EnoughError:
        return
    except Exception as error:
        raise ValueError(
            f"{name}.from_config({name}.get_config()) does not make this model again: {error}. "
            f"{advice}"
        ) from error
