"""The in-graph twin of the tokenizer, for SavedModels that take and give strings.

The ids are those of the engine, exactly. So nothing is left to TensorFlow's regular expressions
and Unicode tables: what the engine does with each code point is found by asking it
(`graph_unicode`), texts are normalized (`graph_normalize`) and cut into words
(`graph_pretokenize`, `graph_patterns`) by comparing neighbours, and merges and matches run on all
words of the batch at once (`graph_models`, `graph_unigram`, `graph_words`). All of it is core
TensorFlow, and all tables are constants: nothing to initialise, nothing to track, and a program
that loads it imports TensorFlow and nothing else.
"""

import json
from typing import Any

import tensorflow as tf

from keraslm.export.to_saved_model.graph_added import AddedTokens
from keraslm.export.to_saved_model.graph_check import check_twin
from keraslm.export.to_saved_model.graph_decode import Decoder
from keraslm.export.to_saved_model.graph_normalize import normalizer_steps
from keraslm.export.to_saved_model.graph_parts import is_by_words, text_model, word_model
from keraslm.export.to_saved_model.graph_reading import unsupported
from keraslm.tokenizers.tokenizer import Tokenizer

# No Python statement here depends on a tensor, and AutoGraph takes longer than the tracing.
_traced_as_written = tf.autograph.experimental.do_not_convert


class GraphTokenizer:
    """Encodes and decodes inside a ``tf.function``, with the ids and texts of a `Tokenizer`.

    Args:
        tokenizer: a `Tokenizer`: byte-pair encoding on bytes (GPT-2, Llama 3, Qwen, …) or on
            characters (Llama 2, Gemma, …), unigrams (T5, XLM-R, …), word pieces, words or
            characters.

    Raises:
        ValueError: the tokenizer has a part that is not reproduced here, or that gives other ids
            here than in the engine on strings that were chosen to be hard.

    Example:
        >>> import tensorflow as tf
        >>> tokenizer = keraslm.tokenizers.Tokenizer.train(["to be or not"] * 9, "char", None)
        >>> twin = GraphTokenizer(tokenizer)
        >>> twin.decode(twin.encode(tf.constant(["to be"]))).numpy()
        array([b'to be'], dtype=object)
    """

    def __init__(self, tokenizer: Tokenizer):
        engine = tokenizer.engine
        spec = json.loads(tokenizer.to_json())
        if spec["truncation"] or spec["padding"]:
            raise unsupported("truncation or padding", spec["truncation"] or spec["padding"])
        if engine.encode_special_tokens:
            raise unsupported("encode_special_tokens", True)
        if tokenizer.cleans_up:
            raise unsupported("clean_up_tokenization_spaces", True)
        self._model: Any
        if is_by_words(spec):
            self._normalizer, self._model = [], word_model(spec)
        else:
            self._normalizer = normalizer_steps(spec["normalizer"])
            self._model = text_model(spec)
        # Those that are found in the text as it is, and those found once it is normalized.
        self._added = [AddedTokens(engine, spec, normalized) for normalized in (False, True)]
        self._decoder = Decoder(engine)
        check_twin(self, tokenizer)

    @_traced_as_written
    def encode(self, texts):
        """Ids of texts, as `Tokenizer.encode` gives them.

        Args:
            texts: (batch,) string, UTF-8. Bytes that are no whole character become U+FFFD.

        Returns:
            ragged (batch, None) int32.
        """
        in_text, in_normalized = self._added

        def normalized_ids(pieces, first):
            for step in self._normalizer:
                pieces = step(pieces)
            return in_normalized.ids(pieces, first, self._model)

        with tf.device("CPU:0"):  # small work on strings
            texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8")
            return in_text.ids(texts, tf.ones_like(texts, tf.bool), normalized_ids)

    @property
    def keeps_space(self) -> bool:
        """Whether the tokens hold the white space, so that the decoder writes none."""
        return self._decoder.keeps_space

    @_traced_as_written
    def decode(self, ids, after=None):
        """Texts of ids, as `Tokenizer.decode` gives them: special tokens are left out.

        Args:
            ids: ragged or dense (batch, seq) int32. Ids that are no token are left out.
            after: ragged (batch, None) int32: the prompts that the ids continue, for the space
                between the two; their text is not given.

        Returns:
            (batch,) string, UTF-8.
        """
        with tf.device("CPU:0"):
            if not isinstance(ids, tf.RaggedTensor):
                ids = tf.RaggedTensor.from_tensor(ids)
            return self._decoder(ids, after)
