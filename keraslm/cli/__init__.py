"""The ``keraslm`` command: thin, over the functions that scripts use."""

import argparse
import contextlib
import functools
import os
import sys
import tempfile
import warnings
from collections.abc import Sequence

from keraslm._version import __version__
from keraslm.cli import artefacts, embed, sources, zoo
from keraslm.cli.checks import check_new, check_writable
from keraslm.cli.waiting import patience

__all__ = ["check_writable", "import_tensorflow_quietly", "main"]

EPILOG = """
The steps in order: tokenizer, embed, train, generate, export, verify, run. 'keraslm demo' does
them on a Wikipedia extract. Without SOURCE, a step reads that extract.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status: 0, 1 for a failure, 2 for bad input.

    Example:
        >>> main(["info", "demo"])
        /...demo
          kind        keraslm bundle
        ...
        0
    """
    parser = _parser()
    args = parser.parse_args(argv)
    if args.run is None:
        parser.print_help()
        return 0
    try:
        # Not for what needs no TensorFlow: its import takes seconds.
        if args.needs_tensorflow:
            import_tensorflow_quietly()
        quiet = contextlib.nullcontext() if args.tells else patience(args.command)
        with _plain_warnings(args.command), quiet:
            args.run(args)
        return 0
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone; keep Python from complaining about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        if args.debug:
            raise
        print(f"keraslm {args.command}: {_sentence(error)}", file=sys.stderr)
        return 2 if isinstance(error, (ValueError, OSError)) else 1
    except Exception as error:  # what nobody foresaw: still one sentence
        if args.debug:
            raise
        what = "out of memory" if isinstance(error, MemoryError) else type(error).__name__
        first = str(error).strip().partition("\n")[0]
        said = f"{what}: {first}" if first else what
        print(f"keraslm {args.command}: {said}. Add --debug to see where.", file=sys.stderr)
        return 1


@contextlib.contextmanager
def _plain_warnings(command):
    """Warnings of ours as a sentence, not with the line of code that they came from."""
    with warnings.catch_warnings():
        before = warnings.showwarning

        def show(message, category, filename, lineno, file=None, line=None):
            if issubclass(category, UserWarning):
                print(f"keraslm {command}: {message}", file=sys.stderr)
            else:
                before(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        yield


def _sentence(error):
    if isinstance(error, OSError) and error.strerror:
        where = f" {error.filename}" if error.filename else ""
        return f"{error.strerror}:{where}"
    return str(error)


def import_tensorflow_quietly() -> None:
    """Import TensorFlow without the lines it prints before its logging can be set.

    Example:
        >>> import_tensorflow_quietly()
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            import tensorflow as tf

            tf.get_logger().setLevel("ERROR")
            with contextlib.suppress(ImportError):
                from absl import logging

                logging.set_verbosity(logging.ERROR)
        except BaseException:
            log.seek(0)
            os.write(saved, log.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


# === Commands ===


def _tokenizer(args):
    from keraslm.data import read_texts, wikipedia_sample
    from keraslm.tokenizers import Tokenizer

    source = wikipedia_sample() if args.source is None else sources.path_of(args)
    texts = read_texts(source, **sources.reading(args))
    tokenizer = Tokenizer.train(texts, args.kind, args.vocab_size)
    print(f"{tokenizer.save(args.out)}: {tokenizer.kind}, {tokenizer.vocab_size:,} tokens")


def _train(args):
    from keraslm import pipeline
    from keraslm.callbacks import TimeLimit
    from keraslm.embeddings import load_vectors
    from keraslm.models.presets import sized
    from keraslm.tasks import bundle
    from keraslm.tokenizers import Tokenizer

    check_new(args)
    most = sized(args.size)["max_length"]
    if args.length > most:
        raise ValueError(f"--length must be at most {most} for --size {args.size}; received "
                         f"{args.length}.")  # fmt: skip
    if args.minutes is not None:
        TimeLimit(args.minutes)  # that it is one is known before the texts are read
    if args.overwrite and args.out.is_dir():
        there = ", ".join(name for name in bundle.EXPORTS if (args.out / name).exists())
        print(f"The model in {args.out} will be replaced at the end; exports that go with it: "
              f"{there or 'none'}.")  # fmt: skip
    with bundle.reserved(args.out):
        tokenizer = Tokenizer.load(args.tokenizer)
        vectors = load_vectors(args.vectors) if args.vectors else None
        corpus = pipeline.read_corpus(sources.path_of(args), **sources.reading(args))
        lm, evaluation = pipeline.train_gpt(
            corpus,
            tokenizer,
            vectors=vectors,
            size=args.size,
            batch_size=args.batch_size,
            epochs=args.epochs,
            learning_rate=args.learning_rate,
            length=args.length,
            seed=args.seed,
            dropout=args.dropout,
            prompts=args.prompt,
            minutes=args.minutes,
            log_dir=args.log_dir,
            verbose=1 if os.isatty(1) else 2,
            rescue=args.out.with_name(f"{args.out.name}-interrupted"),
        )
        folder = lm.save(args.out)
    print(
        f"{folder}: validation loss {evaluation.loss:.3f}, perplexity "
        f"{evaluation.perplexity:.1f}, {evaluation.bits_per_byte:.3f} bits per byte"
    )


def _demo(args):
    from keraslm._files import reserved
    from keraslm.demo import demo
    from keraslm.tasks import bundle

    with reserved(args.vectors_out), bundle.reserved(args.out):
        demo(args.out, args.vectors_out, args.minutes, args.epochs)


# === Arguments ===


def _parser():
    parser = argparse.ArgumentParser(
        prog="keraslm", description="From raw text to a language model on a phone.", epilog=EPILOG
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def command(name, run, summary, needs_tensorflow=True, tells=False, under=commands):
        sub = under.add_parser(name, help=summary, description=summary)
        if run:
            sub.add_argument("--debug", action="store_true", help="show where an error arose")
            sub.set_defaults(run=run, needs_tensorflow=needs_tensorflow, tells=tells)
        return sub

    def nested(sub):
        under = sub.add_subparsers(dest="subcommand", required=True, metavar="COMMAND")
        return functools.partial(command, under=under)

    sub = command("tokenizer", _tokenizer, "train a tokenizer", needs_tensorflow=False)
    sources.add(sub)
    sub.add_argument("--kind", default="bpe",
                     choices=("bpe", "wordpiece", "word", "char", "jieba"))  # fmt: skip
    sub.add_argument("--vocab-size", type=int, default=8192, help="default %(default)s")
    sub.add_argument("--out", required=True, type=sources.given, help="folder or .json file")

    sub = command("embed", None, "train, judge, convert and look at word vectors")
    embed.add(nested(sub))

    sub = command("train", _train, "train a GPT", tells=True)
    sources.add(sub)
    sub.add_argument(
        "--tokenizer", required=True, type=sources.given, help="folder or tokenizer.json"
    )
    sub.add_argument("--vectors", type=sources.given, help="folder of word vectors to start from")
    sub.add_argument("--size", default="nano", help="nano, tiny, mini, small or medium")
    sub.add_argument("--epochs", type=int, default=3, help="default %(default)s")
    sub.add_argument("--batch-size", type=int, default=8, help="rows a step (%(default)s)")
    sub.add_argument("--learning-rate", type=float, default=2e-3, help="peak (%(default)s)")
    sub.add_argument("--length", type=int, default=256, help="tokens of a row (%(default)s)")
    sub.add_argument("--dropout", type=float, default=0.0, help="default %(default)s")
    sub.add_argument("--seed", type=int, default=0, help="of everything random (%(default)s)")
    sub.add_argument("--prompt", action="append",
                     help="continued after each epoch (beginnings of texts held out)")  # fmt: skip
    sub.add_argument("--minutes", type=float, help="stop after so long")
    sub.add_argument("--log-dir", type=sources.given, help="folder for TensorBoard")
    sub.add_argument(
        "--out", required=True, type=sources.given, help="folder, such as saved_models/mine"
    )
    sub.add_argument("--overwrite", action="store_true", help="replace the model that is there")

    artefacts.add(command)
    zoo.add(command, nested)

    sub = command("demo", _demo, "the whole job on a Wikipedia extract, in minutes", tells=True)
    sub.add_argument("--out", default="saved_models/demo", type=sources.given)
    sub.add_argument("--vectors-out", default="embeddings/demo", type=sources.given)
    sub.add_argument("--minutes", type=float, default=5.0, help="of training at most")
    sub.add_argument("--epochs", type=int, default=3, help="default %(default)s")
    return parser
