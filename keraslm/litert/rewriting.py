"""Rewriting a converted graph so that it computes the same with fewer operations.

TensorFlow's converter leaves the bias of a ``Dense`` as an addition of its own, spells out what
Keras does about negative ids, and reads a table by GATHER, which takes no table that is quantised
row by row. XNNPACK repacks the second operand of every product of two computed matrices, which for
a product with a single row takes longer than the product. Each rewriting below is exact up to the
rounding of float32.
"""

from typing import Any

import numpy as np

from keraslm.litert.flatbuffer import LiteRTFile, schema


def simplify(file: LiteRTFile) -> None:
    """Rewrite all graphs of a `LiteRTFile`.

    Example:
        >>> from pathlib import Path
        >>> file = LiteRTFile(Path("saved_models/mine/model.tflite").read_bytes())
        >>> simplify(file)
        >>> content = file.to_bytes()
    """
    for graph in file.model.subgraphs:
        links = Links(file, graph)
        for operation in list(graph.operators or ()):
            name = file.name(operation)
            if name == "GATHER":
                _drop_negative_ids(links, operation)
                _look_up(links, operation)
            elif name in ("ADD", "SUB"):
                _fuse_bias(links, operation)
            elif name == "BATCH_MATMUL":
                _multiply_and_sum(links, operation)


class Links:
    """Who makes and who reads each tensor of a graph."""

    def __init__(self, file, graph):
        self.file, self.graph = file, graph
        self.refresh()

    def refresh(self):
        self.maker: dict[int, Any] = {}
        self.readers: dict[int, list[Any]] = {}
        for operation in self.graph.operators or ():
            for i in operation.outputs:
                self.maker[int(i)] = operation
            for i in operation.inputs:
                self.readers.setdefault(int(i), []).append(operation)
        self.outputs = {int(i) for i in self.graph.outputs}

    def tensor(self, number):
        return self.graph.tensors[int(number)]

    def shape(self, number):
        """Its lengths, or None if one is known at run time only."""
        tensor = self.tensor(number)
        signature = tensor.shapeSignature if tensor.shapeSignature is not None else tensor.shape
        return None if min(signature, default=1) < 1 else [int(n) for n in tensor.shape]

    def constant(self, number):
        """Values of a constant, or None."""
        return None if number < 0 else self.file.constant(self.tensor(number))

    def made_by(self, number, name):
        """The operation of that name that makes a tensor, or None."""
        operation = self.maker.get(int(number))
        return operation if operation is not None and self.file.name(operation) == name else None

    def only_read_by(self, number, operation):
        """Whether nothing else needs a tensor."""
        number = int(number)
        return number not in self.outputs and self.readers.get(number) == [operation]

    def insert_before(self, operation, name, version, inputs, outputs):
        """A new operation."""
        new = schema().OperatorT()
        new.opcodeIndex = self.file.code(name, version)
        new.inputs, new.outputs = np.array(inputs, "int32"), np.array(outputs, "int32")
        place = next(i for i, o in enumerate(self.graph.operators) if o is operation)
        self.graph.operators.insert(place, new)
        return new

    def remove(self, operation):
        self.graph.operators = [o for o in self.graph.operators if o is not operation]

    def add(self, name, shape, dtype, values=None):
        return self.file.add_tensor(self.graph, name, shape, dtype, values)

    def reshape(self, operation, source, target, shape):
        """A RESHAPE before ``operation``."""
        shape = np.asarray(shape, "int32")
        numbers = self.add("shape", (len(shape),), "INT32", shape)
        new = self.insert_before(operation, "RESHAPE", 1, [source, numbers], [target])
        new.builtinOptionsType = schema().BuiltinOptions.ReshapeOptions
        new.builtinOptions = schema().ReshapeOptionsT()
        new.builtinOptions.newShape = shape


def _drop_negative_ids(links, gather):
    """``select(i < 0, i + n, i)`` is ``i``: token ids and positions are never negative."""
    select = links.made_by(gather.inputs[1], "SELECT") or links.made_by(
        gather.inputs[1], "SELECT_V2"
    )
    if select is None:
        return
    condition, wrapped, ids = (int(i) for i in select.inputs)
    less, add = links.made_by(condition, "LESS"), links.made_by(wrapped, "ADD")
    if less is None or add is None or int(less.inputs[0]) != ids or int(add.inputs[0]) != ids:
        return
    zero = links.constant(less.inputs[1])
    if zero is not None and zero.size == 1 and int(zero.reshape(())) == 0:
        gather.inputs = np.array([gather.inputs[0], ids], "int32")
        links.refresh()


def _look_up(links, gather):
    """GATHER of rows of a constant table becomes EMBEDDING_LOOKUP, which reads any int8 table."""
    table, ids = (int(i) for i in gather.inputs)
    rows, numbers = links.tensor(table), links.tensor(ids)
    options = gather.builtinOptions
    if links.file.raw(rows) is None or len(rows.shape) != 2:
        return
    if links.file.dtype(rows) != "FLOAT32" or links.file.dtype(numbers) != "INT32":
        return
    if options is not None and (options.axis or options.batchDims):
        return
    shape = links.shape(ids)
    if shape is None:
        return
    output = int(gather.outputs[0])
    flat_ids = ids
    if len(shape) != 1:
        flat_ids = links.add("ids", (int(np.prod(shape)),), "INT32")
        links.reshape(gather, ids, flat_ids, [int(np.prod(shape))])
    found = links.add("rows", (int(np.prod(shape)), int(rows.shape[1])), "FLOAT32")
    links.insert_before(gather, "EMBEDDING_LOOKUP", 1, [flat_ids, table], [found])
    links.reshape(gather, found, output, [*shape, int(rows.shape[1])])
    links.remove(gather)
    links.refresh()


def _fuse_bias(links, addition):
    """A constant vector added after FULLY_CONNECTED becomes its bias."""
    for product, vector in ((0, 1), (1, 0)):
        dense = links.made_by(addition.inputs[product], "FULLY_CONNECTED")
        bias = links.constant(addition.inputs[vector])
        if dense is None or bias is None or bias.dtype != np.float32:
            continue
        width = int(links.tensor(dense.inputs[1]).shape[0])
        is_sub = links.file.name(addition) == "SUB"
        if (is_sub and product) or bias.size != width or bias.shape[-1] != width:
            continue
        if (links.shape(dense.outputs[0]) is None) != (links.shape(addition.outputs[0]) is None):
            continue
        has_bias = len(dense.inputs) > 2 and dense.inputs[2] >= 0
        activated = dense.builtinOptions.fusedActivationFunction
        if has_bias or activated or not links.only_read_by(dense.outputs[0], addition):
            continue
        bias = bias.reshape(-1)
        number = links.add("bias", (width,), "FLOAT32", -bias if is_sub else bias)
        dense.inputs = np.array([*dense.inputs[:2], number], "int32")
        options = addition.builtinOptions
        dense.builtinOptions.fusedActivationFunction = options.fusedActivationFunction
        _take_over(links, dense, addition)
        return


def _take_over(links, dense, addition):
    """Let ``dense`` give what ``addition`` gave."""
    before, after = links.shape(dense.outputs[0]), links.shape(addition.outputs[0])
    if before == after:
        dense.outputs = addition.outputs
    else:
        links.reshape(addition, int(dense.outputs[0]), int(addition.outputs[0]), after)
    links.remove(addition)
    links.refresh()


def _multiply_and_sum(links, product):
    """A product of computed matrices of which one is a single row or column, element by element.

    ``(…, M, K) x (…, K, 1)`` and ``(…, 1, K) x (…, K, N)``: the attention of one token.
    """
    left, right = (int(i) for i in product.inputs)
    shapes = [links.shape(left), links.shape(right)]
    options, output = product.builtinOptions, int(product.outputs[0])
    dtypes = {links.file.dtype(links.tensor(i)) for i in (left, right)}
    if None in shapes or options.adjX or dtypes != {"FLOAT32"}:
        return
    if shapes[0][:-2] != shapes[1][:-2]:
        return
    if any(links.file.raw(links.tensor(i)) is not None for i in (left, right)):
        return
    rows, inner = shapes[0][-2:]
    columns = shapes[1][-2 if options.adjY else -1]
    # The axis of the matrix over which to sum, and the vector in the shape that fits it.
    if columns == 1:
        matrix, vector, axis, turned = left, right, -1, [*shapes[1][:-2], 1, inner]
    elif rows == 1 and not options.adjY:
        matrix, vector, axis, turned = right, left, -2, [*shapes[0][:-2], inner, 1]
    else:
        return
    whole = links.shape(matrix)
    if links.shape(vector) != turned:
        flat = links.add("turned", turned, "FLOAT32")
        links.reshape(product, vector, flat, turned)
        vector = flat
    terms = links.add("terms", whole, "FLOAT32")
    multiply = links.insert_before(product, "MUL", 1, [matrix, vector], [terms])
    multiply.builtinOptionsType = schema().BuiltinOptions.MulOptions
    multiply.builtinOptions = schema().MulOptionsT()
    axes = links.add("axis", (1,), "INT32", np.array([len(whole) + axis], "int32"))
    total = links.insert_before(product, "SUM", 1, [terms, axes], [output])
    total.builtinOptionsType = schema().BuiltinOptions.ReducerOptions
    total.builtinOptions = schema().ReducerOptionsT()
    total.builtinOptions.keepDims = True
    links.remove(product)
    links.refresh()
