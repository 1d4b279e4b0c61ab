"""A decoder as a SavedModel that takes and gives text."""

from pathlib import Path

from keraslm._files import replaced_folder
from keraslm.export.conversion import quiet
from keraslm.export.verification import prove, write_manifest
from keraslm.generation.sampling import Settings

README = """# A text generator as a TensorFlow SavedModel

Made with keraslm {version}. Weights and tokenizer are inside. The program that loads it needs
TensorFlow and `import tensorflow_text`, without which TensorFlow does not know the operations of
some tokenizers.

| signature | inputs | output |
|---|---|---|
| `serving_default` | `text` string (batch,) | `text` string (batch,): prompt and continuation |
| `generate` | `text` string (batch,), `max_new_tokens` int32 (), `temperature` float32 () \
(0: greedy), `top_k` int32 (), `top_p` float32 (), `seed` int32 () | the same |

```python
import tensorflow as tf
import tensorflow_text

model = tf.saved_model.load("{name}")
generate = model.signatures["serving_default"]
print(generate(text=tf.constant(["Once upon a time"]))["text"][0].numpy().decode())
```
"""


def saved_model(lm, path, *, verify="quick"):
    """Export a text generator as a string-in, string-out SavedModel.

    Args:
        lm: a `keraslm.tasks.TextGenerator`.
        path: the folder, replaced if it holds a SavedModel. A bundle's own folder gets
            ``saved_model/``.
        verify: ``"quick"`` loads it in a fresh process and compares its text with Keras;
            ``False`` does not.

    Returns:
        the folder's ``Path``.

    Raises:
        ValueError: the tokenizer has a part that cannot run inside TensorFlow, or the folder
            holds other files.
        RuntimeError: the SavedModel does not give what Keras gives. It is not left behind.

    Example:
        >>> keraslm.export.saved_model(lm, "saved_models/mine")
    """
    import tensorflow as tf

    import keraslm

    path = Path(path)
    if (path / "config.json").is_file():
        path = path / "saved_model"
    if path.is_dir() and any(path.iterdir()) and not (path / "saved_model.pb").is_file():
        raise ValueError(f"{path} holds other files. Give a new or empty folder.")
    module, signatures = _module(lm)
    with replaced_folder(path) as new:
        with quiet():
            tf.saved_model.save(module, str(new), signatures=signatures)
        text = README.format(version=keraslm.__version__, name=path.name)
        (new / "README.md").write_text(text, encoding="utf-8")
        result = prove(new, lm, name=path) if verify else None
    write_manifest(path, result)
    return path


def _module(lm):
    """The object to save and its signatures."""
    import tensorflow as tf

    from keraslm.tokenizers.graph import GraphTokenizer

    twin = GraphTokenizer(lm.tokenizer)
    config = lm.generation_config
    start = lm.tokenizer.bos_id

    class Module(tf.Module):
        pass

    def run(text, max_new_tokens, temperature, top_k, top_p, seed):
        ids, pad = left_padded(twin.encode(text), start)
        settings = Settings(
            temperature, top_k, top_p, config.min_p or 0.0, config.repetition_penalty, seed
        )
        new = lm.generator.generate_in_graph(ids, pad, max_new_tokens, config.stop_ids, settings)
        return {"text": tf.strings.join([text, twin.decode(new)])}

    def scalar(dtype, name):
        return tf.TensorSpec((), dtype, name)

    text = tf.TensorSpec((None,), tf.string, "text")
    generate = tf.function(run, autograph=False).get_concrete_function(
        text,
        scalar(tf.int32, "max_new_tokens"),
        scalar(tf.float32, "temperature"),
        scalar(tf.int32, "top_k"),
        scalar(tf.float32, "top_p"),
        scalar(tf.int32, "seed"),
    )
    temperature = config.temperature if config.temperature is not None else 1.0

    def run_default(text):
        return run(
            text,
            tf.constant(config.max_new_tokens),
            tf.constant(temperature if config.is_sampled else 0.0),
            tf.constant(min(config.top_k or lm.model.vocab_size, lm.model.vocab_size)),
            tf.constant(float(config.top_p or 1.0)),
            tf.constant((config.seed or 0) % (2**31 - 1)),
        )

    module = Module()
    module.weights = [w.value for w in lm.model.weights]
    default = tf.function(run_default, autograph=False).get_concrete_function(text)
    return module, {"serving_default": default, "generate": generate}


def left_padded(ragged, start):
    """Ids int32 ``(batch, longest)`` padded on the left, and how much, int32 ``(batch,)``.

    An empty row becomes the token that starts a text.
    """
    import tensorflow as tf

    reversed_rows = tf.reverse(tf.reverse_sequence(*_dense(ragged), seq_axis=1), [1])
    lengths = tf.cast(ragged.row_lengths(), tf.int32)
    empty = lengths == 0
    longest = tf.maximum(tf.reduce_max(lengths), 1)
    ids = tf.pad(reversed_rows, [[0, 0], [longest - tf.shape(reversed_rows)[1], 0]])
    last = tf.where(empty, 0 if start is None else start, ids[:, -1])
    ids = tf.concat([ids[:, :-1], last[:, tf.newaxis]], axis=1)
    return ids, longest - tf.maximum(lengths, 1)


def _dense(ragged):
    return ragged.to_tensor(), ragged.row_lengths()
