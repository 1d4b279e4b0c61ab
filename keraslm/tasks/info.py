"""What a model on disk is, without loading it."""

import math
import re
from pathlib import Path
from typing import Any, NamedTuple

from keraslm._files.facts import read_dict
from keraslm._types import StrPath

# Bytes of a weight by how it is kept; int4 has a scale for every 32.
DTYPES = {"float32": 4.0, "bfloat16": 2.0, "int8": 1.0, "int4": 0.5625}


class Info(NamedTuple):
    """What `info` finds.

    Attributes:
        path: the folder.
        kind: ``"keraslm bundle"`` or ``"Hugging Face (MODEL_TYPE)"``.
        task: class that `from_pretrained` gives, or ``None`` if it is only a model.
        architecture: fields of `keraslm.models.TransformerConfig`.
        parameters: number of weights, as stored.
        cache_bytes: of a decoder, bytes that one token adds to the cache, in float32.
        tokenizer: its kind and size, or ``None``.
        licence: as the card gives it, or ``None``.
        files: name → bytes.

    Example:
        >>> found = info("demo")
        >>> found.task, found.parameters
        ('TextGenerator', 889984)
    """

    path: Path
    kind: str
    task: str | None
    architecture: dict[str, Any]
    parameters: int
    cache_bytes: int
    tokenizer: str | None
    licence: str | None
    files: dict[str, int]

    @property
    def memory(self) -> dict[str, int]:
        """Bytes of the weights by dtype."""
        return {dtype: int(self.parameters * size) for dtype, size in DTYPES.items()}

    def __str__(self):
        a = self.architecture
        attention = f"{a['num_heads']} heads"
        if a["num_kv_heads"] != a["num_heads"]:
            attention += f" ({a['num_kv_heads']} of keys and values)"
        memory = ", ".join(f"{dtype} {_size(n)}" for dtype, n in self.memory.items())
        if self.cache_bytes:
            memory += f"; cache {_size(self.cache_bytes)} a token (float32)"
        rows = {
            "kind": self.kind,
            "task": self.task or "none: load it with keraslm.interop.load_huggingface",
            "network": f"{'decoder' if a['causal'] else 'encoder'}, {a['num_layers']} blocks, "
            f"width {a['d_model']}, {attention}, feed-forward {a['ffn_dim']}",
            "details": f"{a['norm']} norm, {a['activation']}{', gated' if a['gated'] else ''}, "
            f"{a['positions']} positions, context {a['max_length']:,}, "
            f"{'tied' if a['tied'] else 'own'} output table",
            "parameters": f"{self.parameters:,}",
            "memory": memory,
            "tokenizer": self.tokenizer or "none",
            "licence": self.licence or "not named",
            "files": ", ".join(f"{name} {_size(n)}" for name, n in self.files.items()),
        }
        return "\n".join([str(self.path), *(f"  {key:<11} {value}" for key, value in rows.items())])


def info(path: StrPath, *, revision: str | None = None, offline: bool = False) -> Info:
    """Tell what a model is: architecture, size, tokenizer, licence, files.

    Args:
        path, revision, offline: as in `keraslm.from_pretrained`.

    Returns:
        an `Info`; ``print`` it.

    Raises:
        FileNotFoundError, ValueError: as `keraslm.from_pretrained`.

    Example:
        >>> print(keraslm.tasks.info("demo"))
    """
    from keraslm.interop.folders import is_huggingface
    from keraslm.interop.hub import find

    folder = find(path, revision, offline)
    describe = _huggingface if is_huggingface(folder) else _bundle
    kind, task, config = describe(folder)
    cache = 0
    if config.causal:
        cache = 2 * 4 * config.num_layers * config.num_kv_heads * config.head_dim
    files = {str(f.relative_to(folder)): f.stat().st_size for f in sorted(folder.rglob("*"))
             if f.is_file()}  # fmt: skip
    return Info(
        folder, kind, task, config.to_dict(), _parameters(folder), cache, _tokenizer(folder),
        _licence(folder), files,
    )  # fmt: skip


def _bundle(folder):
    from keraslm import models
    from keraslm.tasks import bundle

    config = bundle.read_config(folder)
    fields = config["model"]["config"]
    builder = getattr(models, config["model"]["class"])
    names = models.TransformerConfig.field_names()
    try:
        shape = builder.make_config(**{name: fields[name] for name in names if name in fields})
    except TypeError as error:
        raise ValueError(f"{folder / 'config.json'} is damaged: {error}") from error
    return "keraslm bundle", config["task"], shape


def _huggingface(folder):
    from keraslm import models
    from keraslm.interop.configs import family_of, head_of, our_fields
    from keraslm.tasks.table import TASK_OF_HEAD

    where = folder / "config.json"
    config = read_dict(where)
    family = family_of(config, where)
    shape = getattr(models, family.builder).make_config(**our_fields(family, config, where))
    is_sentences = (folder / "modules.json").is_file()
    task = TASK_OF_HEAD.get(None if is_sentences else head_of(family, config, where))
    task = task and task.__name__
    return f"Hugging Face ({config['model_type']})", task, shape


def _parameters(folder):
    """Number of weights; headers are read, tensors are not."""
    from keraslm.interop.checkpoint import Checkpoint

    checkpoint = Checkpoint(folder)
    return sum(math.prod(checkpoint.shape(name)) for name in checkpoint.names())


def _tokenizer(folder):
    from keraslm.interop.folders import is_huggingface
    from keraslm.interop.tokenizer_files import load_tokenizer
    from keraslm.tokenizers.tokenizer import Tokenizer

    tokenizer = load_tokenizer(folder) if is_huggingface(folder) else Tokenizer.load(folder)
    if tokenizer is None:
        return None
    special = ", ".join(tokenizer.special_tokens) or "none"
    source = {
        "trained": "trained by keraslm", "files": "as the files state",
        "names": "guessed from their names",
    }[tokenizer.roles.source]  # fmt: skip
    return f"{tokenizer.kind}, {tokenizer.vocab_size:,} tokens; special: {special}; roles {source}"


def _licence(folder):
    """From the card: Hugging Face's front matter, or the row of our table."""
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    found = re.search(r"^license: *(.+)$|^\| licence \| *(.+?) *\|$", text, re.MULTILINE)
    if found:
        return (found[1] or found[2]).strip()
    return next((f.name for f in sorted(folder.glob("LICENSE*"))), None)


def _size(number):
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} GB"
