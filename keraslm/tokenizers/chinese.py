"""Chinese words as tokens: counted by jieba, found again by a unigram model that needs no jieba."""

import collections
import math

from keraslm._scripts import UNSPACED, jieba_words

BLANK = "▁"  # how Metaspace writes a blank


def train_chinese(texts, vocab_size, min_frequency, lowercase, special_tokens, unknown):
    """A ``tokenizers.Tokenizer`` of the words that jieba finds, and of all characters.

    A unigram model takes the words whose probabilities have the largest product. So does jieba with
    the words of its dictionary; what it guesses beyond them is in the vocabulary if it occurs
    often enough. Words that are too rare become shorter ones, in the end characters. Blanks are
    kept: decoding gives the text as it was.

    Raises:
        ImportError: jieba is not installed.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    cut = jieba_words("kind='jieba'", "kind='char' or 'wordpiece'")
    words: collections.Counter[str] = collections.Counter()
    characters: collections.Counter[str] = collections.Counter()
    for text in texts:
        text = text.lower() if lowercase else text
        words.update(_with_blanks(cut(text)))
        characters.update(text.replace(" ", BLANK))
    places = None if vocab_size is None else vocab_size - len(special_tokens)
    # As of WordPiece, half of the places at most is for characters.
    chosen = [c for c, _ in characters.most_common(places and max(1, places // 2))]
    taken = {*chosen, *special_tokens}
    often = (w for w, n in words.most_common() if n >= min_frequency and w not in taken)
    chosen += list(often)[: None if places is None else places - len(chosen)]
    # A character that is never a word of its own is less probable than any word.
    total = math.log(sum(words.values()) + len(chosen))
    scores = {word: math.log(words[word] or 0.1) - total for word in chosen}
    vocab = [(token, 0.0) for token in special_tokens]
    vocab += sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))
    engine = Tokenizer(models.Unigram(vocab, special_tokens.index(unknown), byte_fallback=False))
    if lowercase:
        engine.normalizer = normalizers.Lowercase()
    engine.pre_tokenizer = pre_tokenizers.Metaspace(BLANK, prepend_scheme="never")
    engine.decoder = decoders.Metaspace(BLANK, prepend_scheme="never")
    engine.add_special_tokens(special_tokens)
    return engine


def _with_blanks(words):
    """The words, a blank as part of the English word after it."""
    blank = ""
    for word in words:
        if word == " ":
            if blank:
                yield blank
            blank = BLANK
            continue
        if blank and UNSPACED.search(word):
            yield blank
            blank = ""
        yield blank + word
        blank = ""
    if blank:
        yield blank
