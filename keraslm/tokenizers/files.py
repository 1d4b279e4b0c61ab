"""The files of a tokenizer: ``tokenizer.json`` and, beside it, ``tokenizer_config.json``."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keraslm._files import replaced_file
from keraslm._files.facts import read_dict, read_object
from keraslm.tokenizers.roles import Roles

ENGINE, ROLES = "tokenizer.json", "tokenizer_config.json"


def read(path: Path) -> tuple[Any, Roles | None]:
    """The engine and its stated roles, None if nothing states them; see `Tokenizer.load`."""
    file = path / ENGINE if path.is_dir() else path
    engine = read_engine(file)
    config = file.with_name(ROLES)
    if file.name != ENGINE or not config.is_file():
        return engine, None
    try:
        return engine, Roles.from_dict(read_dict(config))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{config} is damaged: {error}") from error


def read_engine(file: Path) -> Any:
    """The engine of a ``tokenizer.json``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is not a tokenizer.
    """
    import tokenizers

    if not file.is_file():
        raise FileNotFoundError(
            f"No tokenizer at {file}. Give a tokenizer.json or a folder that holds one."
        )
    try:
        return tokenizers.Tokenizer.from_str(file.read_text(encoding="utf-8"))
    except Exception as error:  # the engine raises bare Exception for malformed files
        raise ValueError(f"{file} is not a readable tokenizer.json: {error}") from error


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """The engine's own errors, which are bare Exceptions, as a ValueError."""
    try:
        yield
    except Exception as error:
        if type(error) is not Exception:
            raise
        raise ValueError(f"The tokenizer cannot {what}: {error}.") from error


def check_replaces(file: Path, engine: Any) -> None:
    """Raise an error if a file is something that a tokenizer must not replace.

    Raises:
        FileExistsError: it is no tokenizer.
        ValueError: it is of a bundle, whose model has other tokens.
    """
    if not file.is_file():
        return
    if "model" not in read_object(file) and file.name != ENGINE:
        raise FileExistsError(f"{file} is no tokenizer, and stays. Give another name.")
    is_bundle = "keraslm_version" in read_object(file.with_name("config.json"))
    if file.name == ENGINE and is_bundle and read_engine(file).get_vocab() != engine.get_vocab():
        raise ValueError(
            f"{file.parent} holds a model with other tokens, which could not read these. Save the "
            "tokenizer to another folder, or its own model there: lm.save(folder)."
        )


def write_roles(folder: Path, roles: Roles) -> None:
    """Write ``tokenizer_config.json``, whole or not at all."""
    text = json.dumps(roles.to_bundle(), indent=2, ensure_ascii=False) + "\n"
    with replaced_file(folder / ROLES) as new:
        new.write_text(text, encoding="utf-8")
