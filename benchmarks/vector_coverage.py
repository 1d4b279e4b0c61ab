"""How much of a text's tokens starts from a word vector, for each kind of tokenizer.

    python benchmarks/vector_coverage.py [TEXT ...] [--unit jieba]

Without a text: the Wikipedia extract that gensim ships. The vectors are Word2Vec on the units of
the same text, words that occur twice or more.
"""

import argparse
import collections
import json
import time
from pathlib import Path

from keraslm.data import read_texts, wikipedia_sample
from keraslm.embeddings import VectorInitializer, train_word2vec
from keraslm.tokenizers import Tokenizer

KINDS = {"bpe": 4000, "wordpiece": 4000, "word": 8000, "char": None}


def strings(value):
    """All strings in a JSON value: the paragraphs of SQuAD-like files."""
    if isinstance(value, str):
        yield value
    for part in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from strings(part)


def texts_of(paths):
    """The texts of files that ``read_texts`` takes, and of JSON files."""
    for path in paths or [wikipedia_sample()]:
        if str(path).endswith(".json"):
            yield from strings(json.loads(Path(path).read_text(encoding="utf-8")))
        else:
            yield from read_texts(path)


def is_word(tokenizer, name):
    """Whether a token is more than punctuation."""
    text = tokenizer.decode([tokenizer.token_to_id(name)], skip_special_tokens=False)
    return any(c.isalnum() or c == "\ufffd" for c in text)


def main():
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", nargs="*")
    parser.add_argument("--unit", default="words")
    args = parser.parse_args()
    texts = list(texts_of(args.text))
    vectors = train_word2vec(texts, 32, unit=args.unit, epochs=1, min_count=2)
    print(f"{sum(map(len, texts)):,} characters, {len(vectors):,} vectors of unit={args.unit!r}")
    for kind, size in KINDS.items():
        tokenizer = Tokenizer.train(texts, kind, size)
        names = tokenizer.vocabulary
        counts = collections.Counter(names[i] for ids in tokenizer.encode_batch(texts) for i in ids)
        started = time.perf_counter()
        for subwords in (False, True):
            start = VectorInitializer(vectors, tokenizer, frequencies=counts, subwords=subwords)
            print(f"{kind:10} subwords={subwords!s:5} {start.coverage}")
        text = {name: n for name, n in counts.items() if is_word(tokenizer, name)}
        start = VectorInitializer(vectors, tokenizer, frequencies=text)
        share = 100 * start.coverage.share_of_text
        print(f"{'':10} {share:.1f} % of the tokens with a letter or a digit")
        print(f"{'':10} {time.perf_counter() - started:.1f} s in all")


if __name__ == "__main__":
    main()
