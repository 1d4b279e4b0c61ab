"""Word vectors under a plain Keras classifier: which article is a paragraph from?

    python examples/vectors_to_classifier.py

Takes about a minute on two CPU cores. The text is the Wikipedia extract that gensim ships: the
vectors learn from all of it without labels, the classifier from some paragraphs of ten articles.
"""

import argparse

import keras
import numpy as np

from keraslm import callbacks, data, embeddings

argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
keras.utils.set_random_seed(0)

# 1. Vectors from all the text, and what they know.
articles = [data.clean_text(text) for text in data.read_texts(data.wikipedia_sample())]
vectors = embeddings.train_word2vec(articles, 50, skip_gram=True, epochs=10, report=print)
for word in ("war", "music", "king"):
    near = ", ".join(other for other, _ in vectors.most_similar(word, topn=5))
    print(f"nearest to {word!r}: {near}")

# 2. Paragraphs of the ten longest articles; few of them have a label.
longest = sorted(articles, key=len)[-10:]
pairs = [(p, i) for i, a in enumerate(longest) for p in a.split("\n") if len(p.split()) > 30]
order = np.random.default_rng(0).permutation(len(pairs))
texts = np.array([pairs[i][0] for i in order], object)
labels = np.array([pairs[i][1] for i in order])
few = 30

# 3. Words to ids, by Keras; ids to vectors, by ours.
to_ids = keras.layers.TextVectorization(output_sequence_length=80)
to_ids.adapt(texts.tolist())
ids = np.asarray(to_ids(texts.tolist()))
vocabulary = to_ids.get_vocabulary()
start = embeddings.VectorInitializer(vectors, vocabulary, scale="raw")
print(start.coverage)


def accuracy(initializer, watch):
    """Trains on the few labelled paragraphs, judges on the others."""
    model = keras.Sequential(
        [
            keras.Input((80,), dtype="int32"),
            keras.layers.Embedding(len(vocabulary), 50, initializer, mask_zero=True, name="words"),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    model.fit(ids[:few], labels[:few], batch_size=10, epochs=30, verbose=0, callbacks=watch)
    return model.evaluate(ids[few:], labels[few:], verbose=0)[1]


# 4. From nothing, from the vectors, and with the vectors frozen for the first 15 epochs.
spread = keras.initializers.RandomNormal(stddev=float(start.table().std()))
print(f"{few} labelled paragraphs, {len(ids) - few} others, 10 articles")
print(f"random start:            {accuracy(spread, []):.1%} right")
print(f"from vectors:            {accuracy(start, []):.1%} right")
print(f"frozen first, then free: {accuracy(start, [callbacks.Freeze('words', 15)]):.1%} right")
