"""A smaller vocabulary: tokenizer, embedding and head cut together."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from keraslm.models.loading import build_with_values, weights_of
from keraslm.tasks.bundle import check_tokenizer
from keraslm.tokenizers.pruning import prune_tokenizer


class Pruning(NamedTuple):
    """What pruning changed: each pair is before and after.

    ``perplexity`` is that of a decoder on the texts, and falls because fewer tokens share the
    probability; ``None`` for encoders.

    Example:
        >>> print(Pruning((500, 300), (36_000, 29_600), None))
        500 → 300 tokens, 36,000 → 29,600 parameters
    """

    tokens: tuple[int, int]
    parameters: tuple[int, int]
    perplexity: tuple[float, float] | None

    def __str__(self):
        words = (
            f"{self.tokens[0]:,} → {self.tokens[1]:,} tokens, "
            f"{self.parameters[0]:,} → {self.parameters[1]:,} parameters"
        )
        if self.perplexity:
            words += f", perplexity {self.perplexity[0]:.2f} → {self.perplexity[1]:.2f}"
        return words


# Weights with a row, or a column, for each token: path → axis.
AXES = {"token_embedding/embeddings": 0, "head/kernel": 1, "token_bias/bias": 0}


def prune(
    task: Any, texts: Iterable[str], *, validation: Sequence[str] | None = None
) -> tuple[Any, Pruning]:
    """Leave out the tokens that texts do not need, in the tokenizer and in the model.

    On these texts the new task has the same tokens and the same hidden states as the old one. On
    others, words that were left out are spelled in smaller pieces, letters or bytes; see
    `keraslm.tokenizers.prune_tokenizer`.

    Args:
        task: a task with a tokenizer, such as a `TextGenerator`.
        texts: documents of the kind that the task is for.
        validation: documents to measure perplexity on; default the texts.

    Returns:
        a new task, and a `Pruning`.

    Raises:
        ValueError: no text, or a task without a tokenizer.

    Example:
        >>> small, report = keraslm.tasks.prune(lm, texts[:5])
        >>> small.tokenizer.vocab_size < lm.tokenizer.vocab_size
        True
        >>> folder = small.save("saved_models/small")
    """
    check_tokenizer(task)
    texts = list(texts)
    tokenizer, kept = prune_tokenizer(task.tokenizer, texts)
    model = _cut(task.model, kept)
    small = type(task)(model, tokenizer, **_settings(task, kept))
    perplexity = None
    if hasattr(task, "generate"):
        small.sample = task.sample
        judged = texts if validation is None else list(validation)
        perplexity = tuple(t.evaluate(judged).perplexity for t in (task, small))
    return small, Pruning(
        (task.model.vocab_size, len(kept)),
        (task.model.count_params(), model.count_params()),
        perplexity,
    )


def _cut(model, kept):
    """The model with the rows of the tokens that stay."""
    config = {**model.get_config(), "vocab_size": len(kept)}
    config.pop("embeddings_initializer", None)
    if config.get("pad_id") is not None:
        config["pad_id"] = kept.index(config["pad_id"]) if config["pad_id"] in kept else None
    old = weights_of(model)

    def read(path):
        value = old[path].numpy()
        return np.take(value, kept, axis=AXES[path]) if path in AXES else value

    new = build_with_values(
        lambda: type(model).from_config(config),
        lambda new: {path: (lambda path=path: read(path)) for path in weights_of(new)},
    )
    if hasattr(model, "huggingface_family"):
        new.huggingface_family = model.huggingface_family
    return new


def _settings(task, kept):
    """Arguments of the new task: the old one's, with new ids of the stop tokens."""
    if not hasattr(task, "generation_config"):
        return task.settings
    new_id = {number: i for i, number in enumerate(kept)}
    stop = tuple(new_id[i] for i in task.generation_config.stop_ids if i in new_id)
    # Ids of the old vocabulary are not those of the new one.
    stated = {k: v for k, v in task.stated.items() if not k.endswith(("_id", "_ids", "_tokens"))}
    return {"generation_config": task.generation_config.replace(stop_ids=stop), "stated": stated}
