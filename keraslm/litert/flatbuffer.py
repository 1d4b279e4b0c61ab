"""A ``.tflite`` as Python objects: its operations, its constants, and writing it back small."""

import collections
import functools
import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


@functools.cache
def schema():
    """LiteRT's flatbuffer classes, imported when first used."""
    from ai_edge_litert import schema_py_generated

    return schema_py_generated


@functools.cache
def _names(enum):
    """Number → name of a flatbuffer enum, such as ``"TensorType"``."""
    return {v: k for k, v in vars(getattr(schema(), enum)).items() if isinstance(v, int)}


# How constants are stored, for NumPy. INT4 holds two numbers a byte, the first in the low half.
DTYPES = {"FLOAT32": "float32", "FLOAT16": "float16", "INT8": "int8", "INT32": "int32",
          "INT64": "int64", "BOOL": "bool", "UINT8": "uint8"}  # fmt: skip


class Constant(NamedTuple):
    """A tensor that is stored in the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    num_bytes: int

    @property
    def float32_bytes(self) -> int:
        """What it takes unquantised."""
        is_weight = self.dtype.startswith(("float", "int8", "int4"))
        return 4 * int(np.prod(self.shape)) if is_weight else self.num_bytes


class LiteRTFile:
    """The parts of a ``.tflite``.

    Args:
        content: the file's bytes.

    Raises:
        ValueError: not a ``.tflite``.

    Example:
        >>> from pathlib import Path
        >>> file = LiteRTFile(Path("saved_models/mine/model.tflite").read_bytes())
        >>> "FULLY_CONNECTED" in file.operations()
        True
    """

    def __init__(self, content: bytes) -> None:
        if len(content) < 8 or bytes(content[4:8]) != b"TFL3":
            raise ValueError("This is not a .tflite file: it does not start as one.")
        try:
            root = schema().Model.GetRootAs(bytearray(content), 0)
            self.model = schema().ModelT.InitFromObj(root)
        except Exception as error:  # whatever a damaged offset makes of it
            raise ValueError(f"This .tflite file is damaged: {error}.") from error
        for buffer in self.model.buffers:  # large files keep their data behind the flatbuffer
            if buffer.offset > 1:
                data = content[buffer.offset : buffer.offset + buffer.size]
                if len(data) != buffer.size:
                    raise ValueError("This .tflite file is damaged: its end is missing.")
                buffer.data = np.frombuffer(data, "uint8")
                buffer.offset = buffer.size = 0

    # === Operations ===

    def name(self, operation: Any) -> str:
        """``"FULLY_CONNECTED"``, …; ``"custom:NAME"`` for what is not built in."""
        code = self.model.operatorCodes[operation.opcodeIndex]
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        name = _names("BuiltinOperator")[number]
        return f"custom:{code.customCode.decode()}" if name == "CUSTOM" else name

    def operations(self, signature: str | None = None) -> collections.Counter[str]:
        """How often each operation occurs, in all or in the graph of one signature."""
        graphs = self.model.subgraphs
        if signature is not None:
            graphs = [graphs[self.signatures()[signature]]]
        return collections.Counter(
            self.name(operation) for graph in graphs for operation in graph.operators or ()
        )

    def signatures(self) -> dict[str, int]:
        """Number of the graph of each signature."""
        return {d.signatureKey.decode(): d.subgraphIndex for d in self.model.signatureDefs or ()}

    def code(self, name: str, version: int) -> int:
        """Index of an operation code, added if it is not there."""
        number = getattr(schema().BuiltinOperator, name)
        for i, code in enumerate(self.model.operatorCodes):
            if max(code.builtinCode, code.deprecatedBuiltinCode) == number:
                code.version = max(code.version, version)
                return i
        code = schema().OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode = number, min(number, 127)
        code.version = version
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1

    # === Tensors ===

    def dtype(self, tensor: Any) -> str:
        """``"FLOAT32"``, ``"INT8"``, …"""
        return _names("TensorType")[tensor.type]

    def raw(self, tensor: Any) -> np.ndarray | None:
        """The bytes of a constant, uint8; ``None`` if the tensor is computed."""
        data = self.model.buffers[tensor.buffer].data
        return None if data is None or not len(data) else np.asarray(data, "uint8")

    def constant(self, tensor: Any) -> np.ndarray | None:
        """A constant's values in its shape; ``None`` if it is computed, or of less than a byte."""
        data, dtype = self.raw(tensor), DTYPES.get(self.dtype(tensor))
        if data is None or dtype is None:
            return None
        return data.view(dtype).reshape(tensor.shape)

    def set_constant(self, tensor: Any, values: np.ndarray) -> None:
        """Give a tensor other values, in a buffer of its own."""
        buffer = schema().BufferT()
        buffer.data = np.ascontiguousarray(values).reshape(-1).view("uint8")
        self.model.buffers.append(buffer)
        tensor.buffer = len(self.model.buffers) - 1

    def add_tensor(
        self,
        graph: Any,
        name: str,
        shape: Sequence[int] | np.ndarray,
        dtype: str,
        values: np.ndarray | None = None,
    ) -> int:
        """Number of a new tensor in a graph."""
        tensor = schema().TensorT()
        tensor.name, tensor.shape = name.encode(), np.asarray(shape, "int32")
        tensor.type = getattr(schema().TensorType, dtype)
        if values is not None:
            self.set_constant(tensor, values)
        graph.tensors.append(tensor)
        return len(graph.tensors) - 1

    def sizes(self) -> dict[str, int]:
        """What the file's bytes are: bytes of the constants by dtype, each buffer once."""
        by_dtype: collections.Counter = collections.Counter()
        for constant in self.constants():
            by_dtype[constant.dtype] += constant.num_bytes
        return dict(by_dtype)

    def constants(self) -> list[Constant]:
        """Every stored `Constant` once, the largest first."""
        seen = {}
        for graph in self.model.subgraphs:
            for tensor in graph.tensors:
                data = self.raw(tensor)
                if data is not None and tensor.buffer not in seen:
                    seen[tensor.buffer] = Constant(
                        (tensor.name or b"").decode(errors="replace"),
                        self.dtype(tensor).lower(),
                        tuple(int(n) for n in tensor.shape),
                        len(data),
                    )
        return sorted(seen.values(), key=lambda constant: -constant.num_bytes)

    # === Writing ===

    def add_metadata(self, name: str, part: Any, identifier: bytes) -> None:
        """Keep a flatbuffer of another schema in the file."""
        import flatbuffers

        builder = flatbuffers.Builder(1024)
        builder.Finish(part.Pack(builder), identifier)
        self.add_note(name, bytes(builder.Output()))

    def add_note(self, name: str, content: bytes) -> None:
        """Keep bytes in the file, under a name."""
        entry = schema().MetadataT()
        entry.name = name
        self.set_constant(entry, np.frombuffer(content, "uint8"))
        self.model.metadata = [*(self.model.metadata or []), entry]

    def to_bytes(self) -> bytes:
        """The file, without what no operation uses, every constant once, every name once."""
        for number, graph in enumerate(self.model.subgraphs):
            place = _drop_unused(graph)
            for signature in self.model.signatureDefs or ():
                if signature.subgraphIndex == number:
                    for named in (*signature.inputs, *signature.outputs):
                        named.tensorIndex = place[named.tensorIndex]
        self._merge_buffers()
        self._make_names_unique()
        self._drop_codes()
        import flatbuffers

        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _merge_buffers(self):
        model = self.model
        users = [t for graph in model.subgraphs for t in graph.tensors] + (model.metadata or [])
        kept, place, seen = [schema().BufferT()], {}, {}
        for user in users:
            old = model.buffers[user.buffer]
            if old.data is None or not len(old.data):
                user.buffer = 0
                continue
            if user.buffer not in place:
                data = np.asarray(old.data, "uint8")
                digest = hashlib.sha256(data.data).digest()
                if digest not in seen:
                    seen[digest] = len(kept)
                    kept.append(old)
                place[user.buffer] = seen[digest]
            user.buffer = place[user.buffer]
        model.buffers = kept

    def _make_names_unique(self):
        """Number the tensors that share a name: other tools find tensors by it.

        Only a constant that several graphs hold has one name in all of them.
        """
        taken: dict[bytes, int] = {}  # name → buffer
        for graph in self.model.subgraphs:
            here: set[bytes] = set()
            ends = [int(i) for i in (*graph.inputs, *graph.outputs)]  # these keep theirs
            for number in dict.fromkeys([*ends, *range(len(graph.tensors))]):
                tensor = graph.tensors[number]
                own = name = tensor.name or b"tensor"
                count = 0
                # A computed tensor has the buffer 0.
                while name in here or (name in taken and taken[name] != (tensor.buffer or None)):
                    count += 1
                    name = own + b"_%d" % count
                tensor.name = name
                taken[name] = tensor.buffer
                here.add(name)

    def _drop_codes(self):
        model = self.model
        operations = [o for graph in model.subgraphs for o in graph.operators or ()]
        used = sorted({o.opcodeIndex for o in operations})
        place = {old: new for new, old in enumerate(used)}
        model.operatorCodes = [model.operatorCodes[i] for i in used]
        for operation in operations:
            operation.opcodeIndex = place[operation.opcodeIndex]


def write_once(part):
    """Have a part that several tables name be written once to a file."""
    pack = part.Pack
    written: dict[str, Any] = {}

    def packed(builder):
        if written.get("builder") is not builder:
            written.update(builder=builder, place=pack(builder))
        return written["place"]

    part.Pack = packed
    return part


def _drop_unused(graph):
    """Drop operations whose results nobody reads, then tensors that nobody names.

    Returns:
        the new number of each tensor.
    """
    wanted = {int(i) for i in graph.outputs}
    alive = []
    for operation in reversed(graph.operators or []):
        if wanted & {int(i) for i in operation.outputs} or not len(operation.outputs):
            wanted |= {int(i) for i in operation.inputs}
            alive.append(operation)
    graph.operators = alive[::-1]
    used = wanted | {int(i) for i in graph.inputs}
    for operation in graph.operators:
        used |= {int(i) for i in operation.outputs}
    blockwise = [d for i in used - {-1} if (d := _block_details(graph.tensors[i])) is not None]
    used |= {details.scales for details in blockwise}
    order = sorted(used - {-1})
    place = {old: new for new, old in enumerate(order)} | {-1: -1}

    def moved(numbers):
        return np.array([place[int(i)] for i in numbers], "int32")

    for details in blockwise:
        details.scales = place[details.scales]
    graph.tensors = [graph.tensors[i] for i in order]
    graph.inputs, graph.outputs = moved(graph.inputs), moved(graph.outputs)
    for operation in graph.operators:
        operation.inputs, operation.outputs = moved(operation.inputs), moved(operation.outputs)
    return place


def _block_details(tensor):
    """Where the scales of a tensor stand that is quantised in blocks; else ``None``."""
    parameters = tensor.quantization
    if parameters is None:
        return None
    blockwise = schema().QuantizationDetails.BlockwiseQuantization
    return parameters.details if parameters.detailsType == blockwise else None
