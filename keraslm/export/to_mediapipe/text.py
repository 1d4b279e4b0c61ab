"""Text as MediaPipe reads it: its BERT tokenizer and its regular expression, for our tokenizers."""

import unicodedata
import warnings

import numpy as np

from keraslm.export import proof
from keraslm.tokenizers.tokenizer import Tokenizer

# Of those for all proofs, the texts whose letters MediaPipe folds as our tokenizers do.
TEXTS = tuple(text for text in proof.TEXTS if "Umlaut" not in text)
ASCII_LOWER = {ord(c): ord(c) + 32 for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def reader_of(tokenizer, length):
    """What makes of a text the ids that MediaPipe makes of it: `WordPieces` or `Words`.

    Args:
        tokenizer: a `keraslm.tokenizers.Tokenizer`.
        length: of the model's inputs.

    Raises:
        ValueError: a tokenizer that MediaPipe cannot follow.
    """
    kinds = {"wordpiece": WordPieces, "word": Words}
    if tokenizer is None or tokenizer.kind not in kinds:
        received = "none" if tokenizer is None else f"kind={tokenizer.kind!r}"
        raise ValueError(
            "tokenizer must be WordPiece or of words: MediaPipe has no other that splits as ours "
            f"do; received {received}. Write Tokenizer.train(texts, 'wordpiece', lowercase=True)."
        )
    engine = tokenizer.engine
    extra = [t.content for t in engine.get_added_tokens_decoder().values() if not t.special]
    if extra:
        raise ValueError(f"tokenizer has added tokens, which MediaPipe has not: {extra[0]!r}.")
    tokenizer = Tokenizer(type(engine).from_str(tokenizer.to_json()))
    tokenizer.engine.no_padding()  # both are done here
    tokenizer.engine.no_truncation()
    return kinds[tokenizer.kind](tokenizer, length)


class WordPieces:
    """MediaPipe's BERT tokenizer: ids, mask and segment ids of ``[CLS] … [SEP]``."""

    inputs, options = ("ids", "mask", "segment_ids"), "BertTokenizerOptions"
    added = ("[CLS]",), ("[SEP]",)  # before and after a text

    # Texts that MediaPipe reads alike, and what a tokenizer does that does not.
    ALIKE = (
        ("MEDIA PIPE", "media pipe", "tells capitals from small letters"),
        ("one,two.", "one , two .", "does not split off punctuation"),
        ("中国", "中 国", "does not split Chinese characters"),
    )

    def __init__(self, tokenizer, length):
        self.tokenizer, self.length = tokenizer, length
        for token in ("[CLS]", "[SEP]", "[UNK]"):
            if tokenizer.token_to_id(token) is None:
                raise ValueError(f"tokenizer has no {token}, which MediaPipe needs.")
        part = tokenizer.engine.model
        if (part.unk_token, part.continuing_subword_prefix) != ("[UNK]", "##"):
            raise ValueError("tokenizer must spell as BERT does: unknown [UNK], within words ##.")
        for one, other, what in self.ALIKE:
            if tokenizer.encode(one) != tokenizer.encode(other):
                raise ValueError(
                    f"tokenizer {what}, which MediaPipe does not. Train it with "
                    "kind='wordpiece', lowercase=True."
                )
        self._warn()

    def _warn(self):
        """Warn if MediaPipe does not find most words where they begin a sentence."""
        fold = getattr(self.tokenizer.engine.normalizer, "normalize_str", str)
        words = [w for w in self.tokenizer.vocabulary if w.isalpha() and len(w) > 1]
        words = [unicodedata.normalize("NFC", word).capitalize() for word in words]
        lost = [word for word in words if fold(word).strip() != word.translate(ASCII_LOWER)]
        if 2 * len(lost) > len(words):
            warnings.warn(
                f"MediaPipe does not find most words of this tokenizer, such as {lost[0]!r}: it "
                "folds ASCII letters only. Fold the text in the app, as the documentation of "
                "keraslm.export.mediapipe says.",
                stacklevel=5,
            )

    def __call__(self, text):
        """Inputs of a text by name, each int32 ``(1, length)``; control tokens in it are text."""
        ids = self.tokenizer.encode(text, allow_control_tokens=False)[: self.length - 2]
        ids = [self.tokenizer.token_to_id("[CLS]"), *ids, self.tokenizer.token_to_id("[SEP]")]
        padding = [0] * (self.length - len(ids))
        rows = ids + padding, [1] * len(ids) + padding, [0] * self.length
        return {k: np.array([row], "int32") for k, row in zip(self.inputs, rows, strict=True)}

    def for_model(self, ids, mask, segment_ids):
        """Ids padded as the model was trained, and the mask."""
        from keras import ops

        if self.tokenizer.pad_id:  # MediaPipe pads with 0
            ids = ops.where(mask > 0, ids, self.tokenizer.pad_id)
        return ids, mask

    def vocabulary(self):
        """Lines: the number of a line is the id, and empty lines do not count."""
        tokens = {i: token for token, i in self.tokenizer.engine.get_vocab().items()}
        return [tokens.get(i, f"[unused{i}]") for i in range(1 + max(tokens))]

    @staticmethod
    def meaning(lines):
        """The token of each id in such lines."""
        return dict(enumerate(lines))


class Words:
    """MediaPipe's regular expression: ids alone."""

    inputs, options = ("ids",), "RegexTokenizerOptions"
    added = (), ()

    # What our pre-tokenizer splits a text into, in the syntax of RE2, ...
    CIRCLED = r"\x{24b6}-\x{24e9}\x{1f130}-\x{1f149}\x{1f150}-\x{1f169}\x{1f170}-\x{1f189}"
    WORD = rf"\p{{L}}\p{{M}}\p{{Nd}}\p{{Nl}}\p{{Pc}}\x{{200c}}\x{{200d}}{CIRCLED}"
    SPACE = r"\s\x{0b}\x{85}\p{Z}"
    # ... for MediaPipe, which looks for (PATTERN), takes group 1 for what stands between two
    # words, and drops it. Here the word is before group 1, so that punctuation is not dropped.
    PATTERN = rf"?:[{WORD}]+|[^{WORD}{SPACE}]+)([{SPACE}]*"

    def __init__(self, tokenizer, length):
        self.tokenizer, self.length = tokenizer, length
        self.unknown = tokenizer.token_to_id(tokenizer.engine.model.unk_token)
        if tokenizer.pad_id is None or self.unknown is None:
            raise ValueError("tokenizer needs a token for padding and one for unknown words.")
        split = type(tokenizer.engine.pre_tokenizer).__name__
        if split != "Whitespace":
            raise ValueError(
                f"tokenizer must split words as Tokenizer.train(texts, 'word') does; its "
                f"pre-tokenizer is {split}, which MediaPipe cannot follow."
            )

    def __call__(self, text):
        """Inputs of a text by name, each int32 ``(1, length)``; control tokens in it are text."""
        ids = self.tokenizer.encode(text, allow_control_tokens=False)[: self.length]
        padding = [self.tokenizer.pad_id] * (self.length - len(ids))
        return {"ids": np.array([ids + padding], "int32")}

    def for_model(self, ids):
        """Ids and mask; an empty text is one token, as in `keraslm.tasks.Task`."""
        from keras import ops

        real = ops.cast(ops.not_equal(ids, self.tokenizer.pad_id), "int32")
        # Arithmetic: MediaPipe lacks some operations on truth values, and ends without a word.
        first = np.array([[1] + [0] * (self.length - 1)], "int32")
        fill = first * (1 - ops.minimum(ops.sum(real, axis=1, keepdims=True), 1))
        return ids + fill * ((self.tokenizer.bos_id or 0) - ids), real + fill

    def vocabulary(self):
        """Lines of a word and its id, in each spelling that the tokenizer reads as this word."""
        special, vocabulary = self.tokenizer.special_tokens, self.tokenizer.engine.get_vocab()
        words = sorted((i, word) for word, i in vocabulary.items() if word not in special)
        lines = {"<PAD>": self.tokenizer.pad_id, "<UNKNOWN>": self.unknown}
        for spell in (str, str.capitalize, str.upper):
            spelled = [spell(word) for _, word in words]
            read = self.tokenizer.encode_batch(spelled)
            pairs = zip(spelled, words, read, strict=True)
            lines |= {word: i for word, (i, _), ids in pairs if ids == [i]}
        return [f"{word} {i}" for word, i in lines.items()]

    @staticmethod
    def meaning(lines):
        """The id of each word in such lines, in any order."""
        return {word: int(i) for word, _, i in (line.rpartition(" ") for line in lines)}
