"""How an exported file compares with its Keras model, as a record."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Self

from keraslm._types import StrPath
from keraslm.export.manifest import manifest_entry

LARGEST_DIFFERENCE = 1e-3
PREFILL_TOKENS = 32

# What a proof asks, by how the weights are stored. Of the outputs of an encoder: the largest
# difference of a number, the mean and the least cosine of a text's output with Keras', and the
# share of texts whose label is Keras'. Of a decoder: by how much its perplexity on the text may be
# above Keras', as a share, and the mean Kullback-Leibler divergence of the next token, Keras to
# file, in nats. Where they come from is in docs/export.md.
_INT8 = {"cosine": 0.99, "least_cosine": 0.9, "labels": 0.98, "perplexity": 0.01, "kl": 0.01}
LIMITS: dict[str | None, dict[str, float]] = {
    None: {"difference": LARGEST_DIFFERENCE, "cosine": 0.9999, "least_cosine": 0.9999, "labels": 1},
    "float16": {
        "cosine": 0.999, "least_cosine": 0.99, "labels": 0.99, "perplexity": 0.001, "kl": 0.001,
    },
    "int8": _INT8,
    "int8_weights": _INT8,
    "int4": {
        "cosine": 0.85, "least_cosine": 0.7, "labels": 0.92, "perplexity": 0.03, "kl": 0.05,
    },
}  # fmt: skip


def check_limits(limits: dict[str, float] | None) -> dict[str, float]:
    """The limits that a user gave, checked.

    Raises:
        ValueError: an unknown name, or no number.
    """
    limits = dict(limits or {})
    known = sorted({name for row in LIMITS.values() for name in row})
    for name, value in limits.items():
        if name not in known:
            raise ValueError(f"limits has no {name!r}. It takes {', '.join(known)}.")
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"limits[{name!r}] must be a number; received {value!r}.")
    return limits


@dataclasses.dataclass(frozen=True)
class Verification:
    """How an exported file compares with its Keras model.

    Args:
        target: ``"tflite"``, ``"litertlm"``, ``"saved_model"``, ``"web"`` or ``"mediapipe"``.
        prompts: number of prompts, or of inputs of an encoder.
        equal_tokens, tokens: how many are the same, of how many: of a decoder greedy tokens that
            it writes freely, each after its own ones before (after the first that differs all
            others may); texts of a SavedModel, likeliest classes of an encoder.
        max_difference: largest difference of a logit; ``None`` where logits are not given.
        num_bytes: size on disk.
        tokens_per_second: of decoding; ``None`` if not measured.
        operations: names of the operations in a ``.tflite``.
        quantization: how the weights are stored; ``None``: float32.
        kl: mean Kullback-Leibler divergence of the next token, Keras to file, in nats.
        bytes_by_dtype: of the constants in a ``.tflite``.
        perplexity, keras_perplexity: of a text, by file and by Keras.
        prefill_ms: milliseconds to read a prompt of `PREFILL_TOKENS` tokens (``"full"``).
        peak_memory: bytes of a process that does nothing but generate (``"full"``).
        compared: what ``equal_tokens`` counts, such as ``"labels"``; ``""``: what is usual for
            the target.
        cosine, least_cosine: of a text's output with Keras', of an encoder: the mean over the
            texts, and the least; ``None`` elsewhere.
        limits: the limits of the proof that are not those of `LIMITS`.
        agreeing_tokens, judged_tokens: of a decoder, on a text that both read: how often its
            likeliest next token is Keras', of how many.
        judged_on: what text that is.
        differing: sentences about what the file states otherwise than the task, such as its stop
            tokens; see `keraslm.export.facts`.

    Example:
        >>> result = Verification("tflite", 3, equal_tokens=96, tokens=96, max_difference=1e-5,
        ...                       num_bytes=700_000)
        >>> print(result)
        passed, 96 of 96 greedy tokens as in Keras (3 prompts), largest difference 1.0e-05, 0.7 MB
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
    compared: str = ""
    cosine: float | None = None
    least_cosine: float | None = None
    limits: dict[str, float] = dataclasses.field(default_factory=dict)
    agreeing_tokens: int | None = None
    judged_tokens: int | None = None
    judged_on: str = ""
    differing: tuple[str, ...] = ()

    @property
    def finite(self) -> bool:
        """Whether no NaN and no infinity was seen."""
        seen = (self.max_difference, self.kl, self.cosine, self.least_cosine, self.perplexity)
        return all(value is None or math.isfinite(value) for value in seen)

    @property
    def passed(self) -> bool:
        """Whether it is the same model: exactly, or, if quantised, nearly; never with a NaN.

        What it states beside its numbers must be what the task says, however it is stored.
        """
        if not self.finite or self.differing:
            return False
        if self.cosine is not None:
            return self._within_limits(self.cosine)
        if self.quantization is not None:
            return self._is_near()
        close = self.max_difference is None or self.max_difference < LARGEST_DIFFERENCE
        return self.equal_tokens == self.tokens and close

    def _is_near(self):
        """The proof of a quantised decoder."""
        limits = {**LIMITS[self.quantization], **self.limits}
        if self.kl is not None and self.kl > limits["kl"]:
            return False
        if self.perplexity is None or self.keras_perplexity is None:
            return True
        return self.perplexity <= self.keras_perplexity * (1 + limits["perplexity"])

    def _within_limits(self, cosine):
        """The proof of an encoder."""
        limits = {**LIMITS[self.quantization], **self.limits}
        least = cosine if self.least_cosine is None else self.least_cosine
        if cosine < limits["cosine"] or least < limits["least_cosine"]:
            return False
        if self.max_difference is not None and self.max_difference > limits.get(
            "difference", math.inf
        ):
            return False
        return self.equal_tokens >= limits["labels"] * self.tokens

    def __str__(self):
        return ", ".join(
            f"{name} {value}" if name else value for name, value in self.rows() if value
        )

    def rows(self) -> Iterator[tuple[str, str]]:
        """What to show: pairs of a name and a value."""
        usual = {"saved_model": "texts", "mediapipe": "texts"}.get(self.target, "greedy tokens")
        what = self.compared or usual
        inputs = "prompts" if self.cosine is None else "inputs"
        yield "", "passed" if self.passed else "FAILED"
        if not self.finite:
            yield "", "NaN or infinity"
        for sentence in self.differing:
            yield "", sentence
        found = f"{self.equal_tokens} of {self.tokens} {what} as in Keras ({self.prompts} {inputs})"
        if self.judged_tokens and self.quantization:
            # A quantised file departs from Keras' text sooner or later, and then goes on by itself.
            found = (
                f"likeliest token as in Keras for {self.agreeing_tokens} of {self.judged_tokens} "
                f"tokens of a text, text written freely equal for {self.equal_tokens} of "
                f"{self.tokens} ({self.prompts} prompts)"
            )
        yield "", found
        if self.quantization:
            yield "weights", self.quantization
        if self.max_difference is not None:
            yield "largest difference", f"{self.max_difference:.1e}"
        if self.cosine is not None:
            least = "" if self.least_cosine is None else f" (least {self.least_cosine:.6f})"
            yield "cosine", f"{self.cosine:.6f}{least}"
        if self.kl is not None and self.quantization:
            yield "divergence", f"{self.kl:.1e} nats"
        yield "", f"{self.num_bytes / 1e6:.1f} MB"
        if self.perplexity is not None and self.keras_perplexity is not None:
            change = self.perplexity / self.keras_perplexity - 1
            where = f" on {self.judged_on}" if self.judged_on else ""
            yield (
                "perplexity",
                f"{self.perplexity:.2f}{where} (Keras {self.keras_perplexity:.2f}, {change:+.2%})",
            )
        if self.prefill_ms is not None:
            yield f"prompt of {PREFILL_TOKENS}", f"{self.prefill_ms:.1f} ms"
        if self.tokens_per_second is not None:
            yield "", f"{self.tokens_per_second:.0f} tokens/s"
        if self.peak_memory is not None:
            yield "peak memory", f"{self.peak_memory / 1e6:.0f} MB"

    def table(self) -> str:
        """The rows one below the other, with the bytes by dtype and the operations."""
        rows = [(name or "", value) for name, value in self.rows()]
        rows += [(f"{k} bytes", f"{v:,}") for k, v in sorted(self.bytes_by_dtype.items())]
        if self.operations:
            rows.append(("operations", " ".join(self.operations)))
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"  {name:<{width}}  {value}".rstrip() for name, value in rows)

    @classmethod
    def from_manifest(cls, path: StrPath) -> Self | None:
        """What ``manifest.json`` says of an export, or ``None``.

        Raises:
            ValueError: the file is not the one that was verified.
        """
        entry = manifest_entry(path)
        if entry is None or "verification" not in entry:
            return None
        fields = entry["verification"]
        tuples = {name: tuple(fields.get(name, ())) for name in ("operations", "differing")}
        return cls(**{**fields, **tuples})
