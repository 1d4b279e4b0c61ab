"""What an encoder answers about text: the missing word, a vector, a class."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keraslm.tasks import bundle

BATCH_SIZE = 32


class Filled(NamedTuple):
    """A word for a mask, and how likely the model finds it."""

    token: str
    probability: float
    text: str


class Classified(NamedTuple):
    """The likeliest class of a text, and the probability of each."""

    label: str
    probabilities: dict[str, float]


class EncoderTask:
    """A `keraslm.models.BERT` with its tokenizer: what the three tasks share."""

    heads: tuple[str | None, ...] = ()

    def __init__(self, model, tokenizer):
        head = getattr(model, "head", "none")
        if head not in self.heads:
            raise ValueError(
                f"model must be a BERT with one of the heads {self.heads}; received {head!r}."
            )
        if tokenizer is not None and tokenizer.vocab_size > model.vocab_size:
            raise ValueError(
                f"The tokenizer has {tokenizer.vocab_size} tokens, the model {model.vocab_size}. "
                "Give the tokenizer that the model was trained with."
            )
        self.model = model
        self.tokenizer = tokenizer
        self.max_length = model.max_length

    def outputs(self, texts: Sequence[str]):
        """What the model gives for each text, float32, and the padding mask.

        Longer texts are cut to ``max_length``. Texts of like length share a batch.

        Args:
            texts: strings.

        Yields:
            ``(number of the text, outputs of its row, ids of the row)``.
        """
        import keras

        rows = [self._ids(text) for text in texts]
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        for start in range(0, len(order), BATCH_SIZE):
            some = order[start : start + BATCH_SIZE]
            longest = max(len(rows[i]) for i in some)
            ids = np.zeros((len(some), longest), "int32")
            mask = np.zeros(ids.shape, bool)
            for row, i in enumerate(some):
                ids[row, : len(rows[i])], mask[row, : len(rows[i])] = rows[i], True
            inputs = {"token_ids": ids, "padding_mask": mask}
            found = self.model(inputs, training=False)
            found = keras.ops.convert_to_numpy(keras.ops.cast(found, "float32"))
            for row, i in enumerate(some):
                yield i, found[row], rows[i]

    def _ids(self, text):
        bundle.check_tokenizer(self)
        if not isinstance(text, str):
            raise ValueError(f"A text must be a str; received a {type(text).__name__}.")
        ids = self.tokenizer.encode(text, add_special_tokens=True)
        if len(ids) > self.max_length:
            after = len(self.tokenizer.added_tokens()[1])
            ids = ids[: self.max_length - after] + ids[len(ids) - after :]
        return ids or [self.tokenizer.bos_id or 0]

    def get_config(self) -> dict:
        """Settings beside model and tokenizer; Keras registers only classes that have this."""
        return self.settings

    @property
    def settings(self):
        """What the bundle keeps beside model and tokenizer, as JSON-ready values."""
        return {}

    def save_huggingface(self, folder):
        """Write a folder that `transformers` loads; see `keraslm.interop.save_huggingface`."""
        from keraslm.interop.huggingface import save_huggingface

        return save_huggingface(
            self.model, folder, tokenizer=self.tokenizer, labels=getattr(self, "labels", None)
        )

    def save(self, folder, *, card=None, dtype=None):
        """Write a bundle; `keraslm.from_pretrained` reads it. See `TextGenerator.save`."""
        return bundle.write(self, folder, card, dtype)


class FillMask(EncoderTask):
    """Guesses hidden words.

    Args:
        model: a `keraslm.models.BERT` with ``head="masked_lm"``.
        tokenizer: a `keraslm.tokenizers.Tokenizer` with a mask token.

    Example:
        >>> fill = keraslm.tasks.FillMask(bert, tokenizer)
        >>> fill.predict("Paris is the [MASK] of France.", top_k=5)
    """

    heads = ("masked_lm",)

    def predict(self, text: str, top_k: int = 5):
        """The likeliest words for each mask.

        Args:
            text: with one mask token or several, such as ``[MASK]``.
            top_k: how many words.

        Returns:
            a list of `Filled`, the likeliest first; for several masks a list of such lists.

        Raises:
            ValueError: no mask token in the text.
        """
        (_, logits, ids) = next(self.outputs([text]))
        mask = self.tokenizer.special_id("mask")
        places = [i for i, token in enumerate(ids) if token == mask]
        if mask is None or not places:
            name = "a mask token" if mask is None else self.tokenizer.id_to_token(mask)
            raise ValueError(f"The text has no mask. Write {name} where a word is hidden.")
        found = [self._words(logits[place], ids, place, top_k) for place in places]
        return found[0] if len(found) == 1 else found

    def _words(self, logits, ids, place, top_k):
        p = np.exp(logits - logits.max())
        p /= p.sum()
        best = np.argsort(-p)[:top_k]
        return [
            Filled(
                self.tokenizer.decode([int(i)]).strip(),
                float(p[i]),
                self.tokenizer.decode([*ids[:place], int(i), *ids[place + 1 :]]),
            )
            for i in best
        ]


class SentenceEncoder(EncoderTask):
    """Turns texts into vectors that are near where the texts are alike.

    Args:
        model: a `keraslm.models.BERT` with ``head=None`` or ``"pooled"``.
        tokenizer: a `keraslm.tokenizers.Tokenizer`.
        pooling: of the hidden states: ``"mean"`` over the real tokens, ``"cls"`` (the first) or
            ``"max"``; a pooled head needs none.
        normalize: make every vector one long.
        max_length: tokens of a text, beyond which it is cut; default what the model takes.

    Example:
        >>> encoder = keraslm.from_pretrained("all-MiniLM-L6-v2")
        >>> encoder.similarity(["A cat sits."], ["A cat is sitting.", "Stocks fell."])
    """

    heads = (None, "pooled")

    def __init__(self, model, tokenizer, *, pooling="mean", normalize=True, max_length=None):
        super().__init__(model, tokenizer)
        longest = model.max_length
        if max_length is not None and not (type(max_length) is int and 2 < max_length <= longest):
            raise ValueError(
                f"max_length must be from 3 to the model's {model.max_length}; received "
                f"{max_length!r}."
            )
        self.max_length = max_length or model.max_length
        if pooling not in ("mean", "cls", "max"):
            raise ValueError(f"pooling must be 'mean', 'cls' or 'max'; received {pooling!r}.")
        self.pooling = pooling
        self.normalize = normalize

    @property
    def settings(self):
        return {
            "pooling": self.pooling,
            "normalize": self.normalize,
            "max_length": self.max_length,
        }

    def save_huggingface(self, folder):
        """Write a folder that sentence-transformers and `transformers` load."""
        from keraslm.interop.huggingface import save_huggingface, sentence_files

        files = sentence_files(
            self.model.transformer_config.d_model, self.pooling, self.normalize, self.max_length
        )
        return save_huggingface(self.model, folder, tokenizer=self.tokenizer, files=files)

    def encode(self, texts):
        """Vectors float32 ``(d_model,)`` of a str, ``(len(texts), d_model)`` of a list."""
        single = isinstance(texts, str)
        texts = [texts] if single else list(texts)
        vectors = np.zeros((len(texts), self.model.transformer_config.d_model), "float32")
        for i, hidden, ids in self.outputs(texts):
            vectors[i] = self._pool(hidden, len(ids))
        if self.normalize:
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return vectors[0] if single else vectors

    def _pool(self, hidden, length):
        if hidden.ndim == 1:
            return hidden
        if self.pooling == "cls":
            return hidden[0]
        real = hidden[:length]
        return real.mean(axis=0) if self.pooling == "mean" else real.max(axis=0)

    def similarity(self, texts, others):
        """Cosine similarities float32 ``(len(texts), len(others))``."""
        a, b = (np.atleast_2d(self.encode(x)) for x in (texts, others))
        a, b = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (a, b))
        return a @ b.T


class TextClassifier(EncoderTask):
    """Gives each text a class.

    Args:
        model: a `keraslm.models.BERT` with ``head="classifier"``.
        tokenizer: a `keraslm.tokenizers.Tokenizer`.
        labels: names of the classes; default ``"0"``, ``"1"``, …

    Example:
        >>> classifier = keraslm.tasks.TextClassifier(bert, tokenizer, ["bad", "good"])
        >>> classifier.predict("a wonderful film").label
    """

    heads = ("classifier",)

    def __init__(self, model, tokenizer, labels=None):
        super().__init__(model, tokenizer)
        labels = [str(i) for i in range(model.num_classes)] if labels is None else list(labels)
        if len(labels) != model.num_classes:
            raise ValueError(
                f"labels has {len(labels)} names; the model gives {model.num_classes} classes."
            )
        self.labels = labels

    @property
    def settings(self):
        return {"labels": self.labels}

    def predict(self, texts):
        """A `Classified` for a str, a list of them for a list."""
        single = isinstance(texts, str)
        texts = [texts] if single else list(texts)
        found: list = [None] * len(texts)
        for i, logits, _ in self.outputs(texts):
            p = np.exp(logits - logits.max())
            p /= p.sum()
            named = dict(zip(self.labels, map(float, p), strict=True))
            found[i] = Classified(self.labels[int(p.argmax())], named)
        return found[0] if single else found
