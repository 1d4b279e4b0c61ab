"""What a ``.tflite`` of ours says that its signatures cannot: a note inside it.

A note is metadata of the file, JSON under a name of its own; other programs pass over it.
"""

import dataclasses
import json
import mmap
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from keraslm._types import StrPath
from keraslm.litert.flatbuffer import LiteRTFile, schema

Note = TypeVar("Note", bound="DecoderNote | EncoderNote")


@dataclasses.dataclass(frozen=True)
class DecoderNote:
    """What the runtime must know of a model with a step function.

    Args:
        max_length: tokens of prompt and continuation together.
    """

    NAME: ClassVar[str] = "keraslm.decoder"

    max_length: int


@dataclasses.dataclass(frozen=True)
class EncoderNote:
    """What the runtime must know about the inputs of a model without a step function.

    Args:
        inputs: their names, in the order of the model (a file sorts them).
        optional: those that are zeros if they are not given.
        padded: those that may be filled up with zeros on the right, because the model does not
            read padding.
    """

    NAME: ClassVar[str] = "keraslm.encoder"

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


def add_note(file: LiteRTFile, note: DecoderNote | EncoderNote) -> None:
    """Keep a note in a file."""
    file.add_note(note.NAME, json.dumps(dataclasses.asdict(note)).encode())


def read_note(path: StrPath, kind: type[Note]) -> Note | None:
    """The note of a kind in a file, or ``None``. Reads nothing else of the file."""
    with (
        Path(path).open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        model = schema().Model.GetRootAs(content, 0)
        for i in range(model.MetadataLength()):
            entry = model.Metadata(i)
            if entry.Name() == kind.NAME.encode():
                content_of = _content(model.Buffers(entry.Buffer()), content)
                fields: Any = json.loads(bytes(content_of)).items()
                made: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in fields}
                return kind(**made)
    return None


def _content(buffer, content):
    if buffer.Offset() > 1:  # large files keep their data behind the flatbuffer
        return content[buffer.Offset() : buffer.Offset() + buffer.Size()]
    return buffer.DataAsNumpy().tobytes()
