"""`keraslm demo`: the main job on an embedded default, with a report at the end."""

import sys
import time
from pathlib import Path

from keraslm import pipeline
from keraslm._files import write_json

CARD = """# {name}

A small GPT that `keraslm demo` trained in minutes on {documents} articles of the English Wikipedia
(the extract that gensim ships). It writes English-looking text and knows nothing.

| | |
|---|---|
| architecture | decoder, {layers} layers, width {width}, {heads} heads, context {context} |
| parameters | {parameters:,} |
| tokenizer | byte-level BPE, {vocab_size:,} tokens |
| training | {tokens:,} tokens, {seconds:.0f} s on {cores} CPU cores |
| validation loss | {loss:.3f} nats a token |
| perplexity | {perplexity:.1f} |
| bits per byte | {bits:.3f} |
| licence | CC BY-SA 4.0, as the text |

Its text is derived from Wikipedia and under CC BY-SA 4.0, which requires naming the source.
Made with `keraslm demo`.
"""


def demo(out="saved_models/demo", vectors_out="embeddings/demo", minutes=5.0, epochs=3):
    """Run the whole job and print a report.

    Args:
        out: folder of the bundle, with its exports.
        vectors_out: folder of the word vectors.
        minutes: longest training.
        epochs: passes over the text, if time allows.

    Returns:
        the report as a dict, which is also written to ``report.json`` in ``out``.
    """
    import os

    from keraslm import export
    from keraslm.embeddings import save_vectors
    from keraslm.tokenizers import Tokenizer

    out = Path(out)
    started = time.perf_counter()

    _head(1, "Text: the Wikipedia extract that gensim ships")
    corpus = pipeline.read_corpus()
    print(
        f"{len(corpus.train)} articles for training ({_millions(corpus.train)} characters), "
        f"{len(corpus.validation)} held out ({_millions(corpus.validation)})."
    )

    _head(2, "Tokenizer: byte-level BPE")
    tokenizer = Tokenizer.train(corpus.train, vocab_size=pipeline.VOCAB_SIZE)
    sentence = "The University of Copenhagen was founded in 1479."
    print(f"{tokenizer.vocab_size:,} tokens. {sentence!r} becomes")
    print(" | ".join(tokenizer.decode([i]) for i in tokenizer.encode(sentence)))

    _head(3, "Word2Vec on the same tokens")
    from keraslm.models.presets import sized

    size = sized(pipeline.SIZE)
    vectors = pipeline.train_vectors(corpus.train, tokenizer, size["d_model"], report=print)
    recipe = {"method": "Word2Vec, CBOW", "corpus": "gensim's Wikipedia extract",
              "licence": "CC BY-SA 4.0"}  # fmt: skip
    save_vectors(vectors, vectors_out, recipe)
    for token in ("Ġyear", "Ġwar", "Ġthree"):
        if token in vectors.key_to_index:
            near = ", ".join(word.strip("Ġ") for word, _ in vectors.most_similar(token, topn=5))
            print(f"Nearest to {token.strip('Ġ')!r}: {near}")

    _head(4, f"Training a GPT (at most {minutes:g} minutes)")
    train_started = time.perf_counter()
    lm, evaluation = pipeline.train_gpt(
        corpus, tokenizer, vectors=vectors, minutes=minutes, epochs=epochs, log_dir=out / "logs",
        prompts=pipeline.PROMPTS, verbose=2 if not os.isatty(1) else 1,
    )  # fmt: skip
    train_seconds = time.perf_counter() - train_started

    _head(5, "Validation on the articles held out")
    print(
        f"Loss {evaluation.loss:.3f}, perplexity {evaluation.perplexity:.1f}, "
        f"{evaluation.bits_per_byte:.3f} bits per byte ({evaluation.num_tokens:,} tokens)."
    )

    _head(6, "Generating in Python")
    settings = {"max_new_tokens": 40, "temperature": 0.8, "top_k": 50, "seed": 0}
    for text in lm.generate(list(pipeline.PROMPTS), **settings):
        print(f"> {text!r}")

    _head(7, "Exporting, and proving that the exports are equal")
    config = lm.model.transformer_config
    length = min(pipeline.LENGTH, config.max_length)
    tokens = int(lm.model.optimizer.iterations) * pipeline.BATCH_SIZE * length
    card = CARD.format(
        name=out.name, documents=len(corpus.train), layers=config.num_layers,
        width=config.d_model, heads=config.num_heads, context=config.max_length,
        parameters=lm.model.count_params(), vocab_size=tokenizer.vocab_size, tokens=tokens,
        seconds=train_seconds, cores=os.cpu_count(), loss=evaluation.loss,
        perplexity=evaluation.perplexity, bits=evaluation.bits_per_byte,
    )  # fmt: skip
    lm.save(out, card=card)
    litert_file = export.tflite(lm, out)
    saved_model = export.saved_model(lm, out)
    results = {
        path.name: export.Verification.from_manifest(path) for path in (litert_file, saved_model)
    }
    print(f"LiteRT:     {results[litert_file.name]}")
    print(f"SavedModel: {results[saved_model.name]}")
    prompt = pipeline.PROMPTS[0]
    ids = export.LiteRTModel(litert_file).generate(
        tokenizer.encode(prompt), lm.generation_config.replace(**settings)
    )
    print(f"From the .tflite: {prompt + tokenizer.decode(list(ids))!r}")

    _head(8, "Report")
    seconds = time.perf_counter() - started
    report = {
        "parameters": lm.model.count_params(),
        "training_tokens": tokens,
        "training_seconds": round(train_seconds),
        "seconds": round(seconds),
        "validation": evaluation._asdict(),
        "exports": {name: str(result) for name, result in results.items()},
    }
    write_json(out / "report.json", report)
    print(REPORT.format(out=out, vectors=vectors_out, logs=out / "logs", **_sizes(out, results),
                        parameters=lm.model.count_params(), minutes=seconds / 60,
                        train_minutes=train_seconds / 60, **evaluation._asdict()))  # fmt: skip
    return report


REPORT = """
made       a GPT with {parameters:,} parameters in {minutes:.1f} minutes ({train_minutes:.1f} of \
training)
quality    validation loss {loss:.3f}, perplexity {perplexity:.1f}, {bits_per_byte:.3f} bits per \
byte
model      {out}  ({model:.1f} MB of weights)
LiteRT     {out}/model.tflite  ({tflite:.1f} MB, {tflite_equal}, {speed:.0f} tokens/s)
SavedModel {out}/saved_model  ({saved:.1f} MB, {saved_equal})
vectors    {vectors}

Try next:
  keraslm generate "The history of" --model {out}
  keraslm generate "The history of" --model {out}/model.tflite
  tensorboard --logdir {logs}
"""


def _sizes(out, results):
    litert, saved = results["model.tflite"], results["saved_model"]
    return {
        "model": (out / "model.safetensors").stat().st_size / 1e6,
        "tflite": litert.num_bytes / 1e6,
        "tflite_equal": f"{litert.equal_tokens} of {litert.tokens} greedy tokens as in Keras",
        "speed": litert.tokens_per_second,
        "saved": saved.num_bytes / 1e6,
        "saved_equal": f"{saved.equal_tokens} of {saved.tokens} texts as in Keras",
    }


def _head(number, text):
    print(f"\n[{number}/8] {text}", flush=True)


def _millions(texts):
    return f"{sum(map(len, texts)) / 1e6:.2f} M"


def package(source, target):
    """Copy a bundle in half precision, for `keraslm/pretrained`, and judge it as it is there."""
    from keraslm.tasks import bundle, from_pretrained

    card = (Path(source) / "README.md").read_text(encoding="utf-8")
    folder = bundle.write(from_pretrained(source), target, card=card, dtype="float16")
    return judge(folder)


def judge(folder):
    """Write ``report.json`` of a bundle: its size, and figures on the documents held out."""
    from keraslm.tasks import from_pretrained

    lm = from_pretrained(folder)
    evaluation = lm.evaluate(pipeline.read_corpus().validation, length=pipeline.LENGTH)
    report = {"parameters": lm.model.count_params(), "validation": evaluation._asdict()}
    write_json(Path(folder) / "report.json", report)
    return folder


if __name__ == "__main__":
    print(package(*sys.argv[1:]))
