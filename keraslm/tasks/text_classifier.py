"""One class of several, several classes, or a number."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from keras import ops

from keraslm.tasks.base import Task, checked_labels


class Classified(NamedTuple):
    """The likeliest class of a text, and the probability of each.

    Example:
        >>> Classified("good", {"bad": 0.1, "good": 0.9}).probabilities["bad"]
        0.1
    """

    label: str
    probabilities: dict[str, float]


# Problem type, as in transformers → what makes the answer of the logits.
PROBLEMS = {
    "single_label_classification": lambda logits: ops.softmax(logits, axis=-1),
    "multi_label_classification": ops.sigmoid,
    "regression": lambda logits: logits,
}


class TextClassifier(Task):
    """Gives each text a class.

    Args:
        model: a `keraslm.models.BERT` with ``head="classifier"``.
        tokenizer: a `keraslm.tokenizers.Tokenizer`.
        labels: names of the classes; default ``"0"``, ``"1"``, …
        problem_type: ``"single_label_classification"``: the probabilities of the classes sum to
            one; ``"multi_label_classification"``: each class has a probability of its own;
            ``"regression"``: numbers. Default the first, or, with one class, the second.
        max_length: tokens of a text, beyond which it is cut; default what the model takes.

    Example:
        >>> tokenizer = keraslm.tokenizers.Tokenizer.train(texts, "wordpiece", 300)
        >>> bert = keraslm.models.BERT(tokenizer.vocab_size, num_layers=1, d_model=16, num_heads=2,
        ...                            head="classifier", num_classes=2)
        >>> classifier = keraslm.tasks.TextClassifier(bert, tokenizer, ["bad", "good"])
        >>> classifier.predict("a wonderful film").label in ("bad", "good")
        True
    """

    heads = ("classifier",)
    example = 'classifier.predict("a text")'
    endpoint = "classify"

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        labels: Sequence[str] | None = None,
        *,
        problem_type: str | None = None,
        max_length: int | None = None,
    ) -> None:
        super().__init__(model, tokenizer, max_length=max_length)
        labels = checked_labels(model, labels)
        if problem_type is None:
            single = "single_label_classification"
            problem_type = single if len(labels) > 1 else "multi_label_classification"
        if problem_type not in PROBLEMS:
            raise ValueError(
                f"problem_type must be one of {', '.join(PROBLEMS)}; received {problem_type!r}."
            )
        self.labels = labels
        self.problem_type = problem_type

    @property
    def settings(self) -> dict[str, Any]:
        return {
            **super().settings,
            "labels": self.labels,
            "problem_type": self.problem_type,
        }

    @classmethod
    def stated_settings(cls, folder: Path, config: dict[str, Any], model: Any) -> dict[str, Any]:
        """As of every task, with the names of the classes and the kind of problem."""
        from keraslm.interop.configs import labels_of

        return {
            **super().stated_settings(folder, config, model),
            "labels": labels_of(config, folder / "config.json"),
            "problem_type": config.get("problem_type"),
        }

    def predict(self, texts: Any) -> Any:
        """A `Classified` for a str, a list of them for a list.

        For ``problem_type="regression"`` a dict from label to number takes the place of each.
        """
        return super().predict(texts)

    @property
    def output(self) -> str:
        """Name of what `compute` gives."""
        return "values" if self.problem_type == "regression" else "probabilities"

    def compute(self, **tensors: Any) -> dict[str, Any]:
        """``probabilities`` (``values`` of a regression): float32 ``(batch, classes)``."""
        logits, _ = self.model_outputs(**tensors)
        return {self.output: PROBLEMS[self.problem_type](logits)}

    def answers(self, arrays: dict[str, Any], texts: Sequence[Any] | None = None) -> list:
        """For each text what `predict` gives."""
        rows = [dict(zip(self.labels, map(float, row), strict=True)) for row in arrays[self.output]]
        if self.problem_type == "regression":
            return rows
        return [Classified(self.labels[int(row.argmax())], named)
                for row, named in zip(arrays[self.output], rows, strict=True)]  # fmt: skip
