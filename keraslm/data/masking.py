"""Masking: BERT's training task (Devlin et al. 2019), drawn anew every epoch."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from keraslm._text import (
    checked_count,
    checked_flag,
    checked_list,
    checked_rows,
    checked_seed,
    checked_share,
    checked_tokenizer,
)
from keraslm._types import Dataset
from keraslm.data.batches import batch_indices


class MaskedLM:
    """Hides tokens of a batch and asks for them; TensorFlow operations, for ``tf.data``'s ``map``.

    Of the ordinary tokens (all but the tokenizer's special ones) ``rate`` are chosen, at least one
    a row; 80 % of the chosen become the mask token, 10 % a random ordinary token, 10 % stay.

    Args:
        tokenizer: a ``keraslm.tokenizers.Tokenizer`` with a mask token.
        rate: share of the ordinary tokens to choose.
        whole_word: choose all pieces of a word together (wordpiece: a piece that begins with
            ``##`` goes on with the word before). A word that would be only half within ``rate``
            is left out.
        max_predictions: slots a row; default ``rate`` of the row's length, rounded up. More are
            never chosen.
        seed: with ``step`` it determines every draw.

    Raises:
        ValueError: no mask token, ``rate`` outside (0, 1), ``max_predictions`` below 1, or
            ``whole_word`` with a vocabulary that has no ``##`` pieces.

    Example:
        >>> from keraslm.tokenizers import Tokenizer
        >>> tokenizer = Tokenizer.train(["a cat sat on a mat"] * 9, "wordpiece", 20)
        >>> masked = MaskedLM(tokenizer)
        >>> inputs, targets, weight = masked([tokenizer.encode("a cat sat", True)], step=0)
        >>> sorted(inputs)
        ['masked_positions', 'padding_mask', 'token_ids']
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        rate: float = 0.15,
        whole_word: bool = False,
        max_predictions: int | None = None,
        seed: int = 0,
    ) -> None:
        rate, seed = checked_share(rate, "rate"), checked_seed(seed)
        if max_predictions is not None:
            max_predictions = checked_count(max_predictions, "max_predictions")
        self.mask_id = checked_tokenizer(tokenizer).special_id("mask")
        if self.mask_id is None:
            raise ValueError(
                "The tokenizer has no mask token. Train it with kind='wordpiece', or with '[MASK]'"
                " or '<mask>' among its special_tokens."
            )
        self.pad_id = tokenizer.pad_id
        self.rate, self.max_predictions, self.seed = rate, max_predictions, seed
        self.is_ordinary = np.ones(tokenizer.vocab_size, bool)  # (V,)
        self.is_ordinary[list(tokenizer.special_tokens.values())] = False
        self.continues = np.zeros(tokenizer.vocab_size, bool)  # (V,)
        if checked_flag(whole_word, "whole_word"):
            self.continues[:] = [token.startswith("##") for token in tokenizer.vocabulary]
            if not self.continues.any():
                raise ValueError(
                    "whole_word needs a wordpiece tokenizer; this one has no token with '##'."
                )

    def __call__(self, token_ids, step=0):
        """Mask a batch.

        Args:
            token_ids: ``(B, T)`` integers, padded with the tokenizer's padding token.
            step: integer; another step, other draws.

        Returns:
            ``(inputs, targets, sample_weight)``. Inputs: ``token_ids`` int32 ``(B, T)``,
            ``padding_mask`` bool ``(B, T)``, ``masked_positions`` int32 ``(B, P)``, ascending.
            Targets int32 and weight float32, ``(B, P)``. Unused slots are 0 in all three.

        Raises:
            ValueError: no rows of token ids, or rows shorter than ``max_predictions``.
        """
        import tensorflow as tf

        if not tf.is_tensor(token_ids):
            rows = checked_rows(token_ids, "token_ids", len(self.is_ordinary))
            if len({len(row) for row in rows}) != 1:
                raise ValueError("token_ids must be rows of one length. Pad the shorter ones.")
            token_ids = tf.constant(rows)
        if token_ids.shape.rank != 2 or not token_ids.dtype.is_integer:
            raise ValueError(
                f"token_ids must be whole numbers (batch, length); received {token_ids.dtype.name}"
                f" {token_ids.shape}."
            )
        token_ids = tf.cast(token_ids, tf.int32)
        length = token_ids.shape[1]
        slots = self.max_predictions or math.ceil(self.rate * length)
        if slots > length:
            raise ValueError(
                f"max_predictions={slots} is more than the {length} tokens of a row. Use fewer."
            )
        first = 3 * tf.cast(step, tf.int64)
        seeds = [tf.stack([tf.cast(self.seed, tf.int64), first + i]) for i in range(3)]
        chosen = self._choose(token_ids, slots, seeds[0])  # (B, T)

        ordinary = tf.constant(np.flatnonzero(self.is_ordinary), tf.int32)
        shape = tf.shape(token_ids)
        other = tf.random.stateless_uniform(shape, seeds[1], maxval=len(ordinary), dtype=tf.int32)
        other = tf.gather(ordinary, other)
        draw = tf.random.stateless_uniform(shape, seeds[2])
        masked = tf.where(chosen & (draw < 0.9), other, token_ids)
        masked = tf.where(chosen & (draw < 0.8), self.mask_id, masked)

        positions = tf.where(chosen, tf.range(length), length)
        positions = tf.sort(positions, axis=1)[:, :slots]  # (B, P)
        used = positions < length
        positions = tf.where(used, positions, 0)
        targets = tf.where(used, tf.gather(token_ids, positions, batch_dims=1), 0)
        if self.pad_id is None:
            padding_mask = tf.ones_like(token_ids, tf.bool)
        else:
            padding_mask = token_ids != self.pad_id
        inputs = {
            "token_ids": masked,
            "padding_mask": padding_mask,
            "masked_positions": positions,
        }
        return inputs, targets, tf.cast(used, tf.float32)

    def _choose(self, token_ids, slots, seed):
        """``(B, T)`` bool: words in a random order are taken until there are enough tokens."""
        import tensorflow as tf

        ordinary = tf.gather(tf.constant(self.is_ordinary), token_ids)
        shape = tf.shape(token_ids)
        rows, length = shape[0], shape[1]
        # A word begins everywhere but where a "##" piece follows an ordinary token.
        follows = tf.pad(ordinary[:, :-1], [[0, 0], [1, 0]])
        begins = ~(tf.gather(tf.constant(self.continues), token_ids) & ordinary & follows)
        word = tf.cumsum(tf.cast(begins, tf.int32), axis=1) - 1
        word += tf.range(rows)[:, None] * length  # numbered through the batch
        number = rows * length

        def per_word(reduce, values):  # of each word, at each of its tokens
            values = reduce(tf.reshape(values, [-1]), tf.reshape(word, [-1]), number)
            return tf.gather(values, word)

        score = tf.random.stateless_uniform(shape, seed)
        score = per_word(tf.math.unsorted_segment_min, tf.where(begins, score, 1.0))
        order = tf.argsort(tf.where(ordinary, score, 2.0), axis=1, stable=True)
        rank = tf.argsort(order, axis=1)  # place of each token in that order
        first = per_word(tf.math.unsorted_segment_min, rank)
        size = per_word(tf.math.unsorted_segment_sum, tf.ones_like(rank))

        count = tf.reduce_sum(tf.cast(ordinary, tf.float32), axis=1, keepdims=True)
        wanted = tf.maximum(1, tf.cast(tf.round(self.rate * count), tf.int32))  # (B, 1)
        # The word that crosses the line is taken if its middle is on this side, or it is the first.
        near = (2 * first + size < 2 * wanted) | (first == 0)
        return ordinary & near & (first + size <= slots)


def masked_lm_dataset(
    texts: Iterable[str],
    tokenizer: Any,
    *,
    length: int,
    batch_size: int,
    rate: float = 0.15,
    whole_word: bool = False,
    max_predictions: int | None = None,
    shuffle: bool = True,
    seed: int = 0,
    repeat: bool = False,
    epoch: int = 0,
) -> Dataset:
    """Masked-language-model batches of texts.

    Each text is cut into pieces of at most ``length - 2`` tokens, each between ``[CLS]`` and
    ``[SEP]`` and padded. Shuffled (training), order and masks differ every pass and are functions
    of the seed and the pass; else (validation) they are the same every pass and every piece comes.

    Args:
        texts: documents or sentences.
        tokenizer: a ``keraslm.tokenizers.Tokenizer`` with mask, padding, cls and sep tokens.
        length: tokens of a row, special ones included.
        batch_size: rows a batch.
        rate, whole_word, max_predictions: see `MaskedLM`.
        shuffle, seed, repeat, epoch: see `PackedTokens.dataset`.

    Returns:
        a ``tf.data.Dataset`` of what `MaskedLM` returns.

    Raises:
        ValueError: no text, ``length`` below 3, a special token missing; as `MaskedLM` besides.

    Example:
        >>> from keraslm.tokenizers import Tokenizer
        >>> texts = ["a cat sat on a mat"] * 9
        >>> tokenizer = Tokenizer.train(texts, "wordpiece", 20)
        >>> dataset = masked_lm_dataset(texts, tokenizer, length=8, batch_size=4)
        >>> dataset.element_spec[0]["token_ids"].shape.as_list()
        [4, 8]
    """
    length = checked_count(length, "length", 3)  # [CLS], a token, [SEP]
    masked = MaskedLM(
        tokenizer, rate=rate, whole_word=whole_word, max_predictions=max_predictions, seed=seed
    )
    if max_predictions is not None and max_predictions > length:
        raise ValueError(f"max_predictions={max_predictions} is more than length={length}.")
    rows = _padded_rows(texts, tokenizer, length)

    import tensorflow as tf

    batches = batch_indices(
        len(rows), batch_size, shuffle=shuffle, seed=seed, repeat=repeat, epoch=epoch
    )
    with tf.device("CPU:0"):  # tf.data runs there
        rows = tf.constant(rows)
    return batches.map(lambda step, indices: masked(tf.gather(rows, indices), step)).prefetch(2)


def _padded_rows(texts, tokenizer, length):
    """``(rows, length)``: [CLS] piece [SEP] padding."""
    texts = checked_list(texts)
    ids = {role: tokenizer.special_id(role) for role in ("cls", "sep", "pad")}
    missing = [role for role, i in ids.items() if i is None]
    if missing:
        raise ValueError(
            f"The tokenizer has no {' and no '.join(missing)} token. Train it with"
            " kind='wordpiece', or with '[CLS]', '[SEP]' and '[PAD]' among its special_tokens."
        )
    room = length - 2
    pieces = [
        [ids["cls"], *encoded[start : start + room], ids["sep"]]
        for encoded in tokenizer.encode_batch(texts)
        for start in range(0, len(encoded), room)
    ]
    if not pieces:
        raise ValueError("There is no text to mask. Give at least one document.")
    dtype = np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32
    rows = np.full((len(pieces), length), ids["pad"], dtype)
    for row, piece in zip(rows, pieces, strict=True):
        row[: len(piece)] = piece
    return rows
