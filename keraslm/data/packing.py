"""Packing: documents as one stream of tokens, cut into rows without padding."""

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from keraslm._text import (
    checked_count,
    checked_flag,
    checked_iterable,
    checked_text,
    checked_tokenizer,
)
from keraslm._types import Dataset
from keraslm.data.batches import batch_indices

# Documents are encoded in groups of at most this many characters, to bound memory.
GROUP_CHARACTERS = 1 << 22


@dataclass(frozen=True, eq=False)
class TokenStream:
    """All documents, one after the other, each in the tokenizer's ``document_template``.

    Attributes:
        ids: ``(num_tokens,)`` uint16, or uint32 for vocabularies above 65,536.
        starts: ``(documents,)`` int64, index of each document's first token.
        num_bytes: UTF-8 bytes of the texts, for bits per byte.

    Example:
        >>> stream = TokenStream(np.arange(10, dtype=np.uint16), np.array([0, 6]), num_bytes=35)
        >>> stream.num_tokens, stream.bytes_per_token
        (10, 3.5)
    """

    ids: np.ndarray
    starts: np.ndarray
    num_bytes: int

    @property
    def num_tokens(self) -> int:
        """Number of tokens, those at the ends of documents included."""
        return len(self.ids)

    @property
    def bytes_per_token(self) -> float:
        """A loss in nats a token, divided by this and by ln 2, is in bits a byte."""
        return self.num_bytes / self.num_tokens

    def __len__(self):
        return self.num_tokens


def encode_documents(
    texts: Iterable[str], tokenizer: Any, *, batch: int = 1000, allow_control_tokens: bool = False
) -> TokenStream:
    """Encode documents into one stream.

    Args:
        texts: documents, read once; empty ones are skipped.
        tokenizer: a ``keraslm.tokenizers.Tokenizer``. Its ``document_template`` stands around each
            document: the token that ends texts behind it and, where prompts begin with tokens of
            a template, these in front.
        batch: documents encoded at a time, in parallel.
        allow_control_tokens: whether ``<|endoftext|>`` and the like in a document are the tokens
            of these names, as in written-out conversations. By default they are text like any
            other, so that no document ends before its end.

    Returns:
        a `TokenStream`.

    Raises:
        ValueError: no text, or an argument that cannot be.

    Example:
        >>> from keraslm.tokenizers import Tokenizer
        >>> texts = ["to be", "or not"]
        >>> stream = encode_documents(texts, Tokenizer.train(texts, kind="char", vocab_size=None))
        >>> stream.num_tokens, stream.starts.tolist(), stream.num_bytes
        (13, [0, 6], 11)
    """
    texts, batch = checked_iterable(texts), checked_count(batch, "batch")
    checked_flag(allow_control_tokens, "allow_control_tokens")
    dtype = np.uint16 if checked_tokenizer(tokenizer).vocab_size <= 1 << 16 else np.uint32
    before, after = tokenizer.document_template
    # Some tokenizers put a blank before whatever they are given: these get documents whole.
    cuts = tokenizer.encode("a\nb") == tokenizer.encode("a\n") + tokenizer.encode("b")
    arrays, starts, num_tokens, num_bytes = [], [], 0, 0
    for documents in _groups(texts, batch):
        pieces = [_pieces(text) if cuts else [text] for text in documents]
        flat = [piece for parts in pieces for piece in parts]
        encoded = iter(tokenizer.encode_batch(flat, allow_control_tokens=allow_control_tokens))
        for text, parts in zip(documents, pieces, strict=True):
            ids = [token for _ in parts for token in next(encoded)]
            if not ids:
                continue
            arrays.append(np.asarray([*before, *ids, *after], dtype))
            starts.append(num_tokens)
            num_tokens += len(arrays[-1])
            num_bytes += len(text.encode("utf-8"))
    if not arrays:
        raise ValueError("There is no text to encode. Give at least one document.")
    return TokenStream(np.concatenate(arrays), np.asarray(starts, np.int64), num_bytes)


def _groups(texts, batch):
    group, characters = [], 0
    for i, text in enumerate(texts):
        group.append(checked_text(text, f"texts[{i}]"))
        characters += len(text)
        if len(group) >= batch or characters >= GROUP_CHARACTERS:
            yield group
            group, characters = [], 0
    if group:
        yield group


def _pieces(text, size=1 << 18):
    """Cut a huge document at ends of lines, where no tokenizer of ours joins: encoded in parallel.

    Only between a line's newline and a word: a run of newlines may be one token.
    """
    pieces, start = [], 0
    line_end = re.compile(r"(?<=\S\n)(?=\S)")
    while len(text) - start > size:
        cut = line_end.search(text, start + size)
        if cut is None:
            break
        pieces.append(text[start : cut.start()])
        start = cut.start()
    return [*pieces, text[start:]]


def pack(
    source: TokenStream | Iterable[str],
    tokenizer: Any = None,
    *,
    length: int,
    isolate_documents: bool = False,
) -> "PackedTokens":
    """Cut a stream of tokens into rows for next-token training, without padding.

    A row is ``length + 1`` tokens, the first of which is the last of the row before: every token
    but the very first is a target once. Only the last incomplete row is dropped.

    Args:
        source: a `TokenStream`, or documents.
        tokenizer: for documents.
        length: tokens of an input row.
        isolate_documents: rows run over the ends of documents; with this the model is told where
            (``segment_ids``) and the first token of a document is no target.

    Returns:
        `PackedTokens`.

    Raises:
        ValueError: an argument that cannot be, fewer than ``length + 1`` tokens, or no tokenizer
            for texts.

    Example:
        >>> stream = TokenStream(np.arange(10, dtype=np.uint16), np.array([0, 6]), num_bytes=10)
        >>> pack(stream, length=4).rows.tolist()
        [[0, 1, 2, 3, 4], [4, 5, 6, 7, 8]]
    """
    length = checked_count(length, "length")
    isolate_documents = checked_flag(isolate_documents, "isolate_documents")
    if not isinstance(source, TokenStream):
        if tokenizer is None:
            raise ValueError("pack needs a tokenizer for texts: pack(texts, tokenizer, length=…).")
        source = encode_documents(source, tokenizer)
    if source.num_tokens < length + 1:
        raise ValueError(
            f"The corpus has {source.num_tokens} tokens, fewer than length + 1 = {length + 1}."
            " Use a smaller length or more text."
        )
    return PackedTokens(source, length, isolate_documents)


@dataclass(frozen=True, eq=False)
class PackedTokens:
    """Rows of a `TokenStream`; made by `pack`.

    Attributes:
        stream: the `TokenStream`.
        length: tokens of an input row.
        isolate_documents: whether batches tell documents apart.

    Example:
        >>> stream = TokenStream(np.arange(10, dtype=np.uint16), np.array([0, 6]), num_bytes=35)
        >>> packed = pack(stream, length=4)
        >>> len(packed), packed.rows.shape
        (2, (2, 5))
        >>> inputs, targets = next(iter(packed.dataset(batch_size=2, shuffle=False)))
    """

    stream: TokenStream
    length: int
    isolate_documents: bool = False

    def __len__(self):
        return (self.stream.num_tokens - 1) // self.length

    @property
    def rows(self) -> np.ndarray:
        """``(rows, length + 1)``, a view of the stream's ids."""
        return self._windows(self.stream.ids)

    @property
    def segment_ids(self) -> np.ndarray:
        """``(rows, length)`` int32: which document of its row a token belongs to, from 0."""
        begins = self._windows(self._begins)[:, :-1].astype(np.int32)
        begins[:, 0] = 0
        return np.cumsum(begins, axis=1, dtype=np.int32)

    @property
    def bytes_per_token(self) -> float:
        """See `TokenStream.bytes_per_token`."""
        return self.stream.bytes_per_token

    def arrays(self) -> tuple[Any, ...]:
        """All rows as numpy arrays, for ``model.fit(x, y)``.

        Returns:
            ``(inputs, targets)``, or ``(inputs, targets, sample_weight)`` with isolated documents;
            the parts as in `dataset`.
        """
        rows = self.rows.astype(np.int32)
        token_ids, targets = rows[:, :-1], rows[:, 1:]
        if not self.isolate_documents:
            return token_ids, targets
        weight = 1 - self._windows(self._begins)[:, 1:].astype(np.float32)
        return {"token_ids": token_ids, "segment_ids": self.segment_ids}, targets, weight

    def dataset(
        self,
        batch_size: int,
        *,
        shuffle: bool = True,
        seed: int = 0,
        repeat: bool = False,
        epoch: int = 0,
    ) -> Dataset:
        """Batches for ``model.fit``.

        Shuffled batches are always full, every pass has another order, a function of ``seed`` and
        the pass. Without ``shuffle`` every row comes, in order: the last batch may be short.

        Args:
            batch_size: rows a batch.
            shuffle: for training; ``False`` for validation.
            seed: of the order.
            repeat: pass after pass without end (``fit`` needs ``steps_per_epoch`` then).
            epoch: number of the first pass, to go on with training that was interrupted.

        Returns:
            a ``tf.data.Dataset`` of ``(token_ids, targets)``, int32 ``(batch, length)``, targets
            being the next tokens. With isolated documents ``({"token_ids", "segment_ids"}, targets,
            sample_weight)``: int32 ``(batch, length)``, the weight float32 and 0 where the target
            begins a document.

        Raises:
            ValueError: ``batch_size`` below 1, or above the number of rows when shuffling.
        """
        import tensorflow as tf

        batches = batch_indices(
            len(self), batch_size, shuffle=shuffle, seed=seed, repeat=repeat, epoch=epoch
        )
        length = self.length
        with tf.device("CPU:0"):  # tf.data runs there
            ids = tf.constant(self.stream.ids)
            begins = tf.constant(self._begins) if self.isolate_documents else None

        def read(_, indices):
            at = indices[:, None] * length + tf.range(length + 1, dtype=tf.int64)  # (B, T + 1)
            tokens = tf.cast(tf.gather(ids, at), tf.int32)
            token_ids, targets = tokens[:, :-1], tokens[:, 1:]  # (B, T)
            if begins is None:
                return token_ids, targets
            begin = tf.gather(begins, at)
            segment_ids = tf.cumsum(tf.cast(begin[:, 1:-1], tf.int32), axis=1)  # (B, T - 1)
            segment_ids = tf.pad(segment_ids, [[0, 0], [1, 0]])  # (B, T), 0 first
            weight = 1.0 - tf.cast(begin[:, 1:], tf.float32)
            return {"token_ids": token_ids, "segment_ids": segment_ids}, targets, weight

        return batches.map(read).prefetch(2)

    @functools.cached_property
    def _begins(self):
        """``(num_tokens,)`` bool: True where a document begins."""
        begins = np.zeros(self.stream.num_tokens, bool)
        begins[self.stream.starts] = True
        return begins

    def _windows(self, values):
        view = np.lib.stride_tricks.sliding_window_view(values, self.length + 1)
        return view[:: self.length]
