"""``keraslm zoo``, ``info`` and ``prune``: models on disk."""

from pathlib import Path

from keraslm.cli import sources
from keraslm.cli.checks import check_new


def add(command, nested):
    """Add the commands; the arguments make subparsers."""
    under = nested(command("zoo", None, "small models and word vectors made here"))
    under("list", _list, "what there is", needs_tensorflow=False)
    sub = under("show", _show, "the card of one", needs_tensorflow=False)
    sub.add_argument("name")
    sub = under("get", _get, "copy one, checked", needs_tensorflow=False)
    sub.add_argument("name")
    sub.add_argument("--out", type=sources.given, help="folder (default: saved_models/NAME)")
    sub.add_argument("--source", help="clone of the repository, or an address that serves it")
    sub = under("make", _make, "train one by its recipe, and export it", tells=True)
    sub.add_argument("name")
    sub.add_argument("--out", type=sources.given, help="folder (default: saved_models/NAME)")
    sub.add_argument("--data", type=sources.given, help="folder of the texts (default: build/zoo)")
    sub.add_argument("--epochs", type=int, help="instead of the recipe's")

    sub = command("info", _info, "tell what a model is, without loading it")
    sub.add_argument("model", help="bundle, Hugging Face folder or name on the hub")
    sub.add_argument("--revision", help="of a name on the hub")
    sub.add_argument("--offline", action="store_true", help="only what was downloaded before")

    sub = command("prune", _prune, "leave out the tokens that texts do not need")
    sub.add_argument("model", help="bundle, Hugging Face folder or name on the hub")
    sources.add(sub, required=True)
    sub.add_argument("--out", required=True, type=sources.given, help="folder of the new bundle")
    sub.add_argument("--overwrite", action="store_true", help="replace the model that is there")


def _list(args):
    from keraslm import zoo

    for entry in zoo.catalogue().values():
        where = entry.folder if entry.folder.is_dir() else "not here: keraslm zoo get"
        print(f"{entry.name:<18} {entry.summary}")
        print(f"{'':<18} {entry.parameters:,} parameters, {entry.quality}; {where}")


def _show(args):
    from keraslm import zoo

    entry = zoo.find(args.name)
    card = entry.folder / "README.md"
    if card.is_file():
        print(card.read_text(encoding="utf-8"))
    else:
        print(f"{entry.name}: {entry.summary}, {entry.parameters:,} parameters, {entry.quality}")
    for file, (size, digest) in entry.files.items():
        print(f"{size:>10,} bytes  {digest[:16]}  {file}")


def _get(args):
    from keraslm import zoo

    print(zoo.get(args.name, args.out, source=args.source))


def _make(args):
    from keraslm import zoo
    from keraslm.tasks import bundle

    with bundle.reserved(args.out or Path("saved_models") / args.name):
        print(zoo.make(args.name, args.out, data=args.data, epochs=args.epochs))


def _info(args):
    from keraslm.tasks import info

    print(info(args.model, revision=args.revision, offline=args.offline))


def _prune(args):
    from keraslm.data import read_texts
    from keraslm.tasks import bundle, from_pretrained, prune

    check_new(args)
    with bundle.reserved(args.out):
        texts = read_texts(sources.path_of(args), **sources.reading(args))
        task, report = prune(from_pretrained(args.model), texts)
        print(f"{task.save(args.out)}: {report}")
