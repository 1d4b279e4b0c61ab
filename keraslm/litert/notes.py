"""What a ``.tflite`` of ours says about its inputs that its signatures cannot: a note inside it.

The note is metadata of the file, JSON under the name `NAME`; other programs pass over it.
"""

import dataclasses
import json
import mmap
from pathlib import Path

import numpy as np

from keraslm.litert.flatbuffer import LiteRTFile, schema

NAME = "keraslm.encoder"


@dataclasses.dataclass(frozen=True)
class EncoderNote:
    """What the runtime must know about the inputs of a model without a step function.

    Args:
        inputs: their names, in the order of the model (a file sorts them).
        optional: those that are zeros if they are not given.
        padded: those that may be filled up with zeros on the right, because the model does not
            read padding.
    """

    inputs: tuple[str, ...]
    optional: tuple[str, ...] = ()
    padded: tuple[str, ...] = ()

    @classmethod
    def of_names(cls, names) -> "EncoderNote":
        """The note of a file without one: only a ``padding_mask`` says that it may be padded."""
        known = [n for n in ("token_ids", "padding_mask", "token_types") if n in names]
        ordered = (*known, *sorted(set(names) - set(known)))
        optional = tuple(n for n in ("token_types",) if n in names)
        return cls(ordered, optional, ordered if "padding_mask" in names else ())


def add_note(file: LiteRTFile, note: EncoderNote) -> None:
    """Keep a note in a file."""
    text = json.dumps(dataclasses.asdict(note)).encode()
    entry = schema().MetadataT()
    entry.name = NAME
    file.set_constant(entry, np.frombuffer(text, "uint8"))
    file.model.metadata = [*(file.model.metadata or []), entry]


def read_note(path) -> EncoderNote | None:
    """The note of a file, or ``None``. Reads nothing else of the file."""
    with (
        Path(path).open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        model = schema().Model.GetRootAs(content, 0)
        for i in range(model.MetadataLength()):
            entry = model.Metadata(i)
            if entry.Name() == NAME.encode():
                fields = json.loads(bytes(_content(model.Buffers(entry.Buffer()), content)))
                return EncoderNote(**{name: tuple(value) for name, value in fields.items()})
    return None


def _content(buffer, content):
    if buffer.Offset() > 1:  # large files keep their data behind the flatbuffer
        return content[buffer.Offset() : buffer.Offset() + buffer.Size()]
    return buffer.DataAsNumpy().tobytes()
