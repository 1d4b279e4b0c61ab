"""The twin beside the engine, on strings that are hard for some part of a tokenizer."""

import tensorflow as tf

HARD = (
    "", " ", "  two  spaces ", "\n\n \t\r\n", "a\x00b\x85c\x7f\ufffd\ufeff\u200b",
    "don't I'LL we'\u017f '\u02bc", "aaaaaaaaaaaaa------------======", "x" * 300, "\u5b57" * 120,
    "1234567890 12 \u0664\u0665 \u00bd\u2460\u216b", "\ud55c\uad6d\uc5b4 \u1112\u1161\u11ab",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002 \u65e5\u672c\u8a9e",
    "Stra\u00dfe \u0130stanbul \ufb01n \u01c5 \u03a3\u0391\u03a3 \u212b \uff21\uff11\uff01",
    "e\u0301 e\u0323\u0302 \u0301a \u1e9b\u0323 \u09c7\u09be \u0f71\u0f72 a\u0347\u0301",
    "\U0001f469\u200d\U0001f4bb\U0001f3fd \U0001f1e9\U0001f1ea \u203c\u0301 \u2764\ufe0f",
    "HTTPResponse2XX camelCase_snake-kebab/path//to\\n", "\u2581 \u2581\u2581a \u00a0\u2003\u3000b",
    "\u0939\u093f\u0928\u094d\u0926\u0940 \u0e01\u0e33 \u0600\u0661", "<s></s><unk><0x41>[MASK]",
)  # fmt: skip


def check_twin(twin, tokenizer) -> None:
    """Compare ids and texts on `HARD` strings, with added tokens among them.

    Args:
        twin: a `GraphTokenizer`.
        tokenizer: its `keraslm.tokenizers.Tokenizer`.

    Raises:
        ValueError: they differ.
    """
    added = [token.content for token in tokenizer.engine.get_added_tokens_decoder().values()]
    texts = [*HARD, *(f"a{token} {token}\n {token}{token}b" for token in added[:8])]
    expected = tokenizer.encode_batch(texts)
    encode = tf.function(twin.encode, autograph=False)
    for text, ids, found in zip(texts, expected, encode(tf.constant(texts)).to_list(), strict=True):
        if ids != found:
            raise _differs("encodes", text, ids, found)
    rows = [*expected, list(range(min(300, tokenizer.vocab_size)))]
    decode = tf.function(twin.decode, autograph=False)
    found = decode(tf.ragged.constant(rows, tf.int32, ragged_rank=1)).numpy()
    for ids, text in zip(rows, found, strict=True):
        if text.decode() != tokenizer.decode(ids):
            raise _differs("decodes", ids, tokenizer.decode(ids), text.decode())


def _differs(verb, given, expected, found):
    return ValueError(
        f"A SavedModel with strings cannot reproduce this tokenizer: it {verb} {given!r} to "
        f"{found!r} instead of {expected!r}. Export a model that takes and gives ids."
    )
