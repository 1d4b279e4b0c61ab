"""What reads files, with good files to begin with, and ways to damage them."""

import bz2
import gzip
import json
import lzma
import shutil
import signal
import zipfile
from contextlib import contextmanager
from pathlib import Path

from hypothesis import strategies as st

FIXTURES = Path(__file__).parents[1] / "fixtures" / "v0_1"
BYTES = [0, 1, 2, 127, 128, 255, 10, 34, 91, 123]
# In place of a value of a JSON file.
VALUES = [None, True, -1, 0, 1, 10**30, 1.5, "", "x", "../x", "\ud800", [], {}, [[]] * 3, {"x": []}]
DEEP = 100_000
DUMP = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/">
<page><title>A</title><ns>0</ns><id>1</id><revision><text>'''A''' is [[b|c]] {{d}} {| e
|}.</text></revision></page></mediawiki>"""
LINES = b'{"text": "one"}\n{"text": "two", "n": [1, 2]}\n'
TEXT = "第一章\n\ntwo\r\n\r\nthree é".encode()


def seeds(folder: Path) -> dict[str, Path]:
    """Good files by the name of their reader; all below the folder."""
    packers = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
    contents = {
        "texts.txt": TEXT, "texts.jsonl": LINES, "texts.csv": b'text,n\n"a ""b""",1\nc,2\n',
        "texts.json": json.dumps([{"text": "one"}, {"text": "two"}], indent=1).encode(),
        "texts.xml": DUMP.encode(), "markup.wiki": DUMP.encode(),
        **{f"texts.txt.{name}": pack(TEXT) for name, pack in packers.items()},
    }  # fmt: skip
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    with zipfile.ZipFile(folder / "texts.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", TEXT)
        archive.writestr("b.jsonl", LINES)
    for part in ("vectors", "bundles", "exports"):
        shutil.copytree(FIXTURES / part, folder / part)
    (folder / "exports" / "manifest.json").unlink()
    vectors, bundles = folder / "vectors", folder / "bundles"
    return {
        **{f"read_texts {name}": folder / name for name in contents if name.startswith("texts")},
        "read_texts texts.zip": folder / "texts.zip",
        "clean_wikitext": folder / "markup.wiki",
        **{f"load_vectors {p.name}": p for p in sorted(vectors.iterdir()) if p.suffix != ".json"},
        **{
            f"Tokenizer.load {p.name}": p / "tokenizer.json"
            for p in sorted(bundles.glob("generator_*"))
        },
        **{f"from_pretrained {p.name}": p for p in sorted(bundles.iterdir()) if p.is_dir()},
        **{f"runtime {p.name}": p for p in sorted((folder / "exports").glob("*.tflite"))},
    }


def read(name: str, path: Path) -> None:
    """Read a file in the way that a user would."""
    import keraslm

    reader, _, _ = name.partition(" ")
    if reader == "read_texts":
        list(keraslm.data.read_texts(path))
        list(keraslm.data.read_blocks(path))
    elif reader == "clean_wikitext":
        keraslm.data.clean_wikitext(path.read_text("utf-8", errors="replace"))
    elif reader == "load_vectors":
        vectors = keraslm.embeddings.load_vectors(path)
        assert vectors.vectors.shape == (len(vectors.index_to_key), vectors.vector_size)
        assert vectors.vector_size > 0
    elif reader == "Tokenizer.load":
        tokenizer = keraslm.tokenizers.Tokenizer.load(path)
        tokenizer.decode(tokenizer.encode("the cat sat 今天"))
    elif reader == "from_pretrained":
        keraslm.from_pretrained(path)
        keraslm.tasks.info(path)
    elif reader == "runtime":
        keraslm.runtimes.open_runtime(path)


@st.composite
def damage(draw):
    """A function that damages bytes: some are changed, cut out, doubled; the end goes."""
    place = st.floats(0, 1, exclude_max=True)
    steps = draw(st.lists(
        st.tuples(st.sampled_from(["set", "cut", "double", "end", "value"]), place, place,
                  st.sampled_from(BYTES) | st.integers(0, 255), st.integers(0, len(VALUES) - 1)),
        min_size=1, max_size=4,
    ))  # fmt: skip

    def apply(content: bytes) -> bytes:
        for kind, at, size, byte, value in steps:
            begin = int(at * len(content))
            end = begin + 1 + int(size**3 * (len(content) - begin))
            if kind == "value":
                content = _with_value(content, at, VALUES[value])
            elif kind == "set":
                content = content[:begin] + bytes([byte]) + content[begin + 1 :]
            elif kind == "cut":
                content = content[:begin] + content[end:]
            elif kind == "double":
                content = content[:end] + content[begin:]
            else:
                content = content[:begin]
        return content

    return apply


def _with_value(content, at, value):
    """A JSON file, or the JSON that a safetensors file begins with, with another value in it."""
    skip = 8 if content[8:9] == b"{" else 0
    size = int.from_bytes(content[:8], "little") if skip else len(content)
    try:
        tree = json.loads(content[skip : skip + size])
    except (ValueError, RecursionError):
        return content
    places: list = []

    def walk(node):
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], (dict, list)) and len(places) < 5000:
                walk(node[key])

    if not isinstance(tree, (dict, list)) or not tree:
        return content
    walk(tree)
    node, key = places[int(at * len(places))]
    node[key] = value
    new = json.dumps(tree).encode()
    if at > 0.99:
        new = b"[" * DEEP
    return (len(new).to_bytes(8, "little") if skip else b"") + new + content[skip + size :]


@contextmanager
def at_most(seconds: int):
    """Raise a TimeoutError in what takes longer."""

    def late(*_):
        raise TimeoutError(f"longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
