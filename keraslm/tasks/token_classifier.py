"""Names of people, places, parts of speech: a class for each token, joined to stretches of text."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keraslm.tasks.base import Task, checked_labels


class Entity(NamedTuple):
    """A stretch of a text and its class: ``text`` is the text from ``start`` to ``end``.

    Example:
        >>> Entity("PER", "Ada Lovelace", start=0, end=12, score=0.9).text
        'Ada Lovelace'
    """

    label: str
    text: str
    start: int
    end: int
    score: float


AGGREGATIONS = ("simple", "none")


class TokenClassifier(Task):
    """Finds stretches of a text, such as names, and says what they are.

    Args:
        model: a `keraslm.models.BERT` or `keraslm.models.GPTEncoder` with
            ``head="token_classifier"``.
        tokenizer: a `keraslm.tokenizers.Tokenizer`.
        labels: names of the classes, such as ``["O", "B-PER", "I-PER"]``; default ``"0"``,
            ``"1"``, …
        max_length: tokens of a text, beyond which it is cut; default what the model takes.

    Example:
        >>> tokenizer = keraslm.tokenizers.Tokenizer.train(texts, "wordpiece", 300)
        >>> bert = keraslm.models.BERT(tokenizer.vocab_size, num_layers=1, d_model=16, num_heads=2,
        ...                            head="token_classifier", num_classes=3)
        >>> tagger = keraslm.tasks.TokenClassifier(bert, tokenizer, ["O", "B-PER", "I-PER"])
        >>> found = [(entity.label, entity.text) for entity in tagger.predict("Ada was here.")]
    """

    heads = ("token_classifier",)
    example = 'tagger.predict("a text")'
    endpoint = "tag"

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        labels: Sequence[str] | None = None,
        *,
        max_length: int | None = None,
    ) -> None:
        super().__init__(model, tokenizer, max_length=max_length)
        self.labels = checked_labels(model, labels)

    @property
    def settings(self) -> dict[str, Any]:
        return {**super().settings, "labels": self.labels}

    @classmethod
    def stated_settings(cls, folder: Path, config: dict[str, Any], model: Any) -> dict[str, Any]:
        """As of every task, with the names of the classes."""
        from keraslm.interop.configs import labels_of

        labels = labels_of(config, folder / "config.json")
        return {**super().stated_settings(folder, config, model), "labels": labels}

    def predict(
        self, texts: Any, aggregation: str = "simple", ignore_labels: Sequence[str] = ("O",)
    ) -> list:
        """The stretches of a text that have a class.

        Args:
            texts: a str or a list of them.
            aggregation: ``"simple"``: neighbouring tokens of one class are one stretch, ``B-``
                begins another one, and ``B-`` and ``I-`` are left out of the label; ``"none"``:
                every token for itself.
            ignore_labels: classes that are left out.

        Returns:
            a list of `Entity`; of a list of texts, a list of such lists.

        Raises:
            ValueError: another aggregation.
        """
        if aggregation not in AGGREGATIONS:
            raise ValueError(
                f"aggregation must be one of {', '.join(AGGREGATIONS)}; received {aggregation!r}."
            )
        single = isinstance(texts, str)
        texts = [texts] if single else texts
        found = self.each(texts, aggregation=aggregation, ignore_labels=ignore_labels)
        return found[0] if single else found

    def compute(self, **tensors: Any) -> dict[str, Any]:
        """``probabilities``: float32 ``(batch, seq, classes)``."""
        logits, _ = self.model_outputs(**tensors)
        return {"probabilities": ops.softmax(logits, axis=-1)}

    def answers(
        self,
        arrays: dict[str, np.ndarray],
        texts: Sequence[Any],
        aggregation: str = "simple",
        ignore_labels: Sequence[str] = ("O",),
    ) -> list:
        """For each text what `predict` gives."""
        found = []
        for probabilities, text in zip(arrays["probabilities"], texts, strict=True):
            tokens = self._tokens(text, probabilities)
            groups = _grouped(tokens) if aggregation == "simple" else [[t] for t in tokens]
            name = _tag if aggregation == "simple" else str
            entities = [
                Entity(
                    name(group[0].label),
                    text[group[0].start : group[-1].end],
                    group[0].start,
                    group[-1].end,
                    float(np.mean([token.score for token in group])),
                )
                for group in groups
            ]
            found.append([entity for entity in entities if entity.label not in ignore_labels])
        return found

    def _tokens(self, text, probabilities):
        """An `Entity` for each token that is no special one."""
        encoding = self.tokenizer.engine.encode(text, add_special_tokens=True)
        places = list(zip(encoding.offsets, encoding.special_tokens_mask, strict=True))
        tokens = []
        rows = probabilities[: self.max_length]
        for row, ((start, end), is_special) in zip(rows, self._cut(places), strict=False):
            if not is_special:
                label = self.labels[int(row.argmax())]
                tokens.append(Entity(label, text[start:end], start, end, row.max()))
        return tokens


def _tag(label):
    """``PER`` for ``B-PER`` and ``I-PER``."""
    return label.split("-", 1)[-1]


def _grouped(tokens):
    """Neighbours of one class, as `transformers` groups them: ``B-`` begins a new group."""
    groups: list[list[Entity]] = []
    for token in tokens:
        begins = token.label.startswith("B-")
        tag = token.label[2:] if token.label[:2] in ("B-", "I-") else token.label
        last = groups[-1][-1].label if groups else None
        last = last[2:] if last is not None and last[:2] in ("B-", "I-") else last
        if groups and tag == last and not begins:
            groups[-1].append(token)
        else:
            groups.append([token])
    return groups
