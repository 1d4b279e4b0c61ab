"""Smaller weights in a ``.tflite``: float16, int8, int4.

Only constants of matrix products and of token tables are stored in another way; everything else
stays float32. One table that serves as embedding and as output head is stored once.

* ``"float16"``: half the size, the same text; computed in float32.
* ``"int8"``: 8 bits, a scale for each output; activations are quantised while running. A quarter
  of the size, and the fastest.
* ``"int8_weights"``: 8 bits, computed in float32.
* ``"int4"``: 4 bits, a scale for each 32 weights (tables: 8 bits, as in ``"int8"``).
"""

import numpy as np

from keraslm.litert.flatbuffer import LiteRTFile, schema, write_once
from keraslm.litert.rewriting import Links

KINDS = ("float16", "int8", "int8_weights", "int4")
SMALLEST = 1024  # fewer numbers are not worth it
BLOCK = 32
# Versions of the operations that know these weights.
DENSE_VERSION = {"int8": 12, "int4": 13}
LOOKUP_VERSION = 3


def check_kind(quantization):
    """Raise a ValueError for an unknown kind."""
    if quantization is not None and quantization not in KINDS:
        raise ValueError(f"quantization must be None or one of {KINDS}; received {quantization!r}.")


def quantize(content: bytes, kind: str) -> bytes:
    """Quantise the weights of a float32 ``.tflite``.

    Args:
        content: the file's bytes.
        kind: one of `KINDS`.

    Returns:
        the bytes of the smaller file.

    Raises:
        ValueError: an unknown kind, or not a ``.tflite``.

    Example:
        >>> from pathlib import Path
        >>> content = Path("saved_models/mine/model.tflite").read_bytes()
        >>> len(quantize(content, "int8")) < len(content)
        True
    """
    check_kind(kind)
    file = LiteRTFile(content)
    quantize_file(file, kind)
    return file.to_bytes()


def quantize_file(file: LiteRTFile, kind: str) -> None:
    """`quantize` on a `LiteRTFile`.

    Example:
        >>> from pathlib import Path
        >>> file = LiteRTFile(Path("saved_models/mine/model.tflite").read_bytes())
        >>> quantize_file(file, "int8")
        >>> sorted({constant.dtype for constant in file.constants()})
        ['float32', 'int32', 'int8']
    """
    store = _Store(file)
    for graph in file.model.subgraphs:
        links = Links(file, graph)
        tables = {
            int(o.inputs[1]) for o in graph.operators or () if file.name(o) == "EMBEDDING_LOOKUP"
        }
        for operation in list(graph.operators or ()):
            name = file.name(operation)
            if name not in ("FULLY_CONNECTED", "EMBEDDING_LOOKUP", "GATHER"):
                continue
            which = 0 if name == "GATHER" else 1
            number = int(operation.inputs[which])
            weights = links.constant(number)
            if weights is None or weights.dtype != np.float32 or weights.size < SMALLEST:
                continue
            if kind in ("float16", "int8_weights") or name == "GATHER":
                half = kind == "float16" or name == "GATHER"
                _expand(links, store, operation, which, "FLOAT16" if half else "INT8")
                continue
            in_blocks = kind == "int4" and not weights.shape[1] % BLOCK
            in_blocks &= not store.is_table(number, tables, links)
            if in_blocks:
                store.in_blocks(links, number)
                file.code(name, DENSE_VERSION["int4"])
            else:
                store.by_rows(links.tensor(number))
                file.code(name, DENSE_VERSION["int8"] if which and name == "FULLY_CONNECTED"
                          else LOOKUP_VERSION)  # fmt: skip


class _Store:
    """Quantised constants, each computed once however many graphs share its buffer."""

    def __init__(self, file):
        self.file = file
        self.done = {}
        # Buffers that some graph reads as a table keep 8 bits, so that the head shares them.
        self.tables = {
            graph.tensors[int(o.inputs[1])].buffer
            for graph in file.model.subgraphs
            for o in graph.operators or ()
            if file.name(o) == "EMBEDDING_LOOKUP"
        }

    def is_table(self, number, tables, links):
        return number in tables or links.tensor(number).buffer in self.tables

    def _once(self, tensor, kind, make):
        key = tensor.buffer, kind
        if key not in self.done:
            values, parameters = make(self.file.constant(tensor))
            self.file.set_constant(tensor, values)
            self.done[key] = tensor.buffer, parameters
        return self.done[key]

    def by_rows(self, tensor):
        """int8 with one scale a row."""
        tensor.buffer, tensor.quantization = self._once(tensor, "INT8", _int8_rows)
        tensor.type = schema().TensorType.INT8

    def halves(self, tensor):
        """float16."""
        tensor.buffer, _ = self._once(tensor, "FLOAT16", lambda w: (_float16(w), None))
        tensor.type = schema().TensorType.FLOAT16
        tensor.quantization = None

    def in_blocks(self, links, number):
        """int4 with one float16 scale for each `BLOCK` weights of a row."""
        tensor = links.tensor(number)
        tensor.buffer, scale = self._once(tensor, "INT4", _int4_blocks)
        tensor.type = schema().TensorType.INT4
        parameters = schema().QuantizationParametersT()
        parameters.detailsType = schema().QuantizationDetails.BlockwiseQuantization
        details = parameters.details = schema().BlockwiseQuantizationT()
        name = (tensor.name or b"").decode(errors="replace") + "_scales"
        details.scales = links.add(name, scale.shape, "FLOAT16", scale)
        details.zeroPoints, details.blockSize = -1, BLOCK
        tensor.quantization = parameters


def _expand(links, store, operation, which, dtype):
    """Store a weight small and let a DEQUANTIZE make it float32 when the file is loaded."""
    number = int(operation.inputs[which])
    readers = links.readers[number]
    if dtype == "INT8":  # a lookup reads the int8 rows themselves
        lookups = [o for o in readers if links.file.name(o) == "EMBEDDING_LOOKUP"]
        readers = [o for o in readers if o not in lookups]
        if lookups:
            links.file.code("EMBEDDING_LOOKUP", LOOKUP_VERSION)
    tensor = links.tensor(number)
    wide = links.add((tensor.name or b"").decode(errors="replace"), tensor.shape, "FLOAT32")
    store.halves(tensor) if dtype == "FLOAT16" else store.by_rows(tensor)
    if not readers:
        return
    links.insert_before(readers[0], "DEQUANTIZE", 5 if dtype == "INT8" else 3, [number], [wide])
    for reader in readers:
        reader.inputs = np.array([wide if i == number else i for i in reader.inputs], "int32")
    links.refresh()


def _int8_rows(weights):
    scale = np.abs(weights).max(axis=1) / 127
    scale = np.where(scale > 0, scale, 1).astype("float32")
    parameters = schema().QuantizationParametersT()
    parameters.scale, parameters.quantizedDimension = scale, 0
    parameters.zeroPoint = np.zeros(len(scale), "int64")
    values = np.clip(np.rint(weights / scale[:, None]), -127, 127).astype("int8")
    return values, write_once(parameters)


def _float16(weights):
    limit = np.finfo("float16").max  # larger weights would become infinite
    return np.clip(weights, -limit, limit).astype("float16")


def _int4_blocks(weights):
    rows, columns = weights.shape
    blocks = weights.reshape(rows, columns // BLOCK, BLOCK)
    scale = np.abs(blocks).max(axis=-1) / 7
    # The runtime keeps 8 bits of the scale's fraction: round as it does, then quantise.
    scale = _bfloat16(np.where(scale > 0, scale, 1)).astype("float16")
    values = np.clip(np.rint(blocks / scale[..., None].astype("float32")), -8, 7).astype("int8")
    values = values.reshape(-1) & 15
    return (values[0::2] | values[1::2] << 4).astype("uint8"), scale


def _bfloat16(values):
    import ml_dtypes

    return values.astype(ml_dtypes.bfloat16).astype("float32")
