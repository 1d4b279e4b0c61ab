"""Word2Vec and reading of vectors: keraslm beside gensim, in turns.

    python benchmarks/vectors_vs_gensim.py CORPUS VECTORS [--rounds 3]

CORPUS is tokenised text, a sentence a line; VECTORS a GloVe text file such as glove.6B.50d.txt.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from gensim.models import KeyedVectors, Word2Vec
from gensim.models.word2vec import LineSentence
from glove_vs_c import Times

from keraslm.embeddings import load_vectors, similarity, train_word2vec

SETTINGS = {"vector_size": 100, "window": 5, "min_count": 5, "negative": 5}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("vectors", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    args = parser.parse_args()
    threads = os.cpu_count() or 1

    def ours():
        return train_word2vec(args.corpus, unit="whitespace", epochs=args.epochs, **SETTINGS)

    def theirs():
        lines = LineSentence(str(args.corpus))
        return Word2Vec(lines, workers=threads, epochs=args.epochs, seed=0, **SETTINGS).wv

    def theirs_from_file():
        return Word2Vec(
            corpus_file=str(args.corpus), workers=threads, epochs=args.epochs, seed=0, **SETTINGS
        ).wv

    contestants = {"keraslm": ours, "gensim": theirs, "gensim, corpus_file": theirs_from_file}
    times, found = race(contestants, args.rounds)
    print(f"Word2Vec, CBOW, width 100, {args.epochs} epochs, {threads} threads")
    for name in contestants:
        judged = similarity(found[name])
        print(f"{name:<22}{times[name]}, WordSim353 {judged.spearman:.3f} ({judged.pairs} pairs)")
    for peer in list(contestants)[1:]:
        show("keraslm", peer, times)

    with tempfile.TemporaryDirectory() as cache:
        contestants = {
            "keraslm": lambda: load_vectors(args.vectors),
            "gensim": lambda: KeyedVectors.load_word2vec_format(
                str(args.vectors), binary=False, no_header=True
            ),
        }
        times, found = race(contestants, 1)
        one, other = found.values()
        if one.index_to_key != other.index_to_key or abs(one.vectors - other.vectors).max() > 1e-6:
            raise SystemExit("The vectors are not the same.")
        print(f"Reading {len(one.index_to_key):,} x {one.vector_size} from text (the same vectors)")
        for name in contestants:
            print(f"{name:<22}{times[name]}")
        show("keraslm", "gensim", times)
        for what in ("first", "second"):
            started = time.perf_counter()
            load_vectors(args.vectors, cache=cache)
            print(f"{what} load with a cache {time.perf_counter() - started:.2f} s")


def race(contestants, rounds):
    """Times and last results of each, in turns."""
    times, found = {name: Times() for name in contestants}, {}
    for _ in range(rounds):
        for name, function in contestants.items():
            found[name] = times[name].run(function)
    return times, found


def show(own, peer, times):
    wall, cpu = (t / o for t, o in zip(times[peer].best(), times[own].best(), strict=True))
    print(f"ratio {own} / {peer}: wall {wall:.2f}x, CPU {cpu:.2f}x")


if __name__ == "__main__":
    main()
