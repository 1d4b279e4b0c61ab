"""Copies of a model in another precision."""

from keraslm._compat import layers_in


def in_float32(model):
    """The model itself, or a float32 copy: LiteRT has no bfloat16 or float16 matrix product."""
    layers = [model, *layers_in(model)]
    if all(layer.compute_dtype == "float32" for layer in layers if layer.variables):
        return model
    copy = type(model).from_config(_with_float32(model.get_config()))
    for new, old in zip(copy.weights, model.weights, strict=True):
        new.assign(old)
    return copy


def _with_float32(config):
    """A config in which every dtype policy is float32."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            return {**config, "config": {**config["config"], "name": "float32"}}
        return {key: _with_float32(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(_with_float32(value) for value in config)
    return config
