"""Missing words."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keraslm._text import checked_count, checked_list
from keraslm.tasks.base import Task


class Filled(NamedTuple):
    """A word for a mask, and how likely the model finds it.

    Example:
        >>> Filled("capital", 0.9, "Paris is the capital of France.").token
        'capital'
    """

    token: str
    probability: float
    text: str


class FillMask(Task):
    """Guesses hidden words.

    Args:
        model: a `keraslm.models.BERT` with ``head="masked_lm"``.
        tokenizer: a `keraslm.tokenizers.Tokenizer` with a mask token.
        max_length: tokens of a text, beyond which it is cut; default what the model takes.

    Example:
        >>> tokenizer = keraslm.tokenizers.Tokenizer.train(texts, "wordpiece", 300)
        >>> bert = keraslm.models.BERT(tokenizer.vocab_size, num_layers=1, d_model=16, num_heads=2)
        >>> fill = keraslm.tasks.FillMask(bert, tokenizer)
        >>> len(fill.predict("Paris is the [MASK] of France.", top_k=5))
        5
    """

    heads = ("masked_lm",)
    example = 'fill.predict("Paris is the [MASK] of France.")'
    endpoint = "fill"

    def predict(self, text: Any, top_k: int = 5) -> list:
        """The likeliest words for each mask.

        Args:
            text: with one mask token or several, such as ``[MASK]``; a str or a list of them.
            top_k: how many words.

        Returns:
            a list of `Filled`, the likeliest first; for several masks a list of such lists. For
            a list of texts, a list of what each gives.

        Raises:
            ValueError: no mask token in a text, no text, or a ``top_k`` below 1.
        """
        single = isinstance(text, str)
        texts = [text] if single else checked_list(text)
        top_k = checked_count(top_k, "top_k")
        for one in texts:
            self._places(one)
        found = self.each(texts, top_k=top_k)
        return found[0] if single else found

    def compute(self, **tensors: Any) -> dict[str, Any]:
        """``probabilities``: float32 ``(batch, seq, vocab_size)``, of each token at each place."""
        logits, _ = self.model_outputs(**tensors)
        return {"probabilities": ops.softmax(logits, axis=-1)}

    def answers(self, arrays: dict[str, np.ndarray], texts: Sequence[Any], top_k: int = 5) -> list:
        """For each text what `predict` gives."""
        found = []
        for probabilities, text in zip(arrays["probabilities"], texts, strict=True):
            ids, places = self._places(text)
            words = [self._words(probabilities[place], ids, place, top_k) for place in places]
            found.append(words[0] if len(words) == 1 else words)
        return found

    def samples(self, texts: Sequence[str]) -> list[Any]:
        """The texts, with a mask in front."""
        number = self.tokenizer.special_id("mask")
        if number is None:
            raise ValueError(
                "The tokenizer has no mask token, so that no text has a gap to fill. Give the one "
                "that the model was trained with."
            )
        mask = self.tokenizer.id_to_token(number)
        return [f"{mask} {text}" for text in texts]

    def _places(self, text):
        """Ids of a text, and where its masks are."""
        ids = self._row(text)["token_ids"]
        mask = self.tokenizer.special_id("mask")
        places = [i for i, token in enumerate(ids) if token == mask]
        if mask is None or not places:
            name = "a mask token" if mask is None else self.tokenizer.id_to_token(mask)
            raise ValueError(f"The text has no mask. Write {name} where a word is hidden.")
        return ids, places

    def _words(self, probabilities, ids, place, top_k):
        return [
            Filled(
                self.tokenizer.decode([int(i)]).strip(),
                float(probabilities[i]),
                self.tokenizer.decode([*ids[:place], int(i), *ids[place + 1 :]]),
            )
            for i in np.argsort(-probabilities)[:top_k]
        ]
