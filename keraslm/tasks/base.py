"""What every task on an encoder is: text into arrays, arrays into an answer, in three steps."""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from keraslm._text import checked_list
from keraslm.tasks import bundle

BATCH_SIZE = 32
WIDTH = 8  # rows are padded to a multiple of it, so that few shapes are ever run


class Task:
    """A model with its tokenizer, and the answer that the two give about a text.

    The answer has three steps, and the public method of a task (``predict``, ``encode``) is these
    three in a row:

    * `inputs` turns texts into arrays, by name and dtype as `input_spec` says;
    * `compute` turns these into tensors by name: the model, and whatever follows it as arithmetic
      (pooling, normalisation, softmax). It is made of ``keras.ops`` alone: exports trace it;
    * `answers` turns the tensors, as arrays, into Python values, such as a label.

    Args:
        model: a model on token ids, such as a `keraslm.models.BERT`.
        tokenizer: a `keraslm.tokenizers.Tokenizer`; ``None`` for a task that is given one later.
        max_length: tokens of a text, special ones included, beyond which it is cut; default what
            the model takes.

    Attributes:
        sample: some of the text that a task was trained on, for its exports to be judged on; a
            bundle keeps it. ``None``: there is none.

    Raises:
        ValueError: the model has another head, or the tokenizer has more tokens than the model.

    Example:
        >>> tokenizer = keraslm.tokenizers.Tokenizer.train(texts, "wordpiece", 300)
        >>> bert = keraslm.models.BERT(tokenizer.vocab_size, num_layers=1, d_model=16, num_heads=2,
        ...                            head=None)
        >>> encoder = keraslm.tasks.SentenceEncoder(bert, tokenizer)
        >>> arrays = encoder.inputs(["A cat sits.", "Stocks fell."])
        >>> tensors = encoder.compute(**arrays)
        >>> vectors = encoder.answers(tensors)
    """

    heads: tuple[str | None, ...] = ()  # of the models that the task takes
    example = ""  # what a model card shows: a call on a variable
    endpoint = ""  # what a SavedModel calls it
    is_on_pairs = False  # of texts
    sample: list[str] | None = None

    def __init__(self, model: Any, tokenizer: Any, *, max_length: int | None = None) -> None:
        head = getattr(model, "head", "none")
        if head not in self.heads:
            raise ValueError(
                f"model must be a BERT or GPTEncoder with one of the heads {self.heads}; received "
                f"{head!r}."
            )
        if tokenizer is not None and tokenizer.vocab_size > model.vocab_size:
            raise ValueError(
                f"The tokenizer has {tokenizer.vocab_size} tokens, the model {model.vocab_size}. "
                "Give the tokenizer that the model was trained with."
            )
        longest = model.max_length
        if max_length is not None and not (type(max_length) is int and 2 < max_length <= longest):
            raise ValueError(
                f"max_length must be from 3 to the model's {longest}; received {max_length!r}."
            )
        self.model = model
        self.tokenizer = tokenizer
        self.max_length = max_length or longest

    def __setattr__(self, name: str, value: Any):
        super().__setattr__(name, value)
        self.__dict__.pop("_run", None)  # what was compiled may have read it

    # === Text → arrays ===

    @property
    def input_spec(self) -> dict[str, str]:
        """The arrays of `compute`: name → dtype, each ``(batch, seq)``.

        ``token_ids``, ``padding_mask`` (1: real; padding is on the right) and, of a model that
        has them, ``token_types``.
        """
        names = ("token_ids", "padding_mask", "token_types")
        known = {"padding_mask", *self.model.input_names}
        return {name: "int32" for name in names if name in known}

    def inputs(self, texts: Sequence[Any], length: int | None = None) -> dict[str, np.ndarray]:
        """Arrays of texts, as `input_spec` names them.

        Args:
            texts: strings, or what else the task takes.
            length: of the arrays; default that of the longest text.

        Returns:
            for each name an array ``(len(texts), length)``; longer texts are cut.

        Raises:
            ValueError: no list, or something in it that the task does not take.
        """
        return self._padded([self._row(text, length) for text in checked_list(texts)], length)

    def _row(self, text: Any, length: int | None = None) -> dict[str, list[int]]:
        """Values of one text, by the names of `input_spec`, not padded; one token at least."""
        bundle.check_tokenizer(self)
        ids = self.tokenizer.encode(text, add_special_tokens=True)
        return {"token_ids": self._cut(ids, length) or [self.tokenizer.bos_id or 0]}

    def _cut(self, values: list, length: int | None = None) -> list:
        """Values of tokens, without those in front of the closing special ones that do not fit."""
        limit = min(self.max_length, length or self.max_length)
        if len(values) <= limit:
            return values
        after = len(self.tokenizer.added_tokens()[1])
        return values[: limit - after] + values[len(values) - after :]

    def _padded(self, rows: list[dict[str, list[int]]], length: int | None) -> dict:
        length = length or max((len(row["token_ids"]) for row in rows), default=1)
        arrays = {n: np.zeros((len(rows), length), dtype) for n, dtype in self.input_spec.items()}
        for i, row in enumerate(rows):
            for name, values in {"padding_mask": [1] * len(row["token_ids"]), **row}.items():
                if name in arrays:
                    arrays[name][i, : len(values)] = values
        return arrays

    # === Arrays → tensors ===

    def compute(self, **tensors: Any) -> dict[str, Any]:
        """The answer as tensors, by name.

        Args:
            tensors: by the names of `input_spec`, int32 ``(batch, seq)``.
        """
        raise NotImplementedError(f"{type(self).__name__} has no compute.")

    def model_outputs(self, *, token_ids: Any, padding_mask: Any, token_types: Any = None) -> Any:
        """What the model gives, float32, and the mask as bool ``(batch, seq)``."""
        real = ops.cast(padding_mask, "bool")
        given = {"token_ids": ops.convert_to_tensor(token_ids), "padding_mask": real}
        if token_types is not None:
            given["token_types"] = ops.convert_to_tensor(token_types)
        return ops.cast(self.model(given, training=False), "float32"), real

    # === Tensors → answers ===

    def answers(self, arrays: dict[str, np.ndarray], texts: Sequence[Any]) -> list[Any]:
        """Python values, one a text.

        Args:
            arrays: what `compute` gives for ``inputs(texts)``, as arrays.
            texts: the texts.
        """
        raise NotImplementedError(f"{type(self).__name__} has no answers.")

    # === All three ===

    def predict(self, texts: Any) -> Any:
        """The answer for a text, a list of them for a list."""
        single = isinstance(texts, str)
        found = self.each([texts] if single else texts)
        return found[0] if single else found

    def batches(
        self, texts: Sequence[Any], run: Any = None
    ) -> Iterator[tuple[list[int], dict[str, np.ndarray]]]:
        """``compute(**inputs(texts))`` in batches of texts of like length.

        Args:
            texts: what `inputs` takes.
            run: what takes the place of `compute`, such as an exported file.

        Yields:
            numbers of the texts, and the arrays of `compute` for these.
        """
        rows = [self._row(text) for text in checked_list(texts)]
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]["token_ids"]))
        for start in range(0, len(order), BATCH_SIZE):
            some = order[start : start + BATCH_SIZE]
            longest = len(rows[some[-1]]["token_ids"])
            width = min(-(-longest // WIDTH) * WIDTH, self.model.max_length)
            given = self._padded([rows[i] for i in some], width)
            found = (run or self._run)(**{k: ops.convert_to_tensor(v) for k, v in given.items()})
            yield some, {name: ops.convert_to_numpy(value) for name, value in found.items()}

    def each(self, texts: Sequence[Any], *, run: Any = None, **options: Any) -> list[Any]:
        """The answer for each text; ``run`` as in `batches`, ``options`` as in `answers`."""
        texts = checked_list(texts)
        found: list[Any] = [None] * len(texts)
        for some, arrays in self.batches(texts, run):
            answers = self.answers(arrays, [texts[i] for i in some], **options)
            for i, answer in zip(some, answers, strict=True):
                found[i] = answer
        return found

    @functools.cached_property
    def _run(self):
        """`compute`, compiled once for arrays of any shape."""
        if keras.backend.backend() != "tensorflow":
            return self.compute
        import tensorflow as tf

        spec = {n: tf.TensorSpec((None, None), d, n) for n, d in self.input_spec.items()}
        return tf.function(self.compute, autograph=False).get_concrete_function(**spec)

    def outputs(self, texts: Sequence[Any]) -> Iterator[tuple[int, np.ndarray, list[int]]]:
        """What the model itself gives for each text, float32.

        Args:
            texts: what `inputs` takes.

        Yields:
            number of the text, what the model gives for its row, ids of the row; in batches of
            texts of like length.
        """

        def run(**tensors):
            return {"outputs": self.model_outputs(**tensors)[0], "token_ids": tensors["token_ids"]}

        for some, arrays in self.batches(texts, run):
            for i, row, ids in zip(some, arrays["outputs"], arrays["token_ids"], strict=True):
                yield i, row, ids[: len(self._row(texts[i])["token_ids"])].tolist()

    # === For proofs ===

    def samples(self, texts: Sequence[str]) -> list[Any]:
        """What the task can be asked about, made of plain texts."""
        return list(texts)

    def ask(self, samples: Sequence[Any]) -> list[Any]:
        """What the public method answers to each of `samples`."""
        return list(self.predict(samples))

    # === Keeping ===

    def get_config(self) -> dict[str, Any]:
        """Settings beside model and tokenizer; Keras registers only classes that have this."""
        return self.settings

    @property
    def settings(self) -> dict[str, Any]:
        """What the bundle keeps beside model and tokenizer, as JSON-ready values."""
        return {"max_length": self.max_length}

    @classmethod
    def stated_settings(cls, folder: Path, config: dict[str, Any], model: Any) -> dict[str, Any]:
        """The settings that a Hugging Face folder states.

        Args:
            folder: the folder.
            config: its ``config.json``.
            model: the model that was loaded from it.
        """
        from keraslm.interop.folders import max_length_of

        return {"max_length": max_length_of(folder, model.max_length)}

    def with_model(self, model: Any) -> "Task":
        """The same task on another model, such as a float32 copy."""
        return type(self)(model, self.tokenizer, **self.settings)

    def save_huggingface(self, folder: Any) -> Any:
        """Write a folder that `transformers` loads; see `keraslm.interop.save_huggingface`."""
        from keraslm.interop.huggingface import save_huggingface

        stated = {name: getattr(self, name, None) for name in ("labels", "problem_type")}
        return save_huggingface(self.model, folder, tokenizer=self.tokenizer, **stated)

    def save(self, folder: Any, *, card: str | None = None, dtype: str | None = None) -> Any:
        """Write a bundle; `keraslm.from_pretrained` reads it. See `TextGenerator.save`."""
        return bundle.write(self, folder, card, dtype)


def checked_labels(model: Any, labels: Sequence[str] | None) -> list[str]:
    """Names of the classes of a model; default their numbers.

    Raises:
        ValueError: too few or too many, or no list.
    """
    numbers = map(str, range(model.num_classes))
    names = list(numbers) if labels is None else checked_list(labels, "labels")
    if len(names) != model.num_classes:
        raise ValueError(
            f"labels has {len(names)} names; the model gives {model.num_classes} classes."
        )
    return names
