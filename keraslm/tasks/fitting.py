"""How a text generator is trained: encoded, packed, compiled, fitted."""

import math
from typing import Any

import keras

from keraslm.callbacks.rows import RowsOfEpoch, StopAfter
from keraslm.data.packing import PackedTokens, encode_documents, pack
from keraslm.data.split import split_texts
from keraslm.tasks import bundle
from keraslm.tasks.rescue import default_folder, rescued
from keraslm.tasks.samples import sample_of
from keraslm.training.recipe import Recipe, compile_with


def fit(
    lm: Any,
    texts: Any,
    validation: Any,
    recipe: Recipe | None,
    fields: dict[str, Any],
    jit_compile: bool | str | None,
    rescue: Any,
    arguments: dict[str, Any],
) -> Any:
    """See `keraslm.tasks.TextGenerator.fit`, whose arguments these are.

    Args:
        lm: the text generator.
        fields: of the recipe, those that were given.
        arguments: fields of the recipe, and what ``model.fit`` takes.
    """
    for name in set(arguments) & set(Recipe.field_names()):
        fields[name] = arguments.pop(name)
    if not isinstance(recipe, Recipe | None):
        raise ValueError(
            f"recipe must be a keraslm.training.Recipe; received {recipe!r:.80}. Make one of "
            "its fields: Recipe(epochs=2)."
        )
    used = (recipe or Recipe()).replace(**fields)
    texts, validation = _held_out(texts, validation, arguments)
    rows = held_out = packed(lm, texts, used.length)
    data = rows.dataset(used.batch_size, seed=used.seed)
    if validation is not None:
        held_out = packed(lm, validation, used.length, shorter=True)
        arguments["validation_data"] = held_out.dataset(used.batch_size, shuffle=False)
    per_epoch = len(rows) // used.batch_size
    changed = fields if recipe is None else Recipe.field_names()
    compile_with(lm.model, used, per_epoch, jit_compile=jit_compile, changed=changed)
    callbacks = [
        *keras.tree.flatten(arguments.pop("callbacks", None) or ()),
        RowsOfEpoch(data),
        *([StopAfter(used.steps)] if used.steps else ()),
        keras.callbacks.TerminateOnNaN(),
    ]
    rescue = default_folder() if rescue == "auto" else rescue
    if rescue is not None:
        with bundle.reserved(rescue):
            pass  # that it can be written is known before the training
    lm.sample = sample_of(texts if validation is None else validation, held_out, lm.tokenizer)
    with rescued(lm, rescue):
        history = lm.model.fit(
            data, epochs=used.num_epochs(per_epoch), callbacks=callbacks, **arguments
        )
    losses = history.history.get("loss", [])
    if losses and not math.isfinite(losses[-1]):
        raise ValueError(
            "The loss became NaN and training stopped. Use a smaller learning_rate; the "
            "weights are of no use."
        )
    return history


def _held_out(texts, validation, arguments):
    """The texts to train and to validate on; Keras' names for the latter are taken too."""
    given = arguments.pop("validation_data", None)
    share = arguments.pop("validation_split", None)
    if sum(value is not None for value in (validation, given, share)) > 1:
        raise ValueError("Give one of validation, validation_data and validation_split.")
    if share is None:
        return texts, validation if given is None else given
    if isinstance(texts, PackedTokens):
        raise ValueError("validation_split is for texts; of packed rows, pack some for validation.")
    return split_texts(texts, share)


def packed(lm: Any, texts: Any, length: int | None, *, shorter: bool = False) -> PackedTokens:
    """Texts as rows of tokens; rows that are packed already as they are.

    Args:
        length: tokens of a row; default, as many as the model takes.
        shorter: whether rows of a text that is shorter are as short as it is.
    """
    if isinstance(texts, PackedTokens):
        largest = int(texts.stream.ids.max(initial=0))
        if largest >= lm.model.vocab_size:
            raise ValueError(
                f"The packed rows have the token id {largest}; those of the model are from 0 "
                f"to {lm.model.vocab_size - 1}. Encode the texts with lm.tokenizer."
            )
        return texts
    bundle.check_tokenizer(lm)
    stream = encode_documents(texts, lm.tokenizer)
    length = length or lm.model.max_length
    return pack(stream, length=min(length, max(1, stream.num_tokens - 1)) if shorter else length)
