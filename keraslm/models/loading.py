"""Loading a ``.keras`` file."""

from pathlib import Path

import keras


def load(path):
    """Load a model saved with ``model.save("name.keras")``.

    ``keras.models.load_model`` does the same once keraslm is imported; this says what is wrong
    with the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a readable ``.keras`` file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"No model at {path}. Give a file saved with model.save(path).")
    try:
        return keras.models.load_model(path)
    except Exception as error:  # zipfile, json, h5py and keras errors alike
        raise ValueError(f"{path} is not a readable .keras file: {error}") from error
