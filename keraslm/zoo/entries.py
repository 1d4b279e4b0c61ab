"""What is in the zoo, where it is, and how it comes to the user."""

import hashlib
import json
import shutil
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

from keraslm._files import Writer, replaced_file
from keraslm._files.facts import MANIFEST, exports_in, read_object
from keraslm._targets import TARGETS
from keraslm._types import StrPath
from keraslm.zoo import cards
from keraslm.zoo.recipes import RECIPES, SOURCES

INDEX = Path(__file__).parent / "index.json"
CLONE = Path(__file__).parents[2]
DEMO = "GPT on English Wikipedia, minutes of training; installed with keraslm"
MARK = "<!-- what follows is written by 'make zoo' -->"
# Files of an earlier model or earlier vectors that the entry may not have.
OF_OTHERS = (
    *TARGETS.values(), "generation_config.json", "tokenizer_config.json", "sample.json",
    "report.json", "results.json", "counts.npy", "vectors_vocab.npy", "vectors_ngrams.npy",
)  # fmt: skip
SECONDS = 30  # that a server may be silent


class Entry(NamedTuple):
    """A model of the zoo, or a set of word vectors.

    Attributes:
        name: its name.
        kind: the folder of a clone that it lies in: ``"saved_models"``, ``"embeddings"`` or, of
            what is installed with keraslm, ``"keraslm/pretrained"``.
        summary: one line.
        parameters: number of weights.
        quality: figures on held-out text, in words.
        licence: of the weights.
        files: name → ``[bytes, SHA-256]``.

    Example:
        >>> entry = keraslm.zoo.find("wiki-gpt")
        >>> entry.kind, entry.licence
        ('saved_models', 'CC BY-SA 4.0')
    """

    name: str
    kind: str
    summary: str
    parameters: int
    quality: str
    licence: str
    files: dict[str, Any]

    @property
    def num_bytes(self) -> int:
        """Size of all files."""
        return sum(size for size, _ in self.files.values())

    @property
    def folder(self) -> Path:
        """Where a clone of the repository has it, whether this is one or not."""
        return CLONE / self.kind / self.name


def catalogue() -> dict[str, Entry]:
    """All `Entry` objects, by name.

    Example:
        >>> "wiki-gpt" in catalogue()
        True
    """
    entries = json.loads(INDEX.read_text(encoding="utf-8"))
    return {name: Entry(name, **fields) for name, fields in entries.items()}


def find(name: str) -> Entry:
    """The `Entry` of a name.

    Raises:
        ValueError: an unknown one.

    Example:
        >>> print(find("wiki-gpt").summary)
        GPT on English Wikipedia
    """
    entries = catalogue()
    if name not in entries:
        raise ValueError(f"name must be one of {', '.join(entries)}; received {name!r}.")
    return entries[name]


def get(name: str, out: StrPath | None = None, *, source: StrPath | None = None) -> Path:
    """Copy a model, or a set of vectors, of the zoo; every file is checked by its hash.

    Args:
        name: as in `catalogue`.
        out: folder; default ``saved_models/NAME`` or ``embeddings/NAME``.
        source: a clone of the repository, or an address that serves its files; default the clone
            that keraslm runs from.

    Returns:
        the folder's ``Path``.

    Raises:
        ValueError: an unknown name, or a file that is not the one of the zoo.
        FileNotFoundError: it is not at the source.

    Example:
        >>> keraslm.zoo.get("demo", "models/demo").name
        'demo'
    """
    entry = find(name)
    out = Path(out or Path(entry.kind.replace("keraslm/pretrained", "saved_models")) / name)
    if source is None and not entry.folder.is_dir():
        raise FileNotFoundError(
            f"{name} is not installed with keraslm. Give a clone of the repository, or an address "
            f"that serves its files, with --source; or make it: keraslm zoo make {name}"
        )
    source = str(source or CLONE)
    if out.resolve() == (Path(source) / entry.kind / name).resolve():
        return out  # it is there
    fence = "vectors.npy" if entry.kind == "embeddings" else "config.json"
    files = [file for file in entry.files if file != MANIFEST]
    need = sum(size for size, _ in entry.files.values())
    with Writer(out, files, fences=[fence], need=need) as writer:
        for file, (_, digest) in entry.files.items():
            _copy(f"{source}/{entry.kind}/{name}/{file}", writer.new / file)
            if _digest(writer.new / file) != digest:
                raise ValueError(
                    f"{source}/{entry.kind}/{name}/{file} is not the file of this keraslm's zoo. "
                    "Take the source of the same version."
                )
        exports = exports_in(read_object(writer.new / MANIFEST))
        (writer.new / MANIFEST).unlink(missing_ok=True)  # that of the copy lists what is written
        writer.commit(stale=OF_OTHERS, exports=exports)
    return out


def _copy(source, file):
    file.parent.mkdir(parents=True, exist_ok=True)
    if urllib.parse.urlsplit(source).scheme in ("http", "https"):
        try:
            with urllib.request.urlopen(source, timeout=SECONDS) as answer, file.open("wb") as out:
                shutil.copyfileobj(answer, out)
        except urllib.error.URLError as error:
            raise FileNotFoundError(f"{source} does not come: {error.reason}.") from error
    else:
        shutil.copyfile(source, file)


def _digest(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


# === The index ===


def index(clone=CLONE):
    """What ``index.json`` is to hold, from the folders of a clone."""
    entries = {"demo": _model(clone / "keraslm/pretrained/demo", DEMO, "CC BY-SA 4.0")}
    for name, recipe in RECIPES.items():
        folder = clone / "saved_models" / name
        if folder.is_dir():
            entries[name] = _model(folder, recipe.summary, SOURCES[recipe.source].licence)
    for results in sorted((clone / "embeddings").glob("*/results.json")):
        entries[results.parent.name] = _vectors(results.parent)
    for name, fields in entries.items():
        fields["files"] = files_of(clone / fields["kind"] / name)
    return entries


def _model(folder, summary, licence):
    report = _read(folder / "report.json")
    return {
        "kind": "keraslm/pretrained" if folder.name == "demo" else "saved_models",
        "summary": summary,
        "parameters": report["parameters"],
        "quality": cards.quality(report["validation"]),
        "licence": licence,
    }


def _vectors(folder):
    recipe, results = _read(folder / "recipe.json"), _read(folder / "results.json")
    method = {"word2vec": "Word2Vec", "fasttext": "FastText", "glove": "GloVe"}[recipe["method"]]
    return {
        "kind": "embeddings",
        "summary": f"{method} vectors of English Wikipedia",
        "parameters": recipe["num_words"] * recipe["vector_size"],
        "quality": f"analogies {results['analogies']['accuracy']:.1%}, WordSim353 "
        f"{results['wordsim353']['spearman']:.3f}",
        "licence": "CC BY-SA 4.0",
    }


def _read(file):
    return json.loads(file.read_text(encoding="utf-8"))


def files_of(folder):
    """Files of a folder: name → ``[bytes, SHA-256]``."""
    return {
        file.name: [file.stat().st_size, _digest(file)]
        for file in sorted(folder.iterdir())
        if file.is_file()
    }


def table(entries):
    """Entries as a Markdown table."""
    rows = [
        "| name | what | parameters | size | on held-out text | licence |",
        "|---|---|---|---|---|---|",
    ]
    for entry in entries:
        rows.append(
            f"| [`{entry.name}`](../{entry.kind}/{entry.name}) | {entry.summary} | "
            f"{entry.parameters:,} | {entry.num_bytes / 1e6:.1f} MB | {entry.quality} | "
            f"{entry.licence} |"
        )
    return "\n".join(rows) + "\n"


def write(clone=CLONE):
    """Write ``index.json``, and the tables of ``saved_models/README.md``."""
    with replaced_file(INDEX) as new:
        text = json.dumps(index(clone), indent=1, ensure_ascii=False) + "\n"
        new.write_text(text, encoding="utf-8")
    page = clone / "saved_models" / "README.md"
    before, _, _ = page.read_text(encoding="utf-8").partition(MARK)
    with replaced_file(page) as new:
        new.write_text(f"{before}{MARK}\n\n{table(catalogue().values())}", encoding="utf-8")


if __name__ == "__main__":
    write()
