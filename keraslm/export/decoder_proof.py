"""How a decoder's export compares with Keras: token by token on a text, and writing freely."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keraslm.export.proof import written_prompts
from keraslm.generation.cache import init_cache, updated
from keraslm.generation.generator import Generator
from keraslm.models.precision import in_float32

QUICK_TOKENS, FULL_TOKENS = 256, 1024  # of the text
PAGES = {"English": "page.en.txt", "Chinese": "page.zh.txt"}
# Logits nearer to each other than this are equal: which of the two is larger, rounding decides.
TIE = 1e-4
GROSS = 1.0  # nats: a divergence that no quantisation explains


class Text(NamedTuple):
    """What an export is judged on.

    Args:
        name: what it is, for the proof.
        windows: token ids that fit in the context, two at least.
    """

    name: str
    windows: list[list[int]]


class Judged(NamedTuple):
    """A decoder in float32, which is what exports hold, and what it is judged with.

    Args:
        generator: a `keraslm.generation.Generator` of the model.
        tokenizer: of a text generator; ``None`` for a bare model.
        sample: of its training text; see `keraslm.tasks.TextGenerator`.
    """

    generator: Any
    tokenizer: Any = None
    sample: Any = None

    @property
    def model(self) -> Any:
        """The model."""
        return self.generator.model

    @property
    def start(self) -> int:
        """The token that texts begin with."""
        bos = None if self.tokenizer is None else self.tokenizer.bos_id
        return 0 if bos is None else bos


def judged_parts(lm: Any) -> Judged:
    """What is judged of a text generator, or of a model that follows the step protocol."""
    model = getattr(lm, "model", lm)
    generator = getattr(lm, "generator", None) or Generator(model)
    copy = in_float32(model)
    generator = generator if copy is model else Generator(copy)
    return Judged(generator, getattr(lm, "tokenizer", None), getattr(lm, "sample", None))


def text_for(lm: Judged, texts: Any, length: int, most: int = QUICK_TOKENS) -> Text:
    """The text that an export of a text generator is judged on.

    The given one; else the sample of its training text, which a bundle keeps; else of the two
    pages that come with keraslm the one that the model finds likelier.

    Args:
        lm: with a tokenizer.
        texts: strings, or ``None``.
        length: tokens of a window at most.
        most: tokens in all.

    Raises:
        ValueError: ``texts`` has no text of two tokens.
    """
    if texts is not None:
        texts = [texts] if isinstance(texts, str) else list(texts)
        windows = _windows(lm, texts, length, most)
        if not windows:
            raise ValueError("texts has no text of two tokens. Give other texts.")
        return Text("the given text", windows)
    if windows := _windows(lm, lm.sample or (), length, most):
        return Text("the bundle's sample of its training text", windows)
    pages = {
        name: (Path(__file__).parent / file).read_text(encoding="utf-8")
        for name, file in PAGES.items()
    }
    found = {name: _windows(lm, [page], length, most) for name, page in pages.items()}
    found = {name: windows for name, windows in found.items() if windows}
    if not found:
        raise ValueError("The tokenizer makes no two tokens of a page. Give texts=[…] to judge on.")
    losses = {}
    for name, windows in found.items():
        characters = len(lm.tokenizer.decode(windows[0]))  # none, if all are unknown
        losses[name] = _loss(lm.model, windows[0]) * len(windows[0]) / max(characters, 1)
    name = min(losses, key=lambda name: losses[name])
    return Text(f"keraslm's {name} page", found[name])


def own_text(lm: Judged, length: int, context: Any = None) -> Text:
    """What a model without a tokenizer is judged on: what it writes itself."""
    written = written_prompts(lm.generator, lm.start, length, context)
    return Text("text of the model's own", written[-1:])


def _windows(lm, texts, length, most):
    windows = []
    for text in texts:
        ids = lm.tokenizer.prompt_ids(text) if text else []
        for begin in range(0, len(ids), length):
            window = ids[begin : begin + min(length, most)]
            if len(window) > 1 and most > 1:
                windows.append(window)
                most -= len(window)
    return windows


def _loss(model, ids):
    """Mean negative log-probability of a token that the vocabulary has."""
    log_p = log_softmax(keras_logits(model, ids[:-1]))
    return -float(np.mean([log_p[i, token] for i, token in enumerate(ids[1:])]))


class Comparison:
    """Sums over the tokens of a text, of the logits of an export beside those of Keras.

    Attributes:
        gross: sentences about differences that no quantisation explains.
    """

    def __init__(self):
        self.gross: list[str] = []
        self.count = self.agreeing = 0
        self.difference = self.divergence = 0.0
        self._log_probs = np.zeros(2)

    def add(self, reference: np.ndarray, found: np.ndarray, token: int) -> None:
        """Logits ``(vocab_size,)`` of Keras and of the export before a token of the text."""
        log_p, log_q = log_softmax(reference), log_softmax(found)
        self.count += 1
        self.agreeing += int(np.argmax(found) == np.argmax(reference))
        # NaN stays: no later maximum replaces it.
        self.difference = float(np.maximum(self.difference, np.abs(found - reference).max()))
        self.divergence += float((np.exp(log_p) * (log_p - log_q)).sum())
        self._log_probs += log_q[token], log_p[token]

    def probe(self, reference: np.ndarray, found: np.ndarray, after: str) -> None:
        """Logits at a place of their own, after one signature, say: they must not be others'."""
        difference = float(np.abs(found - reference).max())
        if divergence(reference, found) >= GROSS:  # however the weights are stored; not for NaN
            self.gross.append(f"logits after {after} differ by {difference:.1e} from Keras'")
        self.difference = float(np.maximum(self.difference, difference))

    def facts(self) -> dict[str, Any]:
        """Fields of a `keraslm.export.Verification`."""
        ours, keras = np.exp(-self._log_probs / max(self.count, 1))
        return {
            "agreeing_tokens": self.agreeing,
            "judged_tokens": self.count,
            "max_difference": self.difference,
            "kl": self.divergence / max(self.count, 1),
            "perplexity": float(ours),
            "keras_perplexity": float(keras),
        }


def equal_tokens(expected: list[int], found: list[int], reference: np.ndarray) -> tuple[int, int]:
    """How many free-running tokens are equal, and how many can be compared.

    After the first that differs all others may. Where Keras finds the two tokens equally likely,
    rounding decides, and the rest is not compared.

    Args:
        expected, found: tokens of Keras and of the export.
        reference: logits of Keras before each expected token, ``(len(expected), vocab_size)``.
    """
    for i, token in enumerate(expected):
        if i >= len(found) or found[i] != token:
            other = found[i] if i < len(found) else token
            is_tie = other != token and reference[i, token] - reference[i, other] < TIE
            return i, i if is_tie else len(expected)
    return len(expected), len(expected)


def keras_logits(model: Any, ids: list[int], context: Any = None) -> np.ndarray:
    """float32 ``(len(ids), vocab_size)``."""
    cache = init_cache(model, 1, len(ids))
    if context:
        cache = updated(cache, model.context(**context))
    logits, _ = model.step(ops.convert_to_tensor([ids]), cache, 0)
    return ops.convert_to_numpy(logits)[0]


def last_logits(model: Any, ids: list[int], context: Any = None) -> np.ndarray:
    """float32 ``(vocab_size,)`` after the last token."""
    cache = init_cache(model, 1, len(ids))
    if context:
        cache = updated(cache, model.context(**context))
    logits, _ = model.step(ops.convert_to_tensor([ids]), cache, 0, last_only=True)
    return ops.convert_to_numpy(logits)[0, -1]


def divergence(reference: np.ndarray, other: np.ndarray) -> float:
    """Kullback-Leibler divergence of two rows of logits, in nats."""
    log_p, log_q = log_softmax(reference), log_softmax(other)
    return float((np.exp(log_p) * (log_p - log_q)).sum())


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """float64, over the last axis."""
    logits = np.asarray(logits, "float64")
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
