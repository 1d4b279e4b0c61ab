"""Whether a text follows another."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from keras import ops

from keraslm.tasks.pairs import PairTask


class Following(NamedTuple):
    """Whether the second text follows the first, and how likely the model finds it.

    Example:
        >>> Following(follows=True, probability=0.9).follows
        True
    """

    follows: bool
    probability: float


class NextSentence(PairTask):
    """Says whether one text follows another, as BERT was trained to.

    Args:
        model: a `keraslm.models.BERT` with ``head="next_sentence"``.
        tokenizer: a `keraslm.tokenizers.Tokenizer`.
        max_length: tokens of both texts, beyond which the longer one is cut; default what the
            model takes.

    Example:
        >>> tokenizer = keraslm.tokenizers.Tokenizer.train(texts, "wordpiece", 300)
        >>> bert = keraslm.models.BERT(tokenizer.vocab_size, num_layers=1, d_model=16, num_heads=2,
        ...                            head="next_sentence")
        >>> task = keraslm.tasks.NextSentence(bert, tokenizer)
        >>> 0 < task.predict("She opened the door.", "The room was dark.").probability < 1
        True
    """

    heads = ("next_sentence",)
    example = 'task.predict("One text.", "The text after it.")'
    endpoint = "next_sentence"

    def predict(  # type: ignore[override]  # of pairs
        self, first: str, second: str
    ) -> Following:
        """Whether ``second`` follows ``first``."""
        return self.each([(first, second)])[0]

    def compute(self, **tensors: Any) -> dict[str, Any]:
        """``probabilities``: float32 ``(batch, 2)``, that it follows and that it does not."""
        logits, _ = self.model_outputs(**tensors)
        return {"probabilities": ops.softmax(logits, axis=-1)}

    def answers(self, arrays: dict[str, Any], texts: Sequence[Any] | None = None) -> list:
        """For each pair what `predict` gives."""
        return [Following(bool(row[0] >= row[1]), float(row[0])) for row in arrays["probabilities"]]
