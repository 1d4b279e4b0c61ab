"""Reading and writing the tensors of a safetensors checkpoint, one at a time."""

from pathlib import Path

import numpy as np

from keraslm._files.facts import read_json

INDEX = "model.safetensors.index.json"
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5")


class Checkpoint:
    """The tensors in ``model.safetensors``, or in its shards.

    Args:
        folder: its ``Path``.

    Raises:
        FileNotFoundError: no such file, or a shard is missing.
        ValueError: a damaged file, or one that leads out of the folder.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.file_of: dict[str, Path] = {}
        self._stored: dict[str, str] = {}  # where a wrapper's words are in front, the whole name
        self._open_file = self._reader = None
        for file in self._files():
            try:
                with self._open(file) as tensors:
                    self.file_of.update(dict.fromkeys(tensors.keys(), file))
            except Exception as error:  # safetensors names what is wrong, in several classes
                raise ValueError(f"{file} is damaged: {error}. Get it again.") from error
        self._unwrap()

    def _unwrap(self):
        """Names without what torch.compile and DataParallel put into them."""
        plain = {name: name.replace("_orig_mod.", "") for name in self.file_of}
        if all(name.startswith("module.") for name in plain.values()):
            plain = {stored: name.removeprefix("module.") for stored, name in plain.items()}
        self._stored = {name: stored for stored, name in plain.items()}
        if len(self._stored) != len(plain):
            raise ValueError(f"{self.folder} holds some tensors twice, with and without _orig_mod.")
        self.file_of = {name: self.file_of[stored] for name, stored in self._stored.items()}

    def _files(self):
        single = self.folder / "model.safetensors"
        if single.is_file():
            return [single]
        index = self.folder / INDEX
        if not index.is_file():
            pickle = next((n for n in PICKLES if (self.folder / n).is_file()), None)
            if pickle is None:
                raise FileNotFoundError(f"{self.folder} has no model.safetensors.")
            raise ValueError(
                f"{self.folder / pickle} is not read: loading a pickle can run any program. "
                "Convert it where you trust it: transformers' model.save_pretrained(folder) "
                "writes model.safetensors."
            )
        try:
            names = set(read_json(index)["weight_map"].values())
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ValueError(f"{index} is damaged: {error!r}.") from error
        for name in sorted(names):
            if not isinstance(name, str) or Path(name).name != name:
                raise ValueError(f"{index} names a file outside its folder: {name!r}.")
            if not (self.folder / name).is_file():
                raise FileNotFoundError(f"{self.folder} lacks the shard {name}.")
        return [self.folder / name for name in sorted(names)]

    @staticmethod
    def _open(file):
        from safetensors import safe_open

        return safe_open(file, framework="numpy")

    def names(self):
        """Names of all tensors."""
        return set(self.file_of)

    def shape(self, name):
        """Shape of a tensor."""
        tensors = self._tensors(self.file_of[name])
        return tuple(tensors.get_slice(self._stored[name]).get_shape())

    def read(self, name):
        """A tensor, float32 for bfloat16 and float16."""
        tensor = self._tensors(self.file_of[name]).get_tensor(self._stored[name])
        small = tensor.dtype.itemsize < 4 and tensor.dtype.kind not in "iub"
        return tensor.astype(np.float32) if small else tensor

    def _tensors(self, file):
        """The open file; the shards before it are closed."""
        if self._open_file != file:
            self._open_file, self._reader = file, self._open(file)
        return self._reader
