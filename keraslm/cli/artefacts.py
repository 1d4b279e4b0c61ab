"""``keraslm generate``, ``export``, ``verify`` and ``run``: what one does with a trained model."""

import itertools
import json
import sys
from pathlib import Path

from keraslm._targets import TARGETS
from keraslm.cli import sources

# What to do with a task that generates nothing.
INSTEAD = {
    "FillMask": "Write: keraslm fill TEXT --model …",
    "TextClassifier": "Write: keraslm classify TEXT --model …",
    "SentenceEncoder": "Write: keraslm encode TEXT --model …",
}


def add(command):
    """Add the commands; ``command`` makes a subparser from a name, a function and a summary."""
    sub = command("generate", _generate, "continue a text", tells=True)
    sub.add_argument("prompt")
    sub.add_argument("--model", default="demo", help="bundle folder or export (default: demo)")
    _generation(sub)

    sub = command("fill", _fill, "what may stand for [MASK] in a text")
    sub.add_argument("text")
    sub.add_argument("--model", required=True, help="bundle or checkpoint of a masked model")
    sub.add_argument("--top-k", type=int, default=5, help="default %(default)s")

    for name, run, what in (
        ("classify", _classify, "the class of each text"),
        ("encode", _encode, "the vector of each text, a JSON list a line"),
    ):
        sub = command(name, run, what)
        sub.add_argument("texts", nargs="+", metavar="TEXT", help="or '-': a text a line of stdin")
        sub.add_argument("--model", required=True, help="bundle or checkpoint")

    sub = command("export", _export, "write what phones, browsers and servers run, and prove it")
    sub.add_argument("model", help="bundle folder")
    sub.add_argument("--to", action="append", choices=tuple(TARGETS),
                     help="repeat for several (default: tflite and saved_model)")  # fmt: skip
    sub.add_argument("--quantization", metavar="KIND",
                     help="float16, int8, int8_weights or int4 (default: float32)")  # fmt: skip
    sub.add_argument("--out", type=sources.given, help="folder (default: the bundle)")
    sub.add_argument("--no-verify", dest="verify", action="store_false")

    sub = command("verify", _verify, "compare exports with the Keras model")
    sub.add_argument("model", help="bundle folder")
    sub.add_argument("exports", nargs="*", type=sources.given, help="default: those in the bundle")
    sub.add_argument("--full", action="store_true", help="perplexity, speed and memory too")
    sub.add_argument("--tensors", action="store_true", help="list the weights of a .tflite")

    sub = command("run", _run, "continue a text with an exported file or folder", tells=True)
    sub.add_argument("path", type=sources.given, help=".tflite, .litertlm, SavedModel or bundle")
    sub.add_argument("prompt")
    _generation(sub)


def _generation(sub):
    sub.add_argument("--max-new-tokens", type=int, default=30, help="default %(default)s")
    sub.add_argument("--temperature", type=float, help="0: greedy")
    sub.add_argument("--top-k", type=int)
    sub.add_argument("--top-p", type=float)
    sub.add_argument("--min-p", type=float)
    sub.add_argument("--repetition-penalty", type=float)
    sub.add_argument("--seed", type=int)
    sub.add_argument("--stop", action="append", default=[], help="string at which to stop")


# === Generating ===


def _generate(args):
    _show(args, args.model)


def _run(args):
    if not args.path.exists():
        raise FileNotFoundError(f"No file or folder {args.path}. Make one with 'keraslm export'.")
    _show(args, args.path)


def _show(args, path):
    """Print the prompt, then each piece as soon as it is there."""
    names = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed")
    settings = {name: value for name in names if (value := getattr(args, name)) is not None}
    settings["max_new_tokens"] = args.max_new_tokens
    pieces = iter(_stream(path, args.prompt, settings, args.stop))
    first = next(pieces, "")  # an error comes before any output
    print(args.prompt, end="", flush=True)
    for piece in itertools.chain([first], pieces):
        print(piece, end="", flush=True)
    print()


def _stream(path, prompt, settings, stop):
    """Pieces of the continuation, from whatever is at ``path``."""
    from keraslm.export.manifest import manifest_entry
    from keraslm.runtimes import open_runtime
    from keraslm.tasks import from_pretrained

    path = Path(path)
    if (path / "index.html").is_file():
        raise ValueError(
            f"{path} is a web page: serve it, for example with 'python -m http.server -d {path}', "
            "and open it in a browser."
        )
    if path.suffix in (".tflite", ".litertlm") or (path / "saved_model.pb").is_file():
        manifest_entry(path)  # raises if the file was changed
        return open_runtime(path).stream(prompt, stop=stop, **settings)
    task = from_pretrained(path)
    if not hasattr(task, "stream"):
        raise ValueError(
            f"{path} is a {type(task).__name__}, which does not continue a text. "
            f"{INSTEAD.get(type(task).__name__, 'Use it from Python: ' + task.example)}"
        )
    return task.stream(prompt, stop=stop, **settings)


# === Encoders ===


def _task(path, name):
    from keraslm.tasks import from_pretrained
    from keraslm.tasks.table import TASKS

    task = from_pretrained(path)
    if not isinstance(task, TASKS[name]):
        raise ValueError(f"{path} is a {type(task).__name__}, not a {name}.")
    return task


def _texts(args):
    if args.texts != ["-"]:
        return args.texts
    return [line.rstrip("\n") for line in sys.stdin if line.strip()]


def _fill(args):
    answer = _task(args.model, "FillMask").predict(args.text, top_k=args.top_k)
    for mask in answer if answer and isinstance(answer[0], list) else [answer]:
        for fill in mask:
            print(f"{fill.probability:.2%}", fill.token, fill.text, sep="\t")


def _classify(args):
    task = _task(args.model, "TextClassifier")
    for text, answer in zip(texts := _texts(args), task.predict(texts), strict=True):
        if isinstance(answer, dict):  # numbers of a regression
            print(" ".join(f"{name}={value:.4g}" for name, value in answer.items()), text, sep="\t")
        else:
            print(answer.label, f"{answer.probabilities[answer.label]:.2%}", text, sep="\t")


def _encode(args):
    task = _task(args.model, "SentenceEncoder")
    for vector in task.encode(_texts(args)):
        print(json.dumps([round(float(x), 6) for x in vector]))


# === Exporting and proving ===


def _export(args):
    from keraslm import export
    from keraslm.litert.quantization import check_kind
    from keraslm.tasks import from_pretrained

    check_kind(args.quantization)
    lm = from_pretrained(args.model)
    out = args.out or Path(args.model)
    if str(out) == "demo" and not out.is_dir():
        raise ValueError("--out is missing: the installed model's own folder is not written to.")
    for name in args.to or ("tflite", "saved_model"):
        target = export.TARGETS[name]
        options = {"quantization": args.quantization} if target.quantizes else {}
        path = target.export(lm, out / target.name, verify=args.verify and "quick", **options)
        plain = (
            "" if target.quantizes or not args.quantization else f"float32 ({name} has no other), "
        )
        print(f"{path}: {plain}{export.Verification.from_manifest(path) or 'not verified'}")


def _verify(args):
    from keraslm.export import verify
    from keraslm.tasks import from_pretrained

    lm = from_pretrained(args.model)
    found = [Path(args.model) / name for name in TARGETS.values()]
    paths = args.exports or [path for path in found if path.exists()]
    if not paths:
        raise ValueError(f"{args.model} has no export. Make one with 'keraslm export'.")
    failed = False
    for path in paths:
        result = verify(path, lm, "full" if args.full else "quick")
        failed |= not result.passed
        print(f"{path}\n{result.table()}" if args.full else f"{path}: {result}")
        if args.tensors and path.suffix == ".tflite":
            _list_tensors(path)
    if failed:
        raise RuntimeError("an export does not give what Keras gives.")


def _list_tensors(path):
    from keraslm.litert.flatbuffer import LiteRTFile

    rows = LiteRTFile(path.read_bytes()).constants()
    before = after = 0
    for row in rows:
        before, after = before + row.float32_bytes, after + row.num_bytes
        shape = " x ".join(map(str, row.shape))
        sizes = f"  {row.num_bytes:>12,}  {row.float32_bytes:>12,}"
        print(f"{sizes}  {row.dtype:<8}  {shape:<16}  {row.name}")
    print(f"  {after:>12,}  {before:>12,}  bytes, and in float32")
