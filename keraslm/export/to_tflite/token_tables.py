"""Which embedding table reads an input of a model: how a model says that numbers are ids."""

from typing import Any

import keras

from keraslm._compat import calls_of, layers_in
from keraslm.layers import TokenEmbedding


def is_table(layer: Any) -> bool:
    """Whether a layer looks ids up."""
    return isinstance(layer, (keras.layers.Embedding, TokenEmbedding))


def size_of(table: Any) -> int:
    """Rows of a table."""
    return table.input_dim if isinstance(table, keras.layers.Embedding) else table.vocab_size


def vocabulary(tables: tuple[Any, ...]) -> int:
    """How many ids all of these tables have; 2 without a table."""
    return min((size_of(table) for table in tables), default=2)


def embedding_tables(model: Any, source: Any) -> list[Any]:
    """The tables that read an input.

    Args:
        model: a ``keras.Model``.
        source: its symbolic input, or the input's name; ``None``: any.

    Returns:
        layers; of a model that shows no graph, the tables in it.
    """
    operations = _operations(model)
    if isinstance(source, str):
        named = model.input if hasattr(model, "operations") else None
        source = named.get(source) if isinstance(named, dict) else None
    if source is None or operations is None:
        return _tables_in(model)
    found: list[Any] = []
    level, seen = [source], set()
    while level and not found:  # the nearest: behind a layer without weights they are not ids
        seen |= {id(tensor) for tensor in level}
        following: list[Any] = []
        for operation, place, outputs in (r for x in level for r in _readers(operations, x)):
            if is_table(operation):
                found.append(operation)
            elif getattr(operation, "inputs", None) and isinstance(operation, keras.Model):
                inner = operation.inputs[place] if place < len(operation.inputs) else None
                found += embedding_tables(operation, inner) if inner is not None else []
            elif getattr(operation, "weights", None):
                found += _tables_in(operation)
            else:  # a cast, say
                following += [y for y in outputs if id(y) not in seen]
        level = following
    return list(dict.fromkeys(found))


def _operations(model):
    """The operations of a model that shows its graph, else ``None``."""
    if isinstance(model, keras.Sequential):  # its layers are all there is, once it has inputs
        return model.layers if getattr(model, "inputs", None) else None
    return getattr(model, "operations", None)


def _readers(operations, tensor):
    for operation in operations:
        for call in calls_of(operation):
            for place, source in enumerate(call.inputs):
                if source is tensor:
                    yield operation, place, call.outputs
                    break


def _tables_in(layer):
    """The tables of a layer that shows no graph; of tokens and positions, the tokens'."""
    tables = [x for x in layers_in(layer) if is_table(x)]
    return [max(tables, key=size_of)] if tables else []


def symbolic_twin(model: Any, structure: Any, is_leaf: Any) -> tuple[Any, dict[tuple, Any]]:
    """The graph of a subclassed model, if its ``call`` runs on symbolic tensors.

    Args:
        model: the model.
        structure: of its argument, with shapes as leaves.
        is_leaf: whether a part of the structure is a shape.

    Returns:
        a functional model and its inputs by their path in the structure; ``(None, {})`` if
        ``call`` does not run on symbolic tensors.
    """
    inputs: dict[tuple, Any] = {}

    def symbols(part, path=()):
        if is_leaf(part):
            inputs[path] = keras.Input(batch_shape=(None, *part[1:]), dtype="int32")
            return inputs[path]
        if isinstance(part, dict):
            return {key: symbols(value, (*path, key)) for key, value in part.items()}
        return [symbols(value, (*path, i)) for i, value in enumerate(part)]

    try:
        outputs = model.call(symbols(structure))
        return keras.Model(list(inputs.values()), outputs), inputs
    except Exception:  # whatever a model's own code makes of a symbolic tensor
        return None, {}
