"""The in-graph twin of the tokenizer, for SavedModels that take and give strings.

The ids are those of the engine, exactly. So nothing is left to TensorFlow's regular expressions
and Unicode tables: what the engine does with each code point is found by asking it
(`graph_unicode`), words are cut by comparing neighbours (`graph_split`), and merges and matches
run on all words of the batch at once (`graph_models`). All of it is core TensorFlow, and all
tables are constants: nothing to initialise, nothing to track.
"""

import json

import numpy as np
import tensorflow as tf

from keraslm.export.to_saved_model import graph_unicode as unicode
from keraslm.export.to_saved_model.graph_models import BytePairModel, VocabularyModel, byte_alphabet
from keraslm.export.to_saved_model.graph_split import WordSplitter
from keraslm.tokenizers.spacing import is_chinese
from keraslm.tokenizers.tokenizer import Tokenizer

_SEPARATOR = b"\xff"  # a byte that no UTF-8 text holds

# No Python statement here depends on a tensor, and AutoGraph takes longer than the tracing.
_traced_as_written = tf.autograph.experimental.do_not_convert


class GraphTokenizer:
    """Encodes and decodes inside a ``tf.function``, with the ids and texts of a `Tokenizer`.

    Args:
        tokenizer: a `Tokenizer` of kind ``"bpe"``, ``"wordpiece"``, ``"word"`` or ``"char"``.

    Raises:
        ValueError: the tokenizer has a part that is not reproduced here.

    Example:
        >>> tokenizer = Tokenizer.train(["to be or not to be"] * 9, kind="char", vocab_size=None)
        >>> twin = GraphTokenizer(tokenizer)
        >>> twin.decode(twin.encode(tf.constant(["to be"]))).numpy()
        array([b'to be'], dtype=object)
    """

    def __init__(self, tokenizer: Tokenizer):
        engine = tokenizer.engine
        spec = json.loads(tokenizer.to_json())
        self._special = _special_tokens(engine, spec)
        self._model = _model(spec)
        self._is_bytes = spec["model"]["type"] == "BPE"
        self._first, self._later = _token_texts(engine, spec, self._special)
        if tokenizer.cleans_up:
            raise _unsupported("clean_up_tokenization_spaces", True)

    @property
    def keeps_space(self) -> bool:
        """Whether the tokens hold the white space, so that the decoder writes none."""
        return self._first == self._later

    @_traced_as_written
    def encode(self, texts):
        """Ids of texts, as `Tokenizer.encode` gives them.

        Args:
            texts: (batch,) string, UTF-8. Bytes that are no whole character become U+FFFD.

        Returns:
            ragged (batch, None) int32.
        """
        with tf.device("CPU:0"):  # small work on strings
            texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8")
            pieces, is_special = self._split_special(texts)
            text = pieces.flat_values
            ids = self._model(tf.where(is_special, "", text))
            if self._special:
                # A piece is either text or a special token: one of the two is empty.
                names, special_ids = zip(*self._special.items(), strict=True)
                same = tf.boolean_mask(text, is_special)[:, None] == tf.constant(names)
                special = tf.gather(tf.constant(special_ids), tf.argmax(same, axis=1))
                splits = tf.cumsum(tf.cast(is_special, tf.int64))
                splits = tf.concat([tf.zeros([1], tf.int64), splits], 0)
                ids = tf.concat([ids, tf.RaggedTensor.from_row_splits(special, splits)], axis=1)
            return pieces.with_flat_values(ids).merge_dims(1, 2)

    def _split_special(self, texts):
        """Pieces of text between special tokens, and these.

        Args:
            texts: (batch,) string.

        Returns:
            ragged (batch, None) string and (pieces,) bool, True for the special tokens.
        """
        # The longest first, so that of two that begin at one place the longer one is found.
        names = sorted(self._special, key=len, reverse=True)
        if names:
            # RE2 meets nothing but literals here.
            pattern = "|".join("".join(rf"\x{{{ord(c):x}}}" for c in name) for name in names)
            marked = _SEPARATOR + rb"\0" + _SEPARATOR
            texts = tf.strings.regex_replace(texts, pattern, marked)
        pieces = tf.strings.split(texts, _SEPARATOR)
        row_starts = tf.gather(pieces.row_starts(), pieces.value_rowids())
        place = tf.range(tf.size(row_starts, tf.int64)) - row_starts
        return pieces, place % 2 == 1  # text, special, text, special, …, text

    @_traced_as_written
    def decode(self, ids, after=None):
        """Texts of ids, as `Tokenizer.decode` gives them: special tokens are left out.

        Args:
            ids: ragged or dense (batch, seq) int32. Ids that are no token are left out.
            after: ragged (batch, None) int32: the prompts that the ids continue, for the blank
                between the two; their text is not given.

        Returns:
            (batch,) string, UTF-8.
        """
        with tf.device("CPU:0"):
            if not isinstance(ids, tf.RaggedTensor):
                ids = tf.RaggedTensor.from_tensor(ids)
            new_from = tf.zeros([ids.nrows()], tf.int64)
            if after is not None:
                after = tf.cast(after, ids.dtype).with_row_splits_dtype(ids.row_splits.dtype)
                new_from = tf.cast(after.row_lengths(), tf.int64)
                ids = tf.concat([after, ids], axis=1)
            rows, token = ids.value_rowids(), ids.flat_values
            place = tf.range(tf.size(rows, tf.int64)) - tf.gather(ids.row_starts(), rows)
            is_new = place >= tf.gather(new_from, rows)
            shown = np.array([text is not None for text in self._first])
            is_token = (token >= 0) & (token < len(shown))
            token = tf.where(is_token, token, 0)
            left = is_token & tf.gather(tf.constant(shown), token)
            rows, token = tf.boolean_mask(rows, left), tf.boolean_mask(token, left)
            texts = tf.gather(_strings(self._first), token)
            if self._later != self._first:
                is_first = tf.concat([[True], rows[1:] != rows[:-1]], 0)[: tf.size(rows)]
                later = tf.gather(_strings(self._later), token)
                # No blank between Chinese characters.
                begins, ends = (tf.constant(flags) for flags in _chinese(self._later))
                follows = tf.concat([[False], tf.gather(ends, token)[:-1]], 0)[: tf.size(rows)]
                is_joined = follows & tf.gather(begins, token)
                later = without_first(later, is_joined)
                texts = tf.where(is_first, texts, later)
            texts = tf.where(tf.boolean_mask(is_new, left), texts, "")
            texts = tf.strings.unsorted_segment_join(texts, rows, ids.nrows())
            # Broken UTF-8, which only bytes can give, becomes U+FFFD as in the engine.
            return tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8")


def without_first(texts, where):
    """The texts, where a bool tensor says so without their first byte."""
    start = tf.cast(where, tf.int32)
    return tf.strings.substr(texts, start, tf.fill(tf.shape(start), 2**30))


def _chinese(texts):
    """Which texts begin with a blank and a Chinese character, and which end with such."""
    words = [(text or b"").decode("utf-8", "replace") for text in texts]
    begins = [word[:1] == " " and is_chinese(word[1:2]) for word in words]
    return np.array(begins), np.array([is_chinese(word[-1:]) for word in words])


def _strings(texts):
    return tf.constant([text or b"" for text in texts], tf.string)


# === Reading the tokenizer's parts ===


def _unsupported(what, received):
    return ValueError(
        f"A SavedModel with strings cannot reproduce {what}; received {received!r}. Use a "
        "tokenizer without it, or export a model that takes and gives ids."
    )


def _special_tokens(engine, spec):
    """{content: id} of the special tokens, which are found in a text before all else."""
    if spec["truncation"] or spec["padding"]:
        raise _unsupported("truncation or padding", spec["truncation"] or spec["padding"])
    if engine.encode_special_tokens:
        raise _unsupported("encode_special_tokens", True)
    tokens = spec["added_tokens"]
    for token in tokens:
        if not token["special"]:
            raise _unsupported("added tokens that are not special", token["content"])
        if token["lstrip"] or token["rstrip"] or token["single_word"]:
            raise _unsupported("special tokens with lstrip, rstrip or single_word", token)
        if token["normalized"] and spec["normalizer"]:
            raise _unsupported("special tokens found in the normalized text", token["content"])
    if len({token["normalized"] for token in tokens}) == 2:
        raise _unsupported("special tokens of which only some are normalized", tokens)
    return {token["content"]: token["id"] for token in tokens if token["content"]}


def _model(spec):
    """The part from pieces of text to ids."""
    model, pre_tokenizer = spec["model"], spec["pre_tokenizer"] or {"type": None}
    kind, vocab = model["type"], model.get("vocab")
    if kind == "BPE":
        if spec["normalizer"]:
            raise _unsupported("a normalizer before bpe", spec["normalizer"]["type"])
        if pre_tokenizer["type"] != "ByteLevel" or not pre_tokenizer["use_regex"]:
            raise _unsupported("bpe without GPT-2's ByteLevel pre-tokenizer", pre_tokenizer)
        for option in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
            if model[option]:
                raise _unsupported(f"{option} in bpe", model[option])
        if model.get("ignore_merges"):
            raise _unsupported("ignore_merges in bpe", True)
        missing = [character for character in byte_alphabet() if character not in vocab]
        if missing:
            raise _unsupported("bpe without a token for each byte", f"none for {missing[0]}")
        return BytePairModel(vocab, model["merges"], pre_tokenizer["add_prefix_space"])
    if kind not in ("WordLevel", "WordPiece"):
        raise _unsupported("this kind of model", kind)
    if model["unk_token"] not in vocab:
        raise _unsupported("a vocabulary without its unknown token", model["unk_token"])
    splitter = WordSplitter(_normalizer(spec["normalizer"]), _pre_tokenizer(pre_tokenizer))
    options = {}
    if kind == "WordPiece":
        options["prefix"] = model["continuing_subword_prefix"]
        options["max_word"] = model["max_input_chars_per_word"]
    return VocabularyModel(vocab, vocab[model["unk_token"]], splitter, **options)


def _normalizer(spec):
    """Tables of the normalizer, which must work by the code point."""
    if spec is None:
        return None
    if spec["type"] == "BertNormalizer":
        return unicode.bert_tables(**{key: spec[key] for key in spec if key != "type"})
    parts = [part["type"] for part in spec.get("normalizers", [spec])]
    if parts == ["Lowercase"]:
        return unicode.lowercase_tables()
    if parts != ["NFD", "StripAccents", "Lowercase"]:  # of words until version 0.1
        raise _unsupported("this normalizer", parts)
    return unicode.folding_tables()


def _pre_tokenizer(spec):
    """Name for a `WordSplitter`."""
    if spec["type"] in ("Whitespace", "BertPreTokenizer"):
        return spec["type"]
    characters = {"pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated", "invert": False}
    if spec != {"type": "Split", **characters}:
        raise _unsupported("this pre-tokenizer", spec)
    return None


def _token_texts(engine, spec, special):
    """What the decoder makes of each token, by id: at the start of a text, and later in it.

    Returns:
        two lists of bytes, ``None`` for special tokens and ids without a token.
    """
    decoder = (spec["decoder"] or {"type": None})["type"]
    is_bytes = spec["model"]["type"] == "BPE"
    if decoder not in (("ByteLevel",) if is_bytes else ("WordPiece", "Fuse", None)):
        raise _unsupported("this decoder", decoder)
    size = 1 + max(engine.get_vocab(with_added_tokens=True).values())
    first, later = [None] * size, [None] * size
    alphabet = byte_alphabet()
    for i in range(size):
        token = engine.id_to_token(i)
        if token is None or token in special:
            continue
        if is_bytes:
            spelled = all(character in alphabet for character in token)
            text = bytes(alphabet[c] for c in token) if spelled else token.encode()
            first[i] = later[i] = text
        elif decoder is None:
            first[i], later[i] = token.encode(), b" " + token.encode()
        else:
            first[i] = engine.decoder.decode([token]).encode()
            later[i] = engine.decoder.decode(["a", token])[1:].encode()
    return first, later
