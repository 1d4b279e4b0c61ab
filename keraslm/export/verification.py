"""Proof that an exported file gives what the Keras model gives, in its real runtime."""

import dataclasses
import hashlib
import json
from pathlib import Path

from keraslm._files import replaced_file
from keraslm.generation.config import GenerationConfig

PROMPT_LENGTHS = (1, 9, 130)
NEW_TOKENS = 32
LARGEST_DIFFERENCE = 1e-3
# Mean Kullback-Leibler divergence, in nats, above which a quantised file is not the same model.
LARGEST_KL = {"float16": 0.01, "int8": 0.1, "int8_weights": 0.1, "int4": 0.7}


@dataclasses.dataclass(frozen=True)
class Verification:
    """How an exported file compares with its Keras model.

    Args:
        target: ``"tflite"``, ``"litertlm"``, ``"saved_model"``, ``"web"`` or ``"mediapipe"``.
        prompts: number of prompts, or of inputs of an encoder.
        equal_tokens, tokens: how many are the same, of how many: greedy tokens of a decoder,
            texts of a SavedModel, likeliest classes of an encoder.
        max_difference: largest difference of a logit; ``None`` where logits are not given.
        num_bytes: size on disk.
        tokens_per_second: of decoding; ``None`` if not measured.
        operations: names of the operations in a ``.tflite``.
        quantization: how the weights are stored; ``None``: float32.
        kl: mean Kullback-Leibler divergence of the next token, Keras to file, in nats.
        bytes_by_dtype: of the constants in a ``.tflite``.
        perplexity, keras_perplexity: of a held-out text, by file and by Keras (``"full"``).
        prefill_ms: milliseconds to read a prompt of `PREFILL_TOKENS` tokens (``"full"``).
        peak_memory: bytes of a process that does nothing but generate (``"full"``).
    """

    target: str
    prompts: int
    equal_tokens: int
    tokens: int
    max_difference: float | None
    num_bytes: int
    tokens_per_second: float | None = None
    operations: tuple[str, ...] = ()
    quantization: str | None = None
    kl: float | None = None
    bytes_by_dtype: dict[str, int] = dataclasses.field(default_factory=dict)
    perplexity: float | None = None
    keras_perplexity: float | None = None
    prefill_ms: float | None = None
    peak_memory: int | None = None

    @property
    def passed(self) -> bool:
        """Whether it is the same model: exactly, or, if quantised, nearly."""
        if self.quantization is not None:
            return self.kl is None or self.kl <= LARGEST_KL[self.quantization]
        close = self.max_difference is None or self.max_difference < LARGEST_DIFFERENCE
        return self.equal_tokens == self.tokens and close

    def __str__(self):
        return ", ".join(
            f"{name} {value}" if name else value for name, value in self.rows() if value
        )

    def rows(self):
        """What to show: pairs of a name and a value."""
        what = {"saved_model": "texts", "mediapipe": "texts"}.get(self.target, "greedy tokens")
        yield "", "passed" if self.passed else "FAILED"
        yield (
            "",
            (f"{self.equal_tokens} of {self.tokens} {what} as in Keras ({self.prompts} prompts)"),
        )
        if self.quantization:
            yield "weights", self.quantization
        if self.max_difference is not None:
            yield "largest difference", f"{self.max_difference:.1e}"
        if self.kl is not None and self.quantization:
            yield "divergence", f"{self.kl:.1e} nats"
        yield "", f"{self.num_bytes / 1e6:.1f} MB"
        if self.perplexity is not None:
            yield "perplexity", f"{self.perplexity:.2f} (Keras {self.keras_perplexity:.2f})"
        if self.prefill_ms is not None:
            yield f"prompt of {PREFILL_TOKENS}", f"{self.prefill_ms:.1f} ms"
        if self.tokens_per_second is not None:
            yield "", f"{self.tokens_per_second:.0f} tokens/s"
        if self.peak_memory is not None:
            yield "peak memory", f"{self.peak_memory / 1e6:.0f} MB"

    def table(self):
        """The rows one below the other, with the bytes by dtype and the operations."""
        rows = [(name or "", value) for name, value in self.rows()]
        rows += [(f"{k} bytes", f"{v:,}") for k, v in sorted(self.bytes_by_dtype.items())]
        if self.operations:
            rows.append(("operations", " ".join(self.operations)))
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"  {name:<{width}}  {value}".rstrip() for name, value in rows)

    @classmethod
    def from_manifest(cls, path):
        """What ``manifest.json`` says of an export, or ``None``.

        Raises:
            ValueError: the file is not the one that was verified.
        """
        entry = manifest_entry(path)
        if entry is None or "verification" not in entry:
            return None
        return cls(
            **{**entry["verification"], "operations": tuple(entry["verification"]["operations"])}
        )


PREFILL_TOKENS = 32


def verify(path, lm, mode="quick", texts=None) -> Verification:
    """Compare an exported file with the Keras model, in its real runtime.

    Prompts of 1, 9 and 130 tokens (or what fits), written by the model itself, are continued
    greedily on both sides. A ``.tflite`` runs in LiteRT, a ``.litertlm`` in LiteRT-LM, a web
    folder in Chromium; a SavedModel is loaded in a fresh process.

    Args:
        path: the file or folder.
        lm: what it was made from: the `keraslm.tasks.TextGenerator`; for a ``.tflite`` a model
            will do, and for a SavedModel a `keraslm.models.BERT`.
        mode: ``"quick"``, or ``"full"``: for a ``.tflite`` also perplexity on a held-out text,
            the time to read a prompt, and memory.
        texts: the held-out text, a list of strings; default, the articles of the Wikipedia
            extract that `keraslm train` holds out.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: none of these, or ``manifest.json`` knows the file with another hash.

    Example:
        >>> print(keraslm.export.verify("saved_models/mine/model.tflite", lm))
    """
    path = Path(path)
    if mode not in ("quick", "full"):
        raise ValueError(f"mode must be 'quick' or 'full'; received {mode!r}.")
    if not path.exists():
        raise FileNotFoundError(f"No file or folder {path}. Export the model first.")
    manifest_entry(path)  # raises if the file was changed
    return _verify(path, lm, mode, texts)


def _verify(path, lm, mode="quick", texts=None):
    if (path / "saved_model.pb").is_file():
        from keraslm.export.verify_saved_model import verify_saved_model

        return verify_saved_model(path, lm)
    if (path / "model.tflite").is_file() and (path / "index.html").is_file():
        from keraslm.export.verify_web import verify_web

        return verify_web(path, lm)
    if path.is_file() and _starts_with(path, b"LITERTLM"):
        from keraslm.export.verify_litertlm import verify_litertlm

        return verify_litertlm(path, lm)
    if path.is_file():
        from keraslm.export.verify_tflite import verify_tflite

        return verify_tflite(path, lm, mode, texts)
    raise ValueError(
        f"{path} is neither a .tflite or .litertlm file nor a SavedModel or web folder."
    )


def _starts_with(path, magic):
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def prove(path, lm, name, mode="quick"):
    """Verify ``path``, which will be called ``name``.

    Raises:
        RuntimeError: the file is not equal.
    """
    result = _verify(path, lm, mode)
    if not result.passed:
        raise RuntimeError(
            f"The export {name} does not give what Keras gives, and was not kept: {result}."
        )
    return result


def manifest_entry(path):
    """What ``manifest.json`` says of an export; ``None`` if nothing.

    Raises:
        ValueError: the file has another hash than when it was exported.
    """
    path = Path(path)
    entry = _read_manifest(path.parent).get(path.name)
    wanted = entry.get("sha256") if isinstance(entry, dict) and path.is_file() else None
    if wanted and _digest(path) != wanted:
        raise ValueError(
            f"{path} is not the file that was exported: its hash differs from that in "
            "manifest.json. Export the model again."
        )
    return entry


def _read_manifest(folder):
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def write_manifest(path, result):
    """Note an export, which is in its place, in ``manifest.json`` of its folder.

    Without a result, what the manifest says of an earlier export of that name is dropped.
    """
    manifest = _read_manifest(path.parent)
    if result is None:
        if path.name not in manifest:
            return
        del manifest[path.name]
    else:
        manifest[path.name] = _entry(path, result)
    with replaced_file(path.parent / "manifest.json") as new:
        new.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def _entry(path, result):
    entry = {"target": result.target, "bytes": result.num_bytes}
    if path.is_file():
        entry["sha256"] = _digest(path)
    entry["verification"] = dataclasses.asdict(result)
    return entry


def _digest(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def written_prompts(generator, start, longest):
    """Prompts that the model writes itself, so that they look like its text."""
    lengths = sorted({min(length, longest) for length in PROMPT_LENGTHS})
    config = GenerationConfig(max_new_tokens=lengths[-1], top_k=50, seed=0)
    written = [start, *generator.generate([[start]], config)[0].ids]
    return [written[:length] for length in lengths]
