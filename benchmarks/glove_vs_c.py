"""GloVe in keraslm and in Stanford's C tools: the same counts, as good vectors, the time of each.

    python benchmarks/glove_vs_c.py C_FOLDER CORPUS [--epochs 15] [--width 100] [--threads 2]

C_FOLDER has the programs vocab_count, cooccur, shuffle and glove, built from
https://github.com/stanfordnlp/GloVe (-Ofast -march=native is the fastest they get). CORPUS is
tokenised text, a sentence a line. Each step runs in turns, several times; the best of each counts.
"""

import argparse
import os
import resource
import subprocess
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from keraslm.embeddings import Sentences, evaluate, load_vectors
from keraslm.embeddings.glove import _keyed, cooccurrences, factor, shuffled
from keraslm.embeddings.sentences import encode

TRIPLE = np.dtype([("row", "<i4"), ("column", "<i4"), ("value", "<f8")])
X_MAX = 10.0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("programs", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--width", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compare(args, Path(folder))


def compare(args, folder):
    """Count, check, train, judge."""
    vocab, pairs, shuffled_file = (folder / name for name in ("vocab.txt", "pairs", "shuffled"))

    def c_program(name, *options, source=os.devnull, target=os.devnull, verbose=0):
        with open(source, "rb") as read, open(target, "wb") as write:
            return subprocess.run(
                [args.programs / name, "-verbose", str(verbose), *options],
                stdin=read,
                stdout=write,
                stderr=subprocess.PIPE,
                check=True,
            ).stderr.decode()

    def c_count():
        c_program("vocab_count", "-min-count", "5", source=args.corpus, target=vocab)
        c_program("cooccur", "-vocab-file", vocab, "-window-size", "10", "-memory", "4.0",
                  source=args.corpus, target=pairs)  # fmt: skip

    def c_shuffle():
        c_program("shuffle", "-memory", "4.0", source=pairs, target=shuffled_file)

    def our_count():
        text = encode(Sentences(args.corpus, "whitespace"), 5)
        return text, cooccurrences(text.ids, len(text.words), 10, workers=args.threads)

    shuffled(our_count()[1])  # compiles
    counting, counting_ours, shuffling, shuffling_ours = (Times() for _ in range(4))
    for _ in range(args.rounds):
        counting.run(c_count)
        text, near = counting_ours.run(our_count)
        shuffling.run(c_shuffle)
        counts = shuffling_ours.run(lambda near=near: shuffled(near))
    theirs = np.fromfile(pairs, TRIPLE)
    check_counts(theirs, vocab, text, counts)
    print(f"{text.counts.sum():,} tokens, {len(text.words):,} words, {len(counts.rows):,} pairs")
    for what, c_times, our_times in (
        ("reading and counting", counting, counting_ours),
        ("shuffling", shuffling, shuffling_ours),
    ):
        print(f"C, {what:<30}{c_times}")
        print(f"keraslm, {what:<24}{our_times}")
        show_ratio(what, c_times, our_times)

    training, training_ours = Times(), Times()
    result = {}

    def c_train():
        result["told"] = c_program(
                  "glove", "-save-file", folder / "vectors", "-threads", str(args.threads),
                  "-input-file", shuffled_file, "-x-max", str(X_MAX), "-iter", str(args.epochs),
                  "-vector-size", str(args.width), "-binary", "0", "-vocab-file", vocab,
                  "-write-header", "0", verbose=2)  # fmt: skip

    def our_training():
        result["state"] = factor(
            counts, len(text.words), args.width, epochs=args.epochs, x_max=X_MAX,
            workers=args.threads,
        )  # fmt: skip

    for _ in range(args.rounds):
        training.run(c_train)
        training_ours.run(our_training)
    steps = len(counts.rows) * args.epochs
    for name, times in (("C", training), ("keraslm", training_ours)):
        print(
            f"{name + ', training':<22} {times}, {steps / times.best()[1]:,.0f} pairs a CPU-second"
        )
    show_ratio("pairs", training, training_ours)

    # The C program's last line is the vector for unknown words.
    c_vectors = load_vectors(folder / "vectors.txt", limit=len(text.words))
    ours = _keyed(text.words, text.counts, result["state"])
    costs = (float(result["told"].rpartition("cost: ")[2]), float(result["state"]["cost"]))
    print(f"cost of the last epoch: C {costs[0]:.6f}, keraslm {costs[1]:.6f} "
          f"({costs[1] / costs[0] - 1:+.2%})")  # fmt: skip
    for name, vectors in (("C", c_vectors), ("keraslm", ours)):
        judged = evaluate(vectors)
        found, pairs = judged["analogies"], (judged["wordsim353"], judged["simlex999"])
        print(f"{name:<8} analogies {found['accuracy']:.1%} of {found['asked']:,}, "
              f"WordSim353 {pairs[0]['spearman']:.3f}, "
              f"SimLex {pairs[1]['spearman']:.3f}")  # fmt: skip


def show_ratio(what, theirs, ours):
    wall, cpu = (c / o for c, o in zip(theirs.best(), ours.best(), strict=True))
    print(f"ratio, {what}: wall {wall:.2f}x, CPU {cpu:.2f}x")


def check_counts(theirs, vocab, text, counts):
    """The same pairs, the same values."""
    names = [line.split()[0] for line in vocab.read_text(encoding="utf-8").splitlines()]
    ours_of = {word: i for i, word in enumerate(text.words)}
    # Words that are as frequent stand in another order.
    number = np.array([ours_of[name] for name in names], np.int64)
    size = len(names)
    keys = number[theirs["row"] - 1] * size + number[theirs["column"] - 1]
    ours = counts.rows.astype(np.int64) * size + counts.columns
    a, b = np.argsort(keys), np.argsort(ours)
    if len(keys) != len(ours) or not np.array_equal(keys[a], ours[b]):
        raise SystemExit("The pairs are not the same.")
    apart = np.abs(theirs["value"][a] / counts.values[b] - 1).max()
    print(f"the same pairs; values apart by at most {apart:.1e} of themselves")


class Times:
    """Wall and CPU seconds of calls, those of programs they start included."""

    def __init__(self):
        self.all = []

    def run(self, function):
        """Call and note."""
        wall, cpu = time.perf_counter(), cpu_seconds()
        result = function()
        self.all.append((time.perf_counter() - wall, cpu_seconds() - cpu))
        return result

    def best(self):
        """The least wall and the least CPU seconds."""
        return tuple(min(column) for column in zip(*self.all, strict=True))

    def __str__(self):
        wall, cpu = self.best()
        return f"{wall:6.2f} s, {cpu:6.2f} CPU-s"


def cpu_seconds():
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    main()
