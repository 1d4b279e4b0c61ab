"""When do word vectors help? SST-2 with few and with all labels, from random and real vectors.

    python benchmarks/sst2_vectors.py SST2_FOLDER GLOVE [--seeds 3] [--small]

SST2_FOLDER has ``train.tsv`` and ``dev.tsv`` (text, tab, 0 or 1). GLOVE is ``glove.6B.50d.txt``, or
whatever ``keraslm.embeddings.load_vectors`` reads, 50 wide. The vocabulary holds the words of the
development sentences as well: those that no training sentence has keep their vectors.
"""

import argparse
import csv
import json
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from keraslm.callbacks import Freeze
from keraslm.embeddings import VectorInitializer, load_vectors, train_word2vec

LENGTH, WIDTH, STEPS, BATCH = 40, 50, 600, 32


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sst2", type=Path)
    parser.add_argument("glove", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="one seed, few steps, to try it")
    parser.add_argument("--json", type=Path, help="write the table here too")
    args = parser.parse_args()
    started = time.perf_counter()
    train, dev = read(args.sst2 / "train.tsv"), read(args.sst2 / "dev.tsv")
    words = sorted({word for text, _ in train + dev for word in text.split()})
    vocabulary = ["", *words]
    index = {word: i for i, word in enumerate(vocabulary)}
    x, y = arrays(train, index)
    dev_x, dev_y = arrays(dev, index)
    own = train_word2vec([text.split() for text, _ in train], WIDTH, epochs=20, skip_gram=True,
                         min_count=2, workers=1)  # fmt: skip
    real = load_vectors(args.glove, cache=True)
    spread = float(real.vectors.std())
    starts = {
        "random": None,
        "own Word2Vec": VectorInitializer(own, vocabulary, scale=spread),
        "GloVe 6B": VectorInitializer(real, vocabulary, scale="raw"),
        "GloVe 6B, spread 0.02": VectorInitializer(real, vocabulary, scale=0.02),
    }
    for name, start in list(starts.items())[1:]:
        print(f"{name}: {start.coverage}")
    ways = [("random", "trained"), ("own Word2Vec", "trained"), ("own Word2Vec", "frozen"),
            ("own Word2Vec", "thawed"), ("GloVe 6B", "trained"), ("GloVe 6B", "frozen"),
            ("GloVe 6B", "thawed"), ("GloVe 6B, spread 0.02", "trained")]  # fmt: skip
    seeds, steps = (1, 20) if args.small else (args.seeds, STEPS)
    table = []
    for build in (bag, lstm):
        for size in (500, len(x)):
            for start, way in ways:
                scores = [
                    run(build, starts[start] or random_start(spread, seed), way, x, y, dev_x, dev_y,
                        size, steps, len(vocabulary), seed)
                    for seed in range(seeds)
                ]  # fmt: skip
                table.append([build.__name__, size, start, way, np.mean(scores), np.ptp(scores)])
                print(f"{build.__name__:<5}{size:>6}  {start:<22}{way:<9}", end="")
                print(f"{np.mean(scores):6.1%}  range {np.ptp(scores):.1%}", flush=True)
    print(f"{time.perf_counter() - started:.0f} s")
    if args.json:
        args.json.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


def random_start(spread, seed):
    """At the same spread as the vectors, or the scale would be what is compared."""
    return keras.initializers.RandomNormal(stddev=spread, seed=seed)


# === Two classifiers ===


def bag(vocab_size, start):
    """The mean of the vectors, then a layer."""
    ids = keras.Input((LENGTH,), dtype="int32")
    h = keras.layers.Embedding(vocab_size, WIDTH, start, mask_zero=True, name="words")(ids)
    h = keras.layers.GlobalAveragePooling1D()(h)
    h = keras.layers.Dense(64, "relu")(h)
    return keras.Model(ids, keras.layers.Dense(1)(keras.layers.Dropout(0.3)(h)))


def lstm(vocab_size, start):
    """An LSTM over the vectors."""
    ids = keras.Input((LENGTH,), dtype="int32")
    h = keras.layers.Embedding(vocab_size, WIDTH, start, mask_zero=True, name="words")(ids)
    h = keras.layers.LSTM(64, use_cudnn=False)(keras.layers.SpatialDropout1D(0.3)(h))
    return keras.Model(ids, keras.layers.Dense(1)(h))


def run(build, start, way, x, y, dev_x, dev_y, size, steps, vocab_size, seed):
    """Accuracy on the development set after so many steps."""
    keras.utils.set_random_seed(seed)
    model = build(vocab_size, start)
    model.compile(
        keras.optimizers.Adam(1e-3),
        keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[keras.metrics.BinaryAccuracy(threshold=0.0)],
    )
    some = np.random.default_rng(seed).permutation(len(x))[:size]
    repeats = -(-steps * BATCH // size)
    rows = np.concatenate([np.random.default_rng(seed + i).permutation(some)
                           for i in range(repeats)])[: steps * BATCH]  # fmt: skip
    half = len(rows) // 2 // BATCH * BATCH
    frozen = [Freeze("words", 2)] if way == "frozen" else []
    for part, part_rows in enumerate((rows[:half], rows[half:])):
        watch = [Freeze("words", 2)] if way == "thawed" and part == 0 else frozen
        model.fit(x[part_rows], y[part_rows], batch_size=BATCH, shuffle=False, verbose=0,
                  callbacks=watch)  # fmt: skip
    return model.evaluate(dev_x, dev_y, batch_size=256, verbose=0)[1]


# === Data ===


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [(text.lower(), int(label)) for text, label in rows if label in ("0", "1")]


def arrays(rows, index):
    x = np.zeros((len(rows), LENGTH), "int32")
    for i, (text, _) in enumerate(rows):
        ids = [index[word] for word in text.split()][:LENGTH]
        x[i, : len(ids)] = ids
    return x, np.array([label for _, label in rows], "float32")


if __name__ == "__main__":
    main()
