"""The argument for a corpus and how it is read, the same in every command that reads one."""

import argparse
import ast
import atexit
import functools
import re
import shutil
import sys
import tempfile
from pathlib import Path

HELP = (
    "text file, folder, glob, .jsonl, .csv, or MediaWiki dump, compressed or not; "
    "'-' for plain text from standard input"
)
ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|[\\nrtfv0])")


def given(text):
    """A path on the command line; an empty one, such as of an unset variable, is none."""
    if not text:
        raise argparse.ArgumentTypeError("the path is empty")
    return Path(text)


def add(sub, required=False):
    """Add the arguments to a subparser."""
    sub.add_argument("source", nargs=None if required else "?", help=HELP)
    sub.add_argument("--separator", type=unescaped,
                     help=r"splits a text file into documents, such as '\n\n'")  # fmt: skip
    sub.add_argument("--encoding", default="utf-8",
                     help="of the text, such as gb18030 or big5 (%(default)s)")  # fmt: skip
    sub.add_argument("--field", default="text",
                     help="key or column of the text in .jsonl, .csv (%(default)s)")  # fmt: skip


def path_of(args):
    """What `keraslm.data.read_texts` takes, or ``None``: nothing was given."""
    return _stdin() if args.source == "-" else args.source


def reading(args):
    """Its other arguments."""
    return {"separator": args.separator, "encoding": args.encoding, "field": args.field}


class Lines:
    """The lines of a corpus in blocks, read again for each pass."""

    def __init__(self, args):
        self.path, self.how = path_of(args), reading(args)
        del self.how["separator"]

    def __iter__(self):
        from keraslm.data import read_blocks

        return read_blocks(self.path, **self.how)


@functools.cache
def _stdin():
    """Standard input as a file, for it may be read several times; gone when the program ends."""
    folder = tempfile.mkdtemp(prefix="keraslm-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder, "stdin")
    if sys.stdin is None:
        raise ValueError("There is no standard input. Give a file.")
    with open(path, "wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    return str(path)


def unescaped(text):
    r"""The text with ``\n`` and the like as what they stand for; a shell passes them as typed."""
    return ESCAPE.sub(lambda match: ast.literal_eval(f'"{match[0]}"'), text)
