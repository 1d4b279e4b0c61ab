"""Running the ``.tflite`` of a model without a step function in LiteRT, from Python."""

from typing import Any, NamedTuple

import numpy as np

from keraslm._files import checked_path
from keraslm._types import StrPath
from keraslm.litert.conversion import quiet
from keraslm.litert.notes import EncoderNote, read_note
from keraslm.runtimes.compiled import Signature, compiled

MASK = "padding_mask"


class FileInput(NamedTuple):
    """One input of a file: its shape, -1 where any length will do, and its dtype."""

    shape: tuple[int, ...]
    dtype: str


class LiteRTEncoder:
    """An encoder's ``.tflite``, written by `keraslm.export.tflite`, in the LiteRT runtime.

    Args:
        path: the file.
        num_threads: threads of the runtime.

    Attributes:
        inputs: name → `FileInput`, in the order of the model's own inputs, which is that of
            positional arguments.
        input_names: the same names, sorted.
        lengths: the lengths that the file takes, or ``()``: any.
        max_length: the largest of them, or ``None``.
        note: the `EncoderNote` of the file, or what its names suggest.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file.

    Example:
        >>> model = keraslm.models.BERT(vocab_size=100, num_layers=1, d_model=16, num_heads=2,
        ...                             head="classifier", num_classes=3)
        >>> model = LiteRTEncoder(keraslm.export.tflite(model, "saved_models/classifier"))
        >>> tuple(model([7, 8, 9]).shape)
        (1, 3)
    """

    def __init__(self, path: StrPath, num_threads: int = 2) -> None:
        path = checked_path(path)
        model = compiled(path, num_threads)
        names = list(model.get_signature_list())
        self._by_length = {
            int(name.removeprefix("encode_")): Signature(model, name)
            for name in sorted(names, key=lambda name: (len(name), name))
            if name.startswith("encode_")
        }
        if not self._by_length and "encode" not in names:
            raise ValueError(f"{path} has no 'encode' signature; it has {sorted(names)}.")
        self._dynamic: Any = None if self._by_length else _any_length(path, num_threads)
        self.lengths = tuple(self._by_length)
        self.max_length = max(self.lengths, default=None)
        found = self._shapes(self.max_length)
        self.input_names = sorted(found)
        self.note = read_note(path, EncoderNote) or EncoderNote.of_names(self.input_names)
        self.inputs = {name: found[name] for name in self.note.inputs}

    def _shapes(self, length: int | None) -> dict[str, FileInput]:
        """The inputs of the signature of a length."""
        if self._dynamic is not None or length is None:
            details = self._dynamic.get_input_details()
            return {
                name: FileInput(
                    tuple(int(n) for n in (d.get("shape_signature", ()), d["shape"])[
                        not len(d.get("shape_signature", ()))]), np.dtype(d["dtype"]).name,
                )
                for name, d in details.items()
            }  # fmt: skip
        return {
            name: FileInput(tuple(int(n) for n in d["shape"]), np.dtype(d["dtype"]).name)
            for name, d in self._by_length[length].details.items()
        }

    def __call__(self, *values: Any, **named: Any) -> Any:
        """The output of one example or of a batch.

        Args:
            values: inputs in the order of `inputs`, or one dict of them. Each is an array or list
                as the model takes it, ``(batch, seq)`` say, or without the batch: ``(seq,)``. A
                batch may be a list of lists of different lengths.
            named: inputs by name. A ``padding_mask`` that is not given is made here: 1 for each
                token that is. ``token_types`` that are not given are 0.

        Returns:
            float32 or int32 ``(batch, …)``, with a batch of 1 for one example; of several outputs
            a dict. Shorter inputs are padded with 0 on the right to the next length of the file,
            and outputs ``(batch, seq, …)`` have that length.

        Raises:
            ValueError: an input is missing, unknown, too long, or of another shape; or it is
                shorter than the file's, and the model would read the padding as text.
        """
        rows = self._rows(self._given(values, named))
        count = len(next(iter(rows.values())))
        length = self._length(rows)
        shapes = self._shapes(length)
        if self._dynamic is not None or length is None:
            arrays = {name: _stacked(found, shapes[name]) for name, found in rows.items()}
            outputs = self._dynamic(**arrays)
        else:
            signature = self._by_length[length]
            singles = []
            for i in range(count):
                signature(**{n: _stacked(found[i : i + 1], shapes[n]) for n, found in rows.items()})
                singles.append({name: signature.output(name) for name in signature.results})
            outputs = {name: np.concatenate([one[name] for one in singles]) for name in singles[0]}
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs

    # === Inputs ===

    def _given(self, values: tuple, named: dict[str, Any]) -> dict[str, Any]:
        """What was given, by name."""
        names = list(self.inputs)
        if len(values) == 1 and isinstance(values[0], dict):
            named, values = {**values[0], **named}, ()
        if len(values) > len(names):
            raise ValueError(
                f"The file takes {len(names)} inputs, {', '.join(names)}; received {len(values)}."
            )
        given = dict(zip(names, values, strict=False))
        for name, value in named.items():
            if name not in names:
                raise ValueError(f"No input is called {name!r}. The file takes {', '.join(names)}.")
            if name in given:
                raise ValueError(f"{name} is given twice, by its place and by its name.")
            given[name] = value
        missing = [n for n in names if n not in given and n not in (MASK, *self.note.optional)]
        if missing:
            raise ValueError(
                f"The input {missing[0]!r} is missing. The file takes {', '.join(names)}, in this "
                "order or by name."
            )
        return given

    def _rows(self, given: dict[str, Any]) -> dict[str, list[np.ndarray]]:
        """Each input as a list of examples without the batch axis."""
        rows = {name: _examples(name, value, self.inputs[name]) for name, value in given.items()}
        first = next((n for n in rows if n == "token_ids"), next(iter(rows), None))
        if first is None:
            raise ValueError(f"No input was given. The file takes {', '.join(self.inputs)}.")
        for name in self.inputs:
            if name not in rows:
                rows[name] = [np.full(row.shape[:1], name == MASK, "int32") for row in rows[first]]
            if len(rows[name]) != len(rows[first]):
                raise ValueError(
                    f"{name} has {len(rows[name])} examples and {first} has {len(rows[first])}."
                )
        for name in (MASK, *self.note.optional):  # one number for each token
            for row, tokens in zip(rows.get(name, ()), rows[first], strict=False):
                if row.shape[:1] != tokens.shape[:1]:
                    raise ValueError(
                        f"{name} has {len(row)} values and {first} has {len(tokens)}. Give one for "
                        "each token."
                    )
        if not rows[first]:
            raise ValueError(f"{first} has no examples. Give one at least.")
        return {name: rows[name] for name in self.inputs}

    def _length(self, rows: dict[str, list[np.ndarray]]) -> int | None:
        """The shortest length of the file that takes these examples; ``None``: any.

        Raises:
            ValueError: there is none.
        """
        for length in sorted(self._by_length):
            problems = self._problems(rows, self._shapes(length))
            if not problems:
                return length
            if length == self.max_length:
                raise ValueError(self._refusal(rows, *problems[0]))
        if problems := self._problems(rows, self._shapes(None)):
            raise ValueError(self._refusal(rows, *problems[0]))
        return None

    def _problems(self, rows, shapes) -> list[tuple[str, tuple[int, ...], tuple[int, ...]]]:
        """Inputs that do not fit: name, shape of the example, shape that the file takes."""
        found = []
        for name, examples in rows.items():
            target = shapes[name].shape[1:]
            longest = max(len(row) for row in examples) if target else 0
            for row in examples:
                fits = all(n in (-1, m) for n, m in zip(target[1:], row.shape[1:], strict=True))
                if target:
                    padded = name in self.note.padded
                    room = longest if target[0] == -1 else target[0]
                    fits &= len(row) <= room if padded else len(row) == room
                    fits &= len(row) > 0
                if not fits:
                    found.append((name, row.shape, target))
        return found

    def _refusal(self, rows, name: str, shape: tuple[int, ...], target: tuple[int, ...]) -> str:
        number, limit = shape[0], target[0]
        if shape[1:] != target[1:] and any(n not in (-1, m) for n, m in zip(
                target[1:], shape[1:], strict=True)):  # fmt: skip
            return f"{name} must have the shape (batch, {_text(target)}); an example has {shape}."
        if not number:
            return f"{name} has no tokens. Give one at least."
        if limit != -1 and number > limit:
            return (
                f"The text has {number} tokens, more than the {limit} that the file takes for "
                f"{name}. Shorten it, or export with larger lengths."
            )
        if limit == -1:
            lengths = sorted({len(row) for row in rows[name]})
            return (
                f"The examples of {name} have different lengths, {lengths}, and the model would "
                "read padding as text: it has neither a padding_mask nor mask_zero. Run texts of "
                "one length at once."
            )
        takes = " or ".join(str(n) for n in sorted({
            self._shapes(n)[name].shape[1] for n in self.lengths}))  # fmt: skip
        return (
            f"{name} has {number} values and the file takes {takes}. They are not padded, because "
            "the model would read padding as text: it has neither a padding_mask nor mask_zero. "
            "Pad them as in training, or export with such a length."
        )


def _text(shape: tuple[Any, ...]) -> str:
    return ", ".join("any" if n == -1 else str(n) for n in shape)


def _examples(name: str, value: Any, wants: FileInput) -> list[np.ndarray]:
    """A batch, or one example, as a list of examples."""
    rank = len(wants.shape)
    ragged = isinstance(value, (list, tuple)) and value and all(
        isinstance(row, (list, tuple, np.ndarray)) for row in value)  # fmt: skip
    if ragged and rank > 1:
        rows = [_array(name, row, wants) for row in value]
        if all(row.ndim == rank - 1 for row in rows):
            return rows
    array = _array(name, value, wants)
    if array.ndim == rank - 1:
        return [array]
    if array.ndim == rank:
        return list(array)
    raise ValueError(
        f"{name} must have the shape ({_text(('batch', *wants.shape[1:]))}), or be one example of "
        f"it; received an array of shape {array.shape}."
    )


def _array(name: str, value: Any, wants: FileInput) -> np.ndarray:
    """Numbers as the file takes them."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} is no array: its rows have different shapes.") from error
    if array.dtype.kind not in "iubf":
        raise ValueError(
            f"{name} takes numbers, {wants.dtype}; received {type(value).__name__} of "
            f"{array.dtype}. Turn text into token ids with the model's tokenizer."
        )
    is_fractional = array.dtype.kind == "f" and not np.array_equal(array, np.rint(array))
    if is_fractional and np.dtype(wants.dtype).kind == "i":
        raise ValueError(f"{name} takes whole numbers; received {array.dtype} with fractions.")
    return array.astype(wants.dtype)


def _stacked(rows: list[np.ndarray], wants: FileInput) -> np.ndarray:
    """Examples as one array, padded with 0 on the right."""
    if len(wants.shape) == 1:
        return np.stack(rows)
    length = max(len(row) for row in rows) if wants.shape[1] == -1 else wants.shape[1]
    array = np.zeros((len(rows), length, *rows[0].shape[1:]), wants.dtype)
    for i, row in enumerate(rows):
        array[i, : len(row)] = row
    return array


def _any_length(path, num_threads):
    """The ``encode`` signature in LiteRT's interpreter, which allocates anew for each length."""
    from ai_edge_litert.interpreter import Interpreter

    with quiet():
        interpreter = Interpreter(model_path=str(path), num_threads=num_threads)
        return interpreter.get_signature_runner("encode")
