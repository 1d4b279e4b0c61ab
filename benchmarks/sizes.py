"""How large models are, and everything that goes to a phone, a page or a server with them.

    python benchmarks/sizes.py [--sizes nano tiny mini small]

A GPT of each size with a byte-level tokenizer of 4,096 tokens of the Wikipedia extract, untrained,
for training does not change sizes; then what is beside it, from the largest on. Needs the extra
litertlm, and for the page npm.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import keras

from keraslm import data, export, models, tasks, tokenizers

KINDS = (None, "float16", "int8", "int4")


def megabytes(path):
    """Of a file, or of all files below a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return f"{sum(file.stat().st_size for file in files) / 1e6:.2f}"


def row(size, tokenizer, folder):
    """Sizes of one model's files, in MB."""
    keras.utils.set_random_seed(0)
    gpt = models.GPT.sized(size, tokenizer.vocab_size)
    lm = tasks.TextGenerator(gpt, tokenizer)
    lm.save(folder)
    cells = [size, f"{gpt.count_params():,}", f"{gpt.max_length:,}",
             megabytes(folder / "model.safetensors")]  # fmt: skip
    for kind in KINDS:
        cells.append(megabytes(export.tflite(lm, folder, quantization=kind, verify=False)))
    cells.append(megabytes(export.saved_model(lm, folder, verify=False)))
    return cells, lm


def main():
    """Print two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", default=["nano", "tiny", "mini", "small"])
    args = parser.parse_args()
    texts = list(data.read_texts(data.wikipedia_sample()))
    tokenizer = tokenizers.Tokenizer.train(texts, vocab_size=4096)
    print(
        "| size | parameters | context | weights | float32 | float16 | int8 | int4 | SavedModel |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        for size in args.sizes:
            cells, lm = row(size, tokenizer, Path(name, size))
            print(f"| {' | '.join(cells)} |", flush=True)
        folder = Path(name, args.sizes[0])
        cells, lm = row(args.sizes[0], tokenizer, folder)
        print(f"\ntokenizer.json: {megabytes(folder / 'tokenizer.json')} MB")
        packed = export.litertlm(lm, folder, quantization="int8", verify=False)
        print(f"model.litertlm, int8: {megabytes(packed)} MB")
        if shutil.which("npm"):
            page = export.web(lm, folder, quantization="int8", verify=False)
            for file in sorted(page.rglob("*"), key=lambda f: -f.stat().st_size):
                if file.is_file() and file.stat().st_size > 10_000:
                    print(f"{megabytes(file)} MB  {file.relative_to(page)}")
            print(f"{megabytes(page)} MB  in all")


if __name__ == "__main__":
    main()
