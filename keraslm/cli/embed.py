"""``keraslm embed``: train word vectors, judge them, look at them, and change their format."""

from pathlib import Path
from typing import Any

from keraslm._version import __version__
from keraslm.cli import sources

METHODS = ("word2vec", "fasttext", "glove")
CARD = """# {name}

Word vectors made with keraslm {version}: {method}, {words:,} words, width {width}.

- Corpus: {corpus}
- Settings: `recipe.json`
- Read them with `keraslm.embeddings.load_vectors("{name}")`

Vectors take over what their corpus associates, prejudice included: see
`keraslm embed evaluate {name} --bias`. Those of a small corpus know frequent words only.
"""


def add(command):
    """Add the subcommands; ``command`` makes a subparser from a name, a function and a summary."""
    sub = command("train", _train, "train Word2Vec, FastText or GloVe", tells=True)
    sources.add(sub)
    sub.add_argument("--method", choices=METHODS, default="word2vec", help="default %(default)s")
    sub.add_argument(
        "--tokenizer", type=sources.given, help="train on the tokens of this tokenizer"
    )
    sub.add_argument("--unit", default="words",
                     choices=("words", "whitespace", "characters", "jieba"),
                     help="what a token is, without --tokenizer (%(default)s)")  # fmt: skip
    sub.add_argument("--width", type=int, default=128, help="the model's d_model (%(default)s)")
    sub.add_argument("--epochs", type=int, help="default 5; GloVe 15")
    sub.add_argument("--window", type=int, help="default 5; GloVe 10")
    sub.add_argument("--min-count", type=int, default=5, help="default %(default)s")
    sub.add_argument("--max-size", type=int, help="of the vocabulary")
    sub.add_argument("--stop-words", choices=("english", "chinese"), help="leave these out")
    sub.add_argument("--skip-gram", action="store_true", help="instead of CBOW")
    sub.add_argument("--bucket", type=int, help="of FastText: vectors for letters (200,000)")
    sub.add_argument("--x-max", type=float, help="of GloVe (100; small corpora: 10)")
    sub.add_argument("--checkpoint", type=sources.given, help="of GloVe: file to go on from")
    sub.add_argument("--spill", type=sources.given, help="of GloVe: keep the counts in files there")
    sub.add_argument("--workers", type=int, help="threads (all cores)")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--float16", action="store_true", help="save in half the size")
    sub.add_argument(
        "--out", required=True, type=sources.given, help="folder, such as embeddings/mine"
    )

    sub = command("evaluate", _evaluate, "analogies, similarity, and bias")
    vectors(sub)
    sub.add_argument(
        "--questions", type=sources.given, help="analogies (default: the well-known ones)"
    )
    sub.add_argument(
        "--pairs", type=sources.given, action="append", help="word, word, number a line"
    )
    sub.add_argument("--bias", action="store_true", help="the Word Embedding Association Test")
    sub.add_argument("--json", type=sources.given, help="write the results to this file")

    sub = command("neighbors", _neighbors, "the nearest words")
    vectors(sub)
    sub.add_argument("words", nargs="+")
    sub.add_argument("--number", type=int, default=10, help="default %(default)s")

    sub = command("convert", _convert, "write vectors in another format")
    vectors(sub)
    sub.add_argument(
        "out", type=sources.given, help="folder or file (.vec, .txt, .bin, with .gz or not)"
    )
    sub.add_argument("--to", help="word2vec, word2vec-binary, glove, fasttext or folder")

    sub = command("project", _project, "show vectors in TensorBoard's projector")
    vectors(sub)
    sub.add_argument("out", type=sources.given, help="TensorBoard's --logdir")
    sub.add_argument("--number", type=int, default=10_000, help="words (%(default)s)")


def vectors(sub):
    """Add the arguments for vectors."""
    sub.add_argument("vectors", type=sources.given, help="folder or file")
    sub.add_argument("--format", help="of the file, if it is not told from it; 'pickle' only for "
                     "files from someone you trust")  # fmt: skip
    sub.add_argument("--limit", type=int, help="the most frequent words only")


def _load(args):
    from keraslm.embeddings import load_vectors

    return load_vectors(args.vectors, args.format, limit=args.limit, cache=True)


def _train(args):
    from keraslm._files import reserved
    from keraslm.embeddings import storage

    with reserved(args.out, storage.FILES[:3]):
        _train_and_save(args)


def _train_and_save(args):
    from keraslm import embeddings, pipeline
    from keraslm.data import wikipedia_sample
    from keraslm.tokenizers import Tokenizer

    options: dict[str, Any] = {
        name: value
        for name in ("epochs", "window", "min_count", "max_size", "stop_words", "workers", "seed")
        if (value := getattr(args, name)) is not None
    }
    if args.method == "glove":
        options |= {"checkpoint": args.checkpoint, "folder": args.spill}
        options |= {} if args.x_max is None else {"x_max": args.x_max}
        train = embeddings.train_glove
    else:
        options["skip_gram"] = args.skip_gram
        if args.method == "fasttext" and args.bucket:
            options["bucket"] = args.bucket
        train = getattr(embeddings, f"train_{args.method}")
    if args.tokenizer:
        # For a model that 'keraslm train' will judge on the documents held out.
        options["unit"] = Tokenizer.load(args.tokenizer)
        corpus: Any = pipeline.read_corpus(sources.path_of(args), **sources.reading(args)).train
    else:  # in a stream, so that it may be larger than memory
        options["unit"] = args.unit
        corpus = wikipedia_sample() if args.source is None else sources.Lines(args)
    found = train(corpus, args.width, report=print, **options)
    recipe = {
        "method": args.method,
        "corpus": str(args.source or "gensim's Wikipedia extract (CC BY-SA)"),
        **{k: v for k, v in options.items() if isinstance(v, (int, float, str))},
        "unit": str(args.tokenizer or args.unit),
    }
    card = CARD.format(
        name=args.out, version=__version__, words=len(found.index_to_key), width=args.width,
        **{name: recipe[name] for name in ("method", "corpus")},
    )  # fmt: skip
    dtype = "float16" if args.float16 else "float32"
    folder = embeddings.save_vectors(found, args.out, recipe, card=card, dtype=dtype)
    print(f"{folder}: {len(found.index_to_key):,} vectors of width {args.width}")


def _evaluate(args):
    from keraslm._files import write_json
    from keraslm.embeddings import evaluate, weat
    from keraslm.embeddings.evaluation import table_of

    found = _load(args)
    pairs = {"pairs": args.pairs} if args.pairs else {}
    result = evaluate(found, args.questions, **pairs)
    print(table_of(result))
    if args.bias:
        associations = weat(found)
        print("\nBias (d: -2 to 2, 0 is none; p: share of random splits at least as biased)")
        for association in associations:
            print(association)
        result["bias"] = [association._asdict() for association in associations]
    if args.json:
        write_json(Path(args.json), result)


def _neighbors(args):
    found = _load(args)
    for word in args.words:
        if word not in found:
            raise ValueError(f"{word!r} has no vector in {args.vectors}.")
        near = found.most_similar(word, topn=args.number)
        print(f"{word}: {', '.join(f'{other} {cosine:.3f}' for other, cosine in near)}")


def _convert(args):
    from keraslm.embeddings import write_vectors

    print(write_vectors(_load(args), args.out, args.to))


def _project(args):
    from keraslm.embeddings import write_projector

    folder = write_projector(_load(args), args.out, args.number)
    print(f"{folder}: look at it with 'tensorboard --logdir {folder}', tab Projector")
