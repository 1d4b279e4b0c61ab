"""Word2Vec and FastText through gensim."""

import collections
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from typing import Any

from keraslm._text import checked_count
from keraslm._types import KeyedVectors, StrPath
from keraslm.embeddings.sentences import END, Sentences

# gensim drops what goes beyond 10,000 tokens of a sentence.
LONGEST_SENTENCE = 10_000


def train_word2vec(
    corpus: StrPath | Iterable[Any],
    vector_size: int = 100,
    *,
    unit: Any = "words",
    lower: bool | None = None,
    epochs: int = 5,
    window: int = 5,
    min_count: int = 5,
    max_size: int | None = None,
    stop_words: str | Iterable[str] = (),
    skip_gram: bool = False,
    negative: int = 5,
    learning_rate: float = 0.025,
    workers: int | None = None,
    seed: int = 0,
    report: Callable[[str], object] | None = None,
) -> KeyedVectors:
    """Train Word2Vec (Mikolov et al. 2013) and return gensim ``KeyedVectors``.

    The corpus is tokenised once, into a temporary file, so it may be larger than memory.

    Args:
        corpus: a path, texts, or token lists: see `Sentences`.
        vector_size: width; a model's ``d_model`` if the vectors are to start its token table.
        unit: ``"words"``, ``"whitespace"``, ``"characters"``, ``"jieba"``, or a tokenizer.
        lower: lower-case first; default: for words only.
        epochs: passes over the text.
        window: tokens looked at on each side.
        min_count: rarer tokens get no vector.
        max_size: so many of the most frequent tokens get one.
        stop_words: tokens left out: ``"english"``, ``"chinese"``, or a list; see `Sentences`.
        skip_gram: skip-gram instead of CBOW.
        negative: negative samples for each token.
        learning_rate: of the start; it falls to 0.0001.
        workers: threads; default all cores. With more than one, two runs differ slightly.
        seed: of the starting vectors.
        report: called with one line of text after each epoch.

    Raises:
        ValueError: no token occurs ``min_count`` times.

    Example:
        >>> vectors = train_word2vec([["to", "be", "or", "not", "to", "be"]] * 20, 16)
        >>> vectors.most_similar("be", topn=1)
        [(..., ...)]
    """
    from gensim.models import Word2Vec

    options = {"compute_loss": report is not None}
    model = _train(
        Word2Vec, Sentences(corpus, unit, lower, stop_words), report, epochs, options,
        vector_size=vector_size,
        window=window, min_count=min_count, max_final_vocab=max_size, sg=int(skip_gram),
        negative=negative, alpha=learning_rate, workers=workers, seed=seed,
    )  # fmt: skip
    return model.wv


def train_fasttext(
    corpus: StrPath | Iterable[Any],
    vector_size: int = 100,
    *,
    unit: Any = "words",
    lower: bool | None = None,
    epochs: int = 5,
    window: int = 5,
    min_count: int = 5,
    max_size: int | None = None,
    stop_words: str | Iterable[str] = (),
    skip_gram: bool = False,
    negative: int = 5,
    learning_rate: float = 0.025,
    min_n: int = 3,
    max_n: int = 6,
    bucket: int = 200_000,
    workers: int | None = None,
    seed: int = 0,
    report: Callable[[str], object] | None = None,
) -> KeyedVectors:
    """Train FastText (Bojanowski et al. 2017) and return gensim ``FastTextKeyedVectors``.

    They give a vector to words that were never seen, from the letters in them.

    Args:
        min_n, max_n: shortest and longest run of letters that has a vector.
        bucket: how many such vectors there are; runs of letters share them by their hash. Each
            takes ``4 * vector_size`` bytes. (gensim's default is 2,000,000.)
        others: as in `train_word2vec`. gensim tells no loss of FastText.

    Raises:
        ValueError: no token occurs ``min_count`` times, or a token holds white space.

    Example:
        >>> vectors = train_fasttext(["to be or not to be"] * 20, 16)
        >>> vectors["unseen"].shape
        (16,)
    """
    from gensim.models import FastText

    model = _train(
        FastText, Sentences(corpus, unit, lower, stop_words), report, epochs, {},
        vector_size=vector_size,
        window=window, min_count=min_count, max_final_vocab=max_size, sg=int(skip_gram),
        negative=negative, alpha=learning_rate, workers=workers, seed=seed, min_n=min_n,
        max_n=max_n, bucket=bucket,
    )  # fmt: skip
    return model.wv


def _train(make, sentences, report, epochs, options, *, min_count, workers, **settings):
    check_settings(epochs=epochs, min_count=min_count, workers=workers, **settings)
    workers = workers or os.cpu_count() or 1
    # gensim reads such a file without Python, on all threads; token lists it reads on one.
    with tempfile.TemporaryDirectory(prefix="keraslm-") as folder:
        file = os.path.join(folder, "corpus.txt")
        names = _write(sentences, file, by_number=make.__name__ == "Word2Vec")
        if not os.path.getsize(file):
            raise ValueError("The corpus has no tokens. Give some text.")
        model = make(min_count=min_count, workers=workers, **settings)
        model.build_vocab(corpus_file=file)
        if not model.wv.key_to_index:
            raise ValueError(
                f"No token occurs min_count={min_count} times: nothing to train vectors on. "
                "Give more text or a smaller min_count."
            )
        model.train(
            corpus_file=file,
            total_examples=model.corpus_count,
            total_words=model.corpus_total_words,
            epochs=epochs,
            callbacks=[_progress(report, epochs)] if report else (),
            **options,
        )
    if names:
        wv = model.wv
        wv.index_to_key = [names[int(number)] for number in wv.index_to_key]
        wv.key_to_index = {name: i for i, name in enumerate(wv.index_to_key)}
    return model


# The least that each setting of the trainers may be; ``None`` is a default.
LEAST = {"vector_size": 1, "epochs": 1, "window": 1, "min_count": 0, "max_final_vocab": 1,
         "max_size": 1, "workers": 1, "bucket": 0, "negative": 0, "seed": 0, "min_n": 0,
         "max_n": 0}  # fmt: skip


def check_settings(**settings: Any) -> None:
    """Raise a ValueError for a number that gensim would take for something else, or die of."""
    for name, value in settings.items():
        if name in LEAST and value is not None:
            spelled = "max_size" if name == "max_final_vocab" else name
            checked_count(value, spelled, LEAST[name])


def _write(sentences: Sentences, path, by_number) -> list[str]:
    """The corpus as gensim reads it, a sentence a line. Returns the tokens by number.

    Word2Vec takes tokens as numbers, so that any token can stand in a file of words and lines.
    FastText looks into them, so they must stand there as they are.
    """
    names: collections.defaultdict[str, str] = collections.defaultdict()
    names.default_factory = lambda: str(len(names))
    name = names.__getitem__
    names[END] = "\n"
    with open(path, "w", encoding="utf-8") as file:
        for block in sentences.blocks():
            if by_number:
                block = list(map(name, block))
            elif (bad := next((t for t in set(block) if t.split() != [t]), None)) is not None:
                raise ValueError(f"The token {bad!r} holds white space, which FastText splits.")
            lines = " ".join(block).replace(END, "\n")
            for line in lines.split("\n"):
                if len(line) > LONGEST_SENTENCE:
                    tokens = line.split()
                    starts = range(0, len(tokens), LONGEST_SENTENCE)
                    line = "\n".join(" ".join(tokens[i : i + LONGEST_SENTENCE]) for i in starts)
                if line and not line.isspace():
                    file.write(line + "\n")
    return list(names) if by_number else []


def _progress(report, epochs):
    from gensim.models.callbacks import CallbackAny2Vec

    class Progress(CallbackAny2Vec):
        """Loss and speed after each epoch."""

        def __init__(self):
            self.epoch, self.started = 0, 0.0

        def on_epoch_begin(self, model):
            self.started = time.perf_counter()
            model.running_training_loss = 0.0  # gensim sums in float32, which stops growing

        def on_epoch_end(self, model):
            self.epoch += 1
            words = model.corpus_total_words
            speed = words / (time.perf_counter() - self.started)
            loss = getattr(model, "running_training_loss", 0.0)
            told = f"loss {loss / words:.3f} a token, " if loss else ""
            report(f"epoch {self.epoch}/{epochs}: {told}{speed:,.0f} tokens/s")

    return Progress()
