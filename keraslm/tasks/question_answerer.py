"""The stretch of a text that answers a question."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keraslm._text import checked_count, checked_list
from keraslm.tasks.pairs import PairTask

LENGTH = 384  # tokens of a window, unless the model takes less
CANDIDATES = 10  # spans looked at, and two for each answer: several may be of the same words


class Answer(NamedTuple):
    """An answer: ``text`` is the context from ``start`` to ``end``.

    Example:
        >>> context = "Ada Lovelace was born in London."
        >>> answer = Answer("London", start=25, end=31, score=0.9)
        >>> context[answer.start : answer.end]
        'London'
    """

    text: str
    start: int
    end: int
    score: float


class Window(NamedTuple):
    """A question beside some tokens of a context: their numbers in the encoding of both."""

    pair: tuple[str, str]
    places: list[int]


class QuestionAnswerer(PairTask):
    """Finds the answer to a question in a text.

    A context that is too long is read in windows that overlap.

    Args:
        model: a `keraslm.models.BERT` with ``head="span"``.
        tokenizer: a `keraslm.tokenizers.Tokenizer`.
        max_length: tokens of a window, the question's and the special ones included; default 384,
            or what the model takes if that is less.
        stride: tokens by which windows overlap; default 128, or half of ``max_length``.

    Example:
        >>> tokenizer = keraslm.tokenizers.Tokenizer.train(texts, "wordpiece", 300)
        >>> bert = keraslm.models.BERT(tokenizer.vocab_size, num_layers=1, d_model=16, num_heads=2,
        ...                            head="span")
        >>> answerer = keraslm.tasks.QuestionAnswerer(bert, tokenizer)
        >>> answer = answerer.predict("Where was she born?", "Ada Lovelace was born in London.")
        >>> answer.text in "Ada Lovelace was born in London."
        True
    """

    heads = ("span",)
    example = 'answerer.predict("What is it?", "It is a text.")'
    endpoint = "answer"

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        max_length: int | None = None,
        stride: int | None = None,
    ) -> None:
        super().__init__(model, tokenizer, max_length=max_length or min(model.max_length, LENGTH))
        stride = min(self.max_length // 2, 128) if stride is None else stride
        if type(stride) is not int or not 0 <= stride < self.max_length:
            raise ValueError(
                f"stride must be from 0 to less than max_length={self.max_length}; received "
                f"{stride!r}."
            )
        self.stride = stride

    @property
    def settings(self) -> dict[str, Any]:
        return {**super().settings, "stride": self.stride}

    @classmethod
    def stated_settings(cls, folder: Path, config: dict[str, Any], model: Any) -> dict[str, Any]:
        """As of every task; windows are 384 tokens at most."""
        stated = super().stated_settings(folder, config, model)
        return {**stated, "max_length": min(stated["max_length"], LENGTH)}

    def predict(  # type: ignore[override]  # of pairs
        self,
        question: str,
        context: str,
        *,
        top_k: int = 1,
        max_answer_length: int = 15,
        handle_impossible_answer: bool = False,
        align_to_words: bool = True,
    ) -> Any:
        """The likeliest answer.

        Args:
            question: what is asked.
            context: the text that holds the answer.
            top_k: how many answers.
            max_answer_length: tokens of an answer.
            handle_impossible_answer: whether "no answer", an empty text, is one.
            align_to_words: whether an answer is made of whole words; the scores of the spans
                that give the same words are added.

        Returns:
            an `Answer`, an empty one with score 0 where there is none; for ``top_k`` above 1 a
            list of them, the likeliest first.

        Raises:
            ValueError: a question that fills the window, no str, or a number below 1.
        """
        top_k = checked_count(top_k, "top_k")
        found = self.each(
            [(question, context)],
            top_k=top_k,
            max_answer_length=checked_count(max_answer_length, "max_answer_length"),
            handle_impossible_answer=handle_impossible_answer,
            align_to_words=align_to_words,
        )[0]
        return found if top_k > 1 else found[0]

    # === Windows ===

    def windows(self, pair: Any) -> list[Window]:
        """The windows of a pair ``(question, context)``."""
        sequence_ids = self.encoding(pair).sequence_ids
        context = [i for i, sequence in enumerate(sequence_ids) if sequence == 1]
        space = self.max_length - (len(sequence_ids) - len(context))
        if space < 1:
            raise ValueError(
                f"The question has {sequence_ids.count(0)} tokens and fills the window of "
                f"{self.max_length}. Ask a shorter one."
            )
        step = space - min(self.stride, space - 1)
        last = max(len(context) - space, 0)
        starts = range(0, last + step, step) if last else (0,)
        found = []
        for start in starts:
            inside = set(context[start : start + space])
            places = [i for i, s in enumerate(sequence_ids) if s != 1 or i in inside]
            found.append(Window(pair, places))
        return found

    @property
    def input_spec(self) -> dict[str, str]:
        """As of every task, and ``context_mask``: 1 where the answer may stand."""
        return {**super().input_spec, "context_mask": "int32"}

    def _row(self, pair, length=None):
        window = pair if isinstance(pair, Window) else self.windows(pair)[0]
        encoding = self.encoding(window.pair)
        row = self._picked(encoding, window.places)
        cls = self.tokenizer.special_id("cls")  # stands for "no answer"
        ids, sequence_ids = encoding.ids, encoding.sequence_ids
        row["context_mask"] = [
            int(sequence_ids[i] == 1 or ids[i] == cls) for i in window.places
        ] or [0]
        return {name: values[:length] for name, values in row.items()}

    def each(
        self, texts: Sequence[Any], *, run: Any = None, top_k: int = 1, **options: Any
    ) -> list[Any]:
        """The answers to each pair, a list of ``top_k``."""
        windows = [self.windows(pair) for pair in checked_list(texts, of="pairs of str")]
        flat = [window for some in windows for window in some]
        found = iter(super().each(flat, run=run, top_k=top_k, **options))
        return [_joined([next(found) for _ in some], top_k) for some in windows]

    def samples(self, texts: Sequence[str]) -> list[Any]:
        """A question made of the first words of each text, and the next text as its context."""
        return [(first[:20], second) for first, second in super().samples(texts)]

    def ask(self, samples: Sequence[Any]) -> list[Any]:
        """What `predict` gives for each pair, in a list."""
        return [[self.predict(*pair)] for pair in samples]

    # === The steps ===

    def compute(  # type: ignore[override]  # the mask is always there
        self, *, context_mask: Any, **tensors: Any
    ) -> dict[str, Any]:
        """``start`` and ``end``: float32 ``(batch, seq)``, where the answer begins and ends."""
        logits, _ = self.model_outputs(**tensors)  # (B, T, 2)
        inside = ops.expand_dims(ops.cast(context_mask, "bool"), -1)
        probabilities = ops.softmax(ops.where(inside, logits, -10000.0), axis=1)
        return {"start": probabilities[..., 0], "end": probabilities[..., 1]}

    def answers(
        self,
        arrays: dict[str, np.ndarray],
        texts: Sequence[Any],
        top_k: int = 1,
        max_answer_length: int = 15,
        handle_impossible_answer: bool = False,
        align_to_words: bool = True,
    ) -> list:
        """For each `Window` its spans, the likeliest first, several of the same words included."""
        found = []
        for i, window in enumerate(texts):
            words = _Words(self.encoding(window.pair), window.places, align_to_words)
            n = len(window.places)
            start, end = arrays["start"][i][:n].copy(), arrays["end"][i][:n].copy()
            none = Answer("", 0, 0, float(start[0] * end[0])) if n else None
            start[:1] = end[:1] = 0.0  # [CLS]
            scores = np.tril(np.triu(np.outer(start, end)), max_answer_length - 1)
            number = 2 * top_k + CANDIDATES if align_to_words else top_k
            best = np.argsort(-scores, axis=None, kind="stable")[:number]
            spans = [
                (*words.span(*np.unravel_index(place, scores.shape)), float(scores.flat[place]))
                for place in best
                if scores.flat[place] > 0
            ]
            context = window.pair[1]
            answers = [Answer(context[a:b], a, b, score) for a, b, score in spans]
            found.append((answers, none if handle_impossible_answer else None))
        return found


class _Words:
    """Where spans of the tokens of a window begin and end in the context."""

    def __init__(self, encoding, places, align_to_words):
        # The engine makes these lists anew whenever they are asked for.
        offsets, words, of = encoding.offsets, encoding.word_ids, encoding.sequence_ids
        self.offsets = [offsets[i] for i in places]
        self.words = [words[i] if of[i] == 1 and align_to_words else None for i in places]
        self.bounds: dict[int, tuple[int, int]] = {}
        for word, (start, end) in zip(self.words, self.offsets, strict=True):
            if word is not None:
                known = self.bounds.get(word, (start, end))
                self.bounds[word] = min(known[0], start), max(known[1], end)

    def span(self, first, last):
        """Characters from the first token to the last one, or of the words that they are in."""
        if None in (self.words[first], self.words[last]):
            return self.offsets[first][0], self.offsets[last][1]
        return self.bounds[self.words[first]][0], self.bounds[self.words[last]][1]


def _joined(windows, top_k):
    """The best answers of all windows; of those with the same words the scores are added."""
    found: dict[str, Answer] = {}
    for answers, _ in windows:
        for answer in answers:
            key = answer.text.lower()
            before = found.get(key)
            found[key] = before._replace(score=before.score + answer.score) if before else answer
    nothing = [none for _, none in windows if none is not None]
    candidates = [*found.values(), *([min(nothing, key=lambda a: a.score)] if nothing else [])]
    best = sorted(candidates, key=lambda answer: -answer.score)[:top_k]
    return best or [Answer("", 0, 0, 0.0)]
