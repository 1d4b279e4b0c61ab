"""From ids to texts inside the graph, as the engine's decoders do it."""

import json

import numpy as np
import tensorflow as tf

from keraslm._scripts import byte_alphabet
from keraslm.export.to_saved_model.graph_reading import byte_token, unsupported
from keraslm.tokenizers.spacing import is_chinese

_SIMPLE = ("WordPiece", "Metaspace", "Fuse", None)  # each token alone, and where it stands


class Decoder:
    """Texts of ids.

    Args:
        engine: a ``tokenizers.Tokenizer``.

    Raises:
        ValueError: a decoder that is not reproduced here.
    """

    def __init__(self, engine):
        spec = json.loads(engine.to_str())
        special = {token["content"] for token in spec["added_tokens"] if token["special"]}
        size = 1 + max(engine.get_vocab(with_added_tokens=True).values())
        tokens = [engine.id_to_token(i) for i in range(size)]
        tokens = [None if token in special else token for token in tokens]
        self._shown = np.array([token is not None for token in tokens])
        self._bytes = None  # of byte tokens, else -1
        self._strip = 0
        decoder = spec["decoder"]
        kind = (decoder or {"type": None})["type"]
        if kind == "ByteLevel":
            self._first = self._later = [_spelled(token or "") for token in tokens]
        elif kind in _SIMPLE:
            first = [engine.decoder.decode([t]) if kind else t for t in map(_or_empty, tokens)]
            later = [
                engine.decoder.decode(["a", t])[1:] if kind else f" {t}"
                for t in map(_or_empty, tokens)
            ]
            self._first, self._later = _encoded(first), _encoded(later)
        elif kind == "Sequence":
            self._read_sequence(decoder["decoders"], tokens)
        else:
            raise unsupported("this decoder", kind)

    def _read_sequence(self, parts, tokens):
        """``Replace``, then ``ByteFallback``, ``Fuse`` and ``Strip`` of SentencePiece's BPE."""
        kinds = [part["type"] for part in parts]
        texts = list(map(_or_empty, tokens))
        while kinds[:1] == ["Replace"]:
            pattern = parts[0]["pattern"].get("String")
            if not pattern:
                raise unsupported("a decoder that replaces a pattern", parts[0])
            texts = [text.replace(pattern, parts[0]["content"]) for text in texts]
            parts, kinds = parts[1:], kinds[1:]
        if kinds[:1] == ["ByteFallback"]:
            values = [byte_token(text) for text in texts]
            self._bytes = np.array([-1 if b is None else b for b in values], np.int32)
            texts = ["" if b is not None else text for text, b in zip(texts, values, strict=True)]
            parts, kinds = parts[1:], kinds[1:]
        if kinds not in ([], ["Fuse"], ["Fuse", "Strip"]):
            raise unsupported("this order of decoders", kinds)
        if "Strip" in kinds:
            strip = parts[-1]
            if strip["content"] != " " or strip["stop"]:
                raise unsupported("a decoder that strips anything but spaces at the start", strip)
            self._strip = strip["start"]
        self._first = self._later = _encoded(texts)

    @property
    def keeps_space(self) -> bool:
        """Whether the tokens hold the white space, so that the decoder writes none."""
        return self._first == self._later

    def __call__(self, ids, after=None):
        """Texts: ragged (batch, None) int32 to (batch,) string.

        ``after``: ragged (batch, None) int32, what the ids continue; its text is not given.
        """
        new_from = tf.zeros([ids.nrows()], tf.int64)
        if after is not None:
            after = tf.cast(after, ids.dtype).with_row_splits_dtype(ids.row_splits.dtype)
            new_from = tf.cast(after.row_lengths(), tf.int64)
            ids = tf.concat([after, ids], axis=1)
        rows, token = ids.value_rowids(), ids.flat_values
        place = tf.range(tf.size(rows, tf.int64)) - tf.gather(ids.row_starts(), rows)
        is_new = place >= tf.gather(new_from, rows)
        is_token = (token >= 0) & (token < len(self._shown))
        token = tf.where(is_token, token, 0)
        left = is_token & tf.gather(tf.constant(self._shown), token)
        rows, token, is_new = (tf.boolean_mask(x, left) for x in (rows, token, is_new))
        texts = tf.gather(tf.constant(self._first, tf.string), token)
        if self._later != self._first:
            is_first = tf.concat([[True], rows[1:] != rows[:-1]], 0)[: tf.size(rows)]
            later = tf.gather(tf.constant(self._later, tf.string), token)
            # No blank between Chinese characters.
            begins, ends = (tf.gather(tf.constant(x), token) for x in _chinese(self._later))
            follows = tf.concat([[False], ends[:-1]], 0)[: tf.size(rows)]
            later = without_first(later, follows & begins)
            texts = tf.where(is_first, texts, later)
        if self._bytes is not None:
            texts = _join_bytes(tf.gather(tf.constant(self._bytes), token), rows, texts)
        if self._strip:
            texts = _strip_start(texts, rows, self._strip)
        texts = tf.where(is_new, texts, "")
        texts = tf.strings.unsorted_segment_join(texts, rows, ids.nrows())
        # Broken UTF-8, which only bytes can give, becomes U+FFFD as in the engine.
        return tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8")


def without_first(texts, where):
    """The texts, where a bool tensor says so without their first byte."""
    start = tf.cast(where, tf.int32)
    return tf.strings.substr(texts, start, tf.fill(tf.shape(start), 2**30))


def _chinese(texts):
    """Which texts begin with a blank and a Chinese character, and which end with such."""
    words = [text.decode("utf-8", "replace") for text in texts]
    begins = [word[:1] == " " and is_chinese(word[1:2]) for word in words]
    return np.array(begins), np.array([is_chinese(word[-1:]) for word in words])


def _strip_start(texts, rows, most):
    """Texts of tokens without the first spaces of their row, at most ``most``."""
    length = tf.strings.length(texts)
    bare = tf.strings.regex_replace(texts, r"\A +", "")
    spaces = length - tf.strings.length(bare)
    # Characters of the row before each token; where all of them are spaces, more may go.
    before = tf.cumsum(length, exclusive=True)
    begins = tf.concat([[True], rows[1:] != rows[:-1]], 0)[: tf.size(rows)]
    row = tf.cumsum(tf.cast(begins, tf.int32)) - 1
    before -= tf.gather(tf.boolean_mask(before, begins), row)
    solid = tf.cumsum(tf.cast(spaces < length, tf.int32), exclusive=True)
    solid -= tf.gather(tf.boolean_mask(solid, begins), row)
    cut = tf.where(solid == 0, tf.clip_by_value(most - before, 0, spaces), 0)
    return tf.strings.substr(texts, cut, length - cut)


def _join_bytes(values, rows, texts):
    """Texts of tokens, with U+FFFD for each byte of a run that is no UTF-8.

    Args:
        values: (n,) int32 bytes, -1 for other tokens.
        rows: (n,) int64.
        texts: (n,) string of the other tokens.
    """
    is_byte = values >= 0
    table = tf.constant([bytes([b]) for b in range(256)])
    texts = tf.where(is_byte, tf.gather(table, tf.maximum(values, 0)), texts)
    same = tf.concat([[False], (rows[1:] == rows[:-1]) & is_byte[1:] & is_byte[:-1]], 0)
    run = tf.cumsum(tf.cast(~same[: tf.size(rows)], tf.int32)) - 1
    joined = tf.strings.unsorted_segment_join(texts, run, tf.reduce_max(run) + 1)
    whole = tf.strings.unicode_transcode(joined, "UTF-8", "UTF-8", errors="ignore") == joined
    return tf.where(is_byte & ~tf.gather(whole, run), "\ufffd", texts)


def _or_empty(token):
    return token or ""


def _encoded(texts):
    return [text.encode() for text in texts]


def _spelled(token):
    """The bytes that a byte-level token stands for."""
    alphabet = byte_alphabet()
    is_spelled = all(character in alphabet for character in token)
    return bytes(alphabet[c] for c in token) if is_spelled else token.encode()
