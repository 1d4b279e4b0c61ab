"""The card of a model of the zoo: what it is, how it was made, how good it is."""

CARD = """# {name}

{summary}. {nature}

```python
import keraslm

{task} = keraslm.from_pretrained("saved_models/{name}")
{call}
```

{answer}

| | |
|---|---|
| architecture | {architecture} |
| parameters | {parameters:,} |
| tokenizer | {kind}, {vocab_size:,} tokens |
| text | {text}, 5 % of the documents held out |
| training | {epochs}, {tokens:,} tokens, {minutes:.0f} minutes of CPU time |
| on the documents held out | {quality} |
| weights | float16 (`model.safetensors`) |
| `model.tflite` | int8; {export} |
| licence | {licence}, as the text |

Made with `keraslm zoo make {name}`. {limits}
"""

LIMITS = (
    "It is far too small to know anything or to be relied on: it is for trying things out, for "
    "tests and as a recipe. It repeats what its text holds, prejudices included."
)


def card(name, recipe, source, task, report):
    """Text of ``README.md``, with what the model really answers.

    Args:
        name: of the model.
        recipe: its `Recipe`.
        source: its `Source`.
        task: the task, as it ships.
        report: content of its ``report.json``.
    """
    config = task.model.transformer_config
    training = report["training"]
    is_generator = hasattr(task, "generate")
    heads = f"{config.num_heads} heads"
    if config.num_kv_heads != config.num_heads:
        heads += f" ({config.num_kv_heads} of keys and values)"
    kind = "decoder" if is_generator else "encoder"
    answer = _continuation if is_generator else _words
    call, shown = answer(task, recipe.example)
    return CARD.format(
        name=name,
        summary=recipe.summary,
        nature="It goes on with a text." if is_generator else "It guesses hidden tokens.",
        task="lm" if is_generator else "fill",
        call=call,
        answer=shown,
        architecture=f"{kind}, {config.num_layers} layers, width {config.d_model}, {heads}, "
        f"{config.norm} norm, {config.positions} positions, context {config.max_length}",
        parameters=report["parameters"],
        kind=task.tokenizer.kind,
        vocab_size=task.tokenizer.vocab_size,
        text=source.title,
        epochs=f"{training['epochs']} epoch{'s' if training['epochs'] > 1 else ''}",
        tokens=training["tokens"],
        minutes=training["cpu_seconds"] / 60,
        quality=quality(report["validation"]),
        export=report["exports"]["model.tflite"],
        licence=source.licence,
        limits=LIMITS,
    )


def quality(validation):
    """Figures of a ``report.json`` in words."""
    if "bits_per_byte" in validation:
        return (
            f"loss {validation['loss']:.3f}, perplexity {validation['perplexity']:.1f}, "
            f"{validation['bits_per_byte']:.3f} bits per byte"
        )
    return f"loss {validation['loss']:.3f}, {validation['accuracy']:.1%} of hidden tokens right"


def _continuation(lm, prompt):
    settings = "max_new_tokens=60, temperature=0.8, top_k=50, seed=0"
    text = lm.generate(prompt, max_new_tokens=60, temperature=0.8, top_k=50, seed=0)
    lines = "\n".join(f"> {line}  " if line else ">" for line in text.splitlines())
    return f"print(lm.generate({prompt!r}, {settings}))", lines


def _words(fill, text):
    found = fill.predict(text, top_k=5)
    rows = "".join(f"| {f.token} | {f.probability:.1%} |\n" for f in found)
    return f"fill.predict({text!r})", f"| token | probability |\n|---|---|\n{rows}".rstrip()
