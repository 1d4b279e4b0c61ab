"""Word2Vec through gensim, on words or on the model's own tokens."""

import time
from collections.abc import Iterable, Sequence

# gensim silently drops what goes beyond 10,000 tokens of a sentence.
LONGEST_SENTENCE = 10_000


def train_word2vec(
    sentences: Iterable[Sequence[str]],
    vector_size: int = 192,
    *,
    epochs: int = 5,
    window: int = 5,
    min_count: int = 2,
    skip_gram: bool = False,
    workers: int = 2,
    seed: int = 0,
    report=None,
):
    """Train Word2Vec (Mikolov et al. 2013) and return gensim ``KeyedVectors``.

    Args:
        sentences: lists of tokens, words or whatever a tokenizer calls its tokens; read once per
            epoch, so a list or another iterable that can be read again.
        vector_size: width; a model's ``d_model`` if the vectors are to start its token table.
        epochs: passes over the text.
        window: tokens looked at on each side.
        min_count: rarer tokens get no vector.
        skip_gram: skip-gram instead of CBOW.
        workers: threads; with more than one, two runs differ slightly.
        seed: of the starting vectors.
        report: called with one line of text after each epoch.

    Raises:
        ValueError: no token occurs ``min_count`` times.

    Example:
        >>> vectors = train_word2vec([["to", "be", "or", "not", "to", "be"]] * 20, 16)
        >>> vectors.most_similar("be")
    """
    from gensim.models import Word2Vec
    from gensim.models.callbacks import CallbackAny2Vec

    class Report(CallbackAny2Vec):
        """Loss and speed after each epoch."""

        def __init__(self):
            self.epoch, self.before, self.started = 0, 0.0, time.perf_counter()

        def on_epoch_begin(self, model):
            self.started = time.perf_counter()

        def on_epoch_end(self, model):
            self.epoch += 1
            loss = model.get_latest_training_loss()
            speed = model.corpus_total_words / (time.perf_counter() - self.started)
            report(
                f"epoch {self.epoch}/{epochs}: loss {loss - self.before:,.0f}, "
                f"{speed:,.0f} tokens/s"
            )
            self.before = loss

    model = Word2Vec(
        vector_size=vector_size,
        window=window,
        min_count=min_count,
        sg=int(skip_gram),
        workers=workers,
        seed=seed,
        compute_loss=report is not None,
    )
    pieces = _Pieces(sentences)
    model.build_vocab(pieces)
    if not model.wv.key_to_index:
        raise ValueError(
            f"No token occurs min_count={min_count} times: nothing to train vectors on. "
            "Give more text or a smaller min_count."
        )
    model.train(
        pieces,
        total_examples=model.corpus_count,
        epochs=epochs,
        compute_loss=report is not None,
        callbacks=[Report()] if report else (),
    )
    return model.wv


class _Pieces:
    """Sentences cut to what gensim reads of one."""

    def __init__(self, sentences):
        self.sentences = sentences

    def __iter__(self):
        for sentence in self.sentences:
            for start in range(0, len(sentence), LONGEST_SENTENCE):
                yield sentence[start : start + LONGEST_SENTENCE]
