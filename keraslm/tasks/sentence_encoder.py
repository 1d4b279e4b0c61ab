"""Vectors of texts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keraslm._text import checked_list, checked_text
from keraslm._types import StrPath
from keraslm.models.pooling import POOLINGS, pool
from keraslm.tasks.base import Task


class Prompted(NamedTuple):
    """A text with what is written in front of it."""

    prompt: str
    text: str


class SentenceEncoder(Task):
    """Turns texts into vectors that are near where the texts are alike.

    Args:
        model: a `keraslm.models.BERT` with ``head=None`` or ``"pooled"``.
        tokenizer: a `keraslm.tokenizers.Tokenizer`.
        pooling: of the hidden states: ``"mean"`` over the real tokens, ``"cls"`` (the first),
            ``"max"``, ``"mean_sqrt_len"`` (the sum over the root of the number of tokens),
            ``"weightedmean"`` (a token counts as much as its position), ``"lasttoken"``; several
            stand side by side in the vector. A pooled head needs none.
        normalize: make every vector one long.
        max_length: tokens of a text, beyond which it is cut; default what the model takes.
        prompts: texts to write in front of others, by name, such as ``{"query": "query: "}``.
        default_prompt_name: the one that `encode` takes by itself; default none.
        include_prompt: whether the tokens of a prompt are pooled.

    Example:
        >>> tokenizer = keraslm.tokenizers.Tokenizer.train(texts, "wordpiece", 300)
        >>> bert = keraslm.models.BERT(tokenizer.vocab_size, num_layers=1, d_model=16, num_heads=2,
        ...                            head=None)
        >>> encoder = keraslm.tasks.SentenceEncoder(bert, tokenizer)
        >>> tuple(encoder.similarity(["A cat sits."], ["A cat is sitting.", "Stocks fell."]).shape)
        (1, 2)
    """

    heads = (None, "pooled")
    example = 'encoder.similarity(["one text"], ["another"])'
    endpoint = "embed"

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        pooling: str | Sequence[str] = "mean",
        normalize: bool = True,
        max_length: int | None = None,
        prompts: Mapping[str, str] | None = None,
        default_prompt_name: str | None = None,
        include_prompt: bool = True,
    ) -> None:
        super().__init__(model, tokenizer, max_length=max_length)
        ways = (pooling,) if isinstance(pooling, str) else tuple(pooling or ())
        if not ways or not set(ways) <= set(POOLINGS):
            raise ValueError(
                f"pooling must be one or several of {', '.join(POOLINGS)}; received {pooling!r}."
            )
        self.pooling = ways[0] if len(ways) == 1 else ways
        self.normalize = normalize
        if not isinstance(prompts, Mapping | None):
            raise ValueError(f"prompts must be a dict of texts; received {prompts!r:.80}.")
        self.prompts = {k: checked_text(v, f"prompts[{k!r}]") for k, v in (prompts or {}).items()}
        self.default_prompt_name = default_prompt_name
        self.include_prompt = include_prompt
        self.prompt  # noqa: B018  (raises for a name that there is not)

    @property
    def settings(self) -> dict[str, Any]:
        kept = {
            "pooling": self.pooling if isinstance(self.pooling, str) else list(self.pooling),
            "normalize": self.normalize,
            **super().settings,
        }
        if self.prompts:
            kept["prompts"] = self.prompts
            kept["default_prompt_name"] = self.default_prompt_name
        return kept if self.include_prompt else {**kept, "include_prompt": False}

    @classmethod
    def stated_settings(cls, folder: Path, config: dict[str, Any], model: Any) -> dict[str, Any]:
        """As of every task, with the poolings and prompts of sentence-transformers."""
        from keraslm.interop.folders import pooling_of

        return {**super().stated_settings(folder, config, model), **(pooling_of(folder) or {})}

    @property
    def width(self) -> int:
        """Length of a vector."""
        is_pooled = self.model.head == "pooled" or isinstance(self.pooling, str)
        return self.model.transformer_config.d_model * (1 if is_pooled else len(self.pooling))

    def save_huggingface(self, folder: StrPath) -> Path:
        """Write a folder that sentence-transformers and `transformers` load."""
        from keraslm.interop.huggingface import save_huggingface, sentence_files

        files = sentence_files(self.model.transformer_config.d_model, **self.settings)
        return save_huggingface(self.model, folder, tokenizer=self.tokenizer, files=files)

    def encode(
        self, texts: Any, *, prompt_name: str | None = None, prompt: str | None = None
    ) -> np.ndarray:
        """Vectors float32 ``(width,)`` of a str, ``(len(texts), width)`` of a list.

        Args:
            texts: a str or several.
            prompt_name: key of ``prompts``, what to write in front of each; default
                ``default_prompt_name``.
            prompt: the text to write in front itself.

        Raises:
            ValueError: no text, or no such prompt.
        """
        single = isinstance(texts, str)
        texts = [texts] if single else checked_list(texts)
        if prompt is None:
            prompt = self.prompt if prompt_name is None else self._named(prompt_name)
        checked_text(prompt, "prompt")
        found = self.each([Prompted(prompt, text) for text in texts])
        return found[0] if single else np.reshape(found, (len(texts), self.width)).astype("float32")

    def similarity(self, texts: Any, others: Any) -> np.ndarray:
        """Cosine similarities float32 ``(len(texts), len(others))``."""
        a, b = (np.atleast_2d(self.encode(x)) for x in (texts, others))
        a, b = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (a, b))
        return a @ b.T

    # === Prompts ===

    @property
    def prompt(self) -> str:
        """What is written in front of every text by itself."""
        return "" if self.default_prompt_name is None else self._named(self.default_prompt_name)

    def _named(self, name):
        if name not in self.prompts:
            raise ValueError(
                f"There is no prompt {name!r}; there are {', '.join(self.prompts) or 'none'}."
            )
        return self.prompts[name]

    def prompt_length(self, prompt: str) -> int:
        """How many tokens at the beginning of a text with this prompt are not pooled."""
        if self.include_prompt or not prompt:
            return 0
        ids = self.tokenizer.encode(prompt, add_special_tokens=True)
        return len(ids) - (ids[-1] in self.tokenizer.special_tokens.values())

    # === The three steps ===

    @property
    def input_spec(self) -> dict[str, str]:
        """As of every task; if prompts are not pooled, ``pooling_mask`` too: 1 for what is."""
        spec = super().input_spec
        return spec if self.include_prompt else {**spec, "pooling_mask": "int32"}

    def _row(self, text, length=None):
        prompt, text = text if isinstance(text, Prompted) else Prompted(self.prompt, text)
        row = super()._row(prompt + text if isinstance(text, str) else text, length)
        skipped = self.prompt_length(prompt)
        row["pooling_mask"] = [int(i >= skipped) for i in range(len(row["token_ids"]))]
        return row

    def compute(self, *, pooling_mask: Any = None, **tensors: Any) -> dict[str, Any]:
        """``embedding``: float32 ``(batch, width)``."""
        y, real = self.model_outputs(**tensors)
        if len(y.shape) == 3:  # (B, T, C)
            real = real if pooling_mask is None else ops.cast(pooling_mask, "bool")
            y = pool(y, real, (self.pooling,) if isinstance(self.pooling, str) else self.pooling)
        if self.normalize:
            norm = ops.sqrt(ops.sum(ops.square(y), axis=1, keepdims=True))
            y = y / ops.maximum(norm, 1e-12)
        return {"embedding": y}

    def answers(self, arrays: dict[str, Any], texts: Sequence[Any] | None = None) -> Any:
        """The vectors ``(batch, width)``."""
        return arrays["embedding"]

    def ask(self, samples: Sequence[Any]) -> list[Any]:
        """What `encode` gives for each of `samples`."""
        return list(self.encode(samples))
