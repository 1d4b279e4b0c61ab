"""The main job, step by step: from raw text to a model that generates in LiteRT.

The command line and `make demo` run these functions; ``examples/text_to_phone.py`` does the same
in plain sight.
"""

from typing import Any, NamedTuple

from keraslm._scripts import beginnings

SIZE = "nano"
LENGTH = 256  # tokens of a training row
BATCH_SIZE = 8
VOCAB_SIZE = 2048
# Fields of the `keraslm.training.Recipe`, as which it would need Keras here.
RECIPE: dict[str, Any] = {
    "learning_rate": 2e-3, "length": LENGTH, "batch_size": BATCH_SIZE, "epochs": 3,
}  # fmt: skip
PROMPTS = ("The city of", "In 1945 the", "Music is")


class Corpus(NamedTuple):
    """Cleaned documents, split by document."""

    train: list[str]
    validation: list[str]


def read_corpus(source=None, validation=0.05, **how) -> Corpus:
    """Read, clean and split a corpus.

    Args:
        source: what `keraslm.data.read_texts` takes; default the Wikipedia extract that gensim
            ships.
        validation: share held out, by document.
        how: its other arguments: ``separator``, ``encoding``, ``field``.
    """
    from keraslm.data import clean_text, read_texts, split_texts, wikipedia_sample

    source = wikipedia_sample() if source is None else source
    texts = [clean_text(text) for text in read_texts(source, **how)]
    return Corpus(*split_texts(texts, validation))


def train_vectors(texts, tokenizer, vector_size, *, epochs=5, report=None):
    """Word2Vec on the model's own tokens; see `keraslm.embeddings.train_word2vec`."""
    from keraslm.embeddings import train_word2vec

    names = tokenizer.vocabulary
    sentences = [[names[i] for i in ids] for ids in tokenizer.encode_batch(texts)]
    return train_word2vec(sentences, vector_size, epochs=epochs, min_count=2, seed=0, report=report)


def train_gpt(
    corpus,
    tokenizer,
    *,
    vectors=None,
    size=SIZE,
    recipe=None,
    minutes=None,
    log_dir=None,
    dropout=0.0,
    prompts=None,
    jit_compile="auto",
    verbose=1,
    rescue=None,
    **fields,
):
    """Build a GPT, train it with ``fit``, and give it with its tokenizer.

    Args:
        corpus: a `Corpus`.
        tokenizer: a `keraslm.tokenizers.Tokenizer`.
        vectors: word vectors to start the token table from.
        size: of `keraslm.models.GPT.sized`.
        recipe: a `keraslm.training.Recipe`; default, `RECIPE`.
        minutes: stop after so long, if given.
        log_dir: folder for TensorBoard, if given.
        dropout: of the model.
        prompts: continued after each epoch; default the beginnings of validation documents.
        jit_compile: as in ``keras.Model.compile``.
        verbose: as in ``keras.Model.fit``.
        rescue: as in `keraslm.tasks.TextGenerator.fit`.
        fields: of the recipe, instead of its own, such as ``epochs=5``. Its ``seed`` is of
            everything random.

    Returns:
        a `keraslm.tasks.TextGenerator` and the `keraslm.training.Evaluation` on the validation
        documents.
    """
    import keras

    from keraslm import callbacks
    from keraslm.data import encode_documents, pack
    from keraslm.embeddings import VectorInitializer
    from keraslm.models import GPT
    from keraslm.tasks import TextGenerator
    from keraslm.training import Recipe

    recipe = (recipe or Recipe(**RECIPE)).replace(**fields)
    keras.utils.set_random_seed(recipe.seed)
    start = None if vectors is None else VectorInitializer(vectors, tokenizer)
    if start is not None:
        print(f"Word vectors: {start.coverage}.")
    gpt = GPT.sized(size, tokenizer.vocab_size, embeddings_initializer=start,
                    dropout=dropout)  # fmt: skip
    lm = TextGenerator(gpt, tokenizer)
    recipe = recipe.replace(length=min(recipe.length or gpt.max_length, gpt.max_length))
    stream = encode_documents(corpus.train, tokenizer)
    rows = pack(stream, length=recipe.length)
    steps = recipe.num_steps(len(rows) // recipe.batch_size)
    print(
        f"GPT {size}: {gpt.count_params():,} parameters; {stream.num_tokens:,} tokens, {steps:,} "
        f"steps of {recipe.batch_size} x {recipe.length} tokens."
    )
    prompts = prompts or beginnings(corpus.validation)
    limit = None if minutes is None else callbacks.TimeLimit(minutes)
    watch = [callbacks.Samples(lm, prompts[:1], max_new_tokens=30)]
    if limit:
        watch.append(limit)
    if log_dir:
        watch.append(
            callbacks.TensorBoard(
                log_dir, lm=lm, prompts=prompts, bytes_per_token=stream.bytes_per_token
            )
        )
    lm.fit(
        rows,
        validation=pack(encode_documents(corpus.validation, tokenizer), length=recipe.length),
        recipe=recipe,
        jit_compile=jit_compile,
        callbacks=watch,
        verbose=verbose,
        rescue=rescue,
    )
    if limit and limit.reached:
        print(f"The time limit of {minutes:g} minutes ended the training, after "
              f"{int(gpt.optimizer.iterations):,} of {steps:,} steps.")  # fmt: skip
    return lm, lm.evaluate(corpus.validation, length=recipe.length)
