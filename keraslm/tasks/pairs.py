"""Rows of two texts, which a tokenizer puts into one with its special tokens."""

from collections.abc import Sequence
from typing import Any

from keraslm._text import checked_text
from keraslm.tasks import bundle
from keraslm.tasks.base import Task


class PairTask(Task):
    """A task about two texts: what it is asked about is a tuple ``(first, second)``."""

    is_on_pairs = True

    def encoding(self, pair: Any) -> Any:
        """The engine's encoding of two texts, not cut.

        Raises:
            ValueError: no pair of strings.
        """
        bundle.check_tokenizer(self)
        is_pair = isinstance(pair, tuple) and len(pair) == 2
        if not is_pair or not all(isinstance(text, str) for text in pair):
            raise ValueError(f"A pair must be a tuple of two str; received {pair!r:.80}.")
        first, second = map(checked_text, pair)
        # transformers takes an empty second text for none.
        return self.tokenizer.engine.encode(first, second or None, add_special_tokens=True)

    def _row(self, pair, length=None):
        encoding = self.encoding(pair)
        limit = min(self.max_length, length or self.max_length)
        return self._picked(encoding, _fitting(encoding.sequence_ids, limit))

    def _picked(self, encoding, places):
        """The row of some tokens of an encoding; one token at least."""
        ids, types = encoding.ids, encoding.type_ids
        has_types = self.model.transformer_config.token_types > 1
        if not places:
            return {"token_ids": [self.tokenizer.bos_id or 0], "token_types": [0]}
        return {
            "token_ids": [ids[i] for i in places],
            "token_types": [types[i] if has_types else 0 for i in places],
        }

    def samples(self, texts: Sequence[str]) -> list[Any]:
        """Each text with the one after it."""
        texts = list(texts)
        return list(zip(texts, texts[1:] + texts[:1], strict=True))

    def ask(self, samples: Sequence[Any]) -> list[Any]:
        """What `predict` gives for each pair."""
        return [self.predict(*pair) for pair in samples]


def _fitting(sequence_ids, limit):
    """Which tokens stay when a pair is cut: the ends of the longer text go first.

    Args:
        sequence_ids: of each token 0 or 1, the text that it is of, or ``None`` for a special one.
        limit: how many may stay.
    """
    counts = [sequence_ids.count(0), sequence_ids.count(1)]
    free = max(limit - sequence_ids.count(None), 0)
    if sum(counts) > free:  # as the engine's "longest first" shares them
        short, long = sorted(counts)
        long = free - short if free - short >= short else free - free // 2
        short = min(short, free // 2)
        counts = [short, long] if counts[0] <= counts[1] else [long, short]
    left, places = counts[:], []
    for i, sequence in enumerate(sequence_ids):
        if sequence is not None:
            left[sequence] -= 1
        if sequence is None or left[sequence] >= 0:
            places.append(i)
    return places[:limit]
