"""Models that are refused before anything is converted, each with a way round."""

from typing import Any

import keras

from keraslm._compat import calls_of, layers_in
from keraslm.models.loading import check_not_quantized

READS_STRINGS = (keras.layers.TextVectorization, keras.layers.StringLookup)


def check_convertible(model: Any) -> None:
    """Raise a ValueError for a model that LiteRT cannot run, or that Keras computes wrongly.

    Such are models that read strings, and what Keras' ``quantize`` made.
    """
    check_not_quantized(model)
    layers = layers_in(model)
    reader = next((x for x in layers if isinstance(x, READS_STRINGS)), None)
    if reader is not None or _has_string_input(model):
        where = f" through {reader.name} ({type(reader).__name__})" if reader else ""
        raise ValueError(
            f"{model.name} reads strings{where}, and a .tflite takes numbers only. Export the part "
            "behind the vectorizer: build keras.Model(token_ids, outputs) from the same layers on "
            "keras.Input((length,), dtype='int32'), and turn text into token ids before the call."
        )
    for layer in layers:
        if _is_wrong_in_keras(layer, model, layers):
            raise ValueError(
                f"{layer.name} is a Bidirectional of {type(layer.forward_layer).__name__}("
                "unroll=True) with return_sequences=True and a mask, for which Keras computes "
                "wrong numbers: its backward half does not line up with the mask. Build it with "
                "unroll=False; the weights stay the same."
            )


def _has_string_input(model):
    inputs = getattr(model, "inputs", None) or ()
    return any(keras.backend.standardize_dtype(x.dtype) == "string" for x in inputs)


def _is_wrong_in_keras(layer, model, layers):
    """Keras 3.15: Bidirectional + unroll + return_sequences + mask."""
    if not isinstance(layer, keras.layers.Bidirectional):
        return False
    if not (getattr(layer.forward_layer, "unroll", False) and layer.return_sequences):
        return False
    calls = calls_of(layer)
    if calls and getattr(model, "inputs", None):  # the graph says
        return any(call.keywords.get("mask") is not None for call in calls)
    return any(
        getattr(other, "mask_zero", False) or isinstance(other, keras.layers.Masking)
        for other in layers
    )
