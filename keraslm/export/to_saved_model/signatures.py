"""What a SavedModel can be asked, on text and on token ids beside it.

A decoder generates and scores. Of every other task, ``compute`` is traced, on token ids and, where
the task is about one text, on text; a bare model with another head gives its logits.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from keraslm.export.to_saved_model.graph import GraphTokenizer
from keraslm.export.to_saved_model.graph_decode import without_first
from keraslm.export.to_saved_model.stated import DEFAULT, LABELS
from keraslm.export.to_tflite.encoders import NOT_EXPORTED
from keraslm.generation.cache import init_cache
from keraslm.generation.config import stated_length
from keraslm.generation.processors import ORDER
from keraslm.generation.random import resolve_seed
from keraslm.tasks import Task

TEXT = tf.TensorSpec((None,), tf.string, "text")
IDS = tf.TensorSpec((None, None), tf.int32, "token_ids")
SETTINGS = {
    "max_new_tokens": tf.int32,
    "temperature": tf.float32,
    "top_k": tf.int32,
    "top_p": tf.float32,
    "seed": tf.int32,
}


class Endpoint(NamedTuple):
    """A concrete function, and its inputs and outputs in words, for the README."""

    function: Any
    inputs: str
    outputs: str


# Words for the README.
_TEXT = "`text` string (batch,)"
_IDS = "`token_ids` int32 (batch, seq)"
_SETTINGS = (
    "`max_new_tokens` int32 (), `temperature` float32 () (0: greedy), `top_k` int32 (), "
    "`top_p` float32 (), `seed` int32 () (a larger one of Python's is its remainder by 2**31 - 1)"
)
_OTHER_INPUTS = {
    "padding_mask": "`padding_mask` bool (batch, seq), True for real tokens; padding is on the "
    "right",
    "token_types": "`token_types` int32 (batch, seq), 0 for a first text, 1 for a second",
    "context_mask": "`context_mask` int32 (batch, seq), 1 for [CLS] and the tokens of the context",
    "pooling_mask": "`pooling_mask` int32 (batch, seq), 1 for the tokens that are pooled",
}


# === Decoders ===


def decoder_endpoints(lm):
    """The endpoints of a text generator.

    Args:
        lm: a `keraslm.tasks.TextGenerator` in float32.

    Returns:
        `Endpoint` by name: ``serving_default``, ``generate``, ``score`` on text, ``generate_ids``,
        ``logits`` on token ids.
    """
    model, config, start = lm.model, lm.generation_config, lm.tokenizer.bos_id
    twin = GraphTokenizer(lm.tokenizer)
    settings = {name: tf.TensorSpec((), dtype, name) for name, dtype in SETTINGS.items()}
    padding = tf.TensorSpec((None,), tf.int32, "num_padding")

    # Traced once, so that what several endpoints share is stored once.
    encode = tf.function(_prompt_encoder(lm.tokenizer, twin), autograph=False)

    # What is not an input of the file is as the task has it.
    fixed = {
        kind.setting: value
        for kind in ORDER
        if kind.setting not in SETTINGS
        and (value := getattr(config, kind.setting)) not in (None, kind.neutral)
    }

    def new_tokens(token_ids, num_padding, max_new_tokens, **sampling):
        longest = tf.shape(token_ids)[1]
        full = tf.debugging.assert_less(
            longest,
            model.max_length,
            f"The prompt fills the context of {model.max_length} tokens: nothing can follow.",
        )
        checks = [full, *_settings_checks(max_new_tokens, **sampling)]
        with tf.control_dependencies(checks):  # before the model sees positions it does not have
            token_ids = tf.identity(token_ids)
        tokens, counts = lm.generator.generate_in_graph(
            token_ids,
            num_padding,
            tf.minimum(max_new_tokens, model.max_length - longest),
            config.stop_ids,
            {**sampling, **{n: tf.constant(x, name=f"{DEFAULT}{n}") for n, x in fixed.items()}},
        )
        return tf.RaggedTensor.from_tensor(tokens, lengths=counts)

    new_tokens = _traced(new_tokens, token_ids=IDS, num_padding=padding, **settings)

    def logits(token_ids):
        ids = checked_ids(token_ids, model)
        shape = tf.shape(ids)
        return {"logits": model.step(ids, init_cache(model, shape[0], shape[1]), 0)[0]}

    logits = _traced(logits, token_ids=IDS)

    def generate(text, **settings):
        prompts = encode(text)
        ids, pad = left_padded(prompts, start)
        new = new_tokens(token_ids=ids, num_padding=pad, **settings)
        return {"text": _joined(text, twin.decode(new, after=prompts), twin)}

    generate = _traced(generate, text=TEXT, **settings)

    def default(text):
        settings = _default_settings(config, model.vocab_size)
        most = stated_length(lm.generation_config, lm.stated)
        if most is not None:  # with the longest prompt, which it does not cut
            most = tf.constant(most, name=f"{DEFAULT}max_length")
            longest = tf.reduce_max(encode(text).row_lengths(), keepdims=False)
            longest = tf.maximum(tf.cast(longest, tf.int32), 1)
            settings["max_new_tokens"] = tf.maximum(most - longest, 1)
        return generate(text=text, **settings)

    def generate_ids(token_ids, **given):
        new = new_tokens(token_ids=checked_ids(token_ids, model), **given)
        return {"token_ids": new.to_tensor(), "num_tokens": tf.cast(new.row_lengths(), tf.int32)}

    def score(text):
        rows = encode(text)
        is_whole = lm.tokenizer.roles.prompt == "whole"
        rows = rows if start is None or is_whole else _after(start, rows)
        ids = _right_padded(rows, 0)
        count = tf.maximum(tf.cast(rows.row_lengths(), tf.int32) - 1, 0)
        log_probs = tf.nn.log_softmax(logits(token_ids=ids)["logits"][:, :-1])
        log_probs = tf.gather(log_probs, ids[:, 1:], batch_dims=2)
        real = tf.sequence_mask(count, tf.shape(log_probs)[1])
        log_probs = tf.where(real, log_probs, 0.0)
        total = tf.reduce_sum(log_probs, axis=1)
        return {"log_probs": log_probs, "total": total, "num_tokens": count}

    longer = "`text` string (batch,): prompt and continuation"
    return {
        "serving_default": Endpoint(_traced(default, text=TEXT), _TEXT, longer),
        "generate": Endpoint(generate, f"{_TEXT}, {_SETTINGS}", longer),
        "score": Endpoint(
            _traced(score, text=TEXT),
            _TEXT,
            "`log_probs` float32 (batch, tokens - 1): natural log-probability of each token but "
            "the first, then 0; `total` float32 (batch,), their sum; `num_tokens` int32 (batch,), "
            "how many there are. exp(-total / num_tokens) is the perplexity",
        ),
        "generate_ids": Endpoint(
            _traced(generate_ids, token_ids=IDS, num_padding=padding, **settings),
            f"{_IDS}, padded on the left; `num_padding` int32 (batch,), how much; {_SETTINGS}",
            "`token_ids` int32 (batch, new), the continuation, then 0; `num_tokens` int32 "
            "(batch,), how many there are",
        ),
        "logits": Endpoint(
            logits,
            f"{_IDS}; padding is on the right and needs no mask",
            f"`logits` float32 (batch, seq, {model.vocab_size})",
        ),
    }


def _default_settings(config, vocab_size):
    temperature = config.temperature if config.temperature is not None else 1.0
    values = {
        "max_new_tokens": config.max_new_tokens,
        "temperature": temperature if config.is_sampled else 0.0,
        "top_k": min(config.top_k or 0, vocab_size),
        "top_p": config.top_p or 1.0,
        "seed": resolve_seed(config.seed or 0),
    }
    return {
        name: tf.constant(values[name], dtype, name=f"{DEFAULT}{name}")
        for name, dtype in SETTINGS.items()
    }


def _prompt_encoder(tokenizer, twin):
    """From text to the ids of `Tokenizer.prompt_ids`."""
    before, after = tokenizer.prompt_template
    start = [] if tokenizer.bos_id is None else [tokenizer.bos_id]

    def encode(text):
        rows = twin.encode(text)
        if not before and not after:
            return rows
        around = [tf.tile(tf.constant([x], tf.int32), [rows.nrows(), 1]) for x in (before, after)]
        rows = tf.concat([around[0], rows, around[1]], axis=1)
        if not start:
            return rows
        starts = tf.RaggedTensor.from_tensor(tf.tile(tf.constant([start]), [rows.nrows(), 1]))
        # An empty text is the token that starts texts, without a template.
        both = tf.concat([rows, starts], axis=0)
        count = tf.cast(rows.nrows(), tf.int32)
        row = tf.range(count)
        return tf.gather(both, tf.where(text == "", row + count, row))

    return encode


_WHITE = "".join(rf"\x{{{c:x}}}" for c in range(0x3001) if chr(c).isspace())


def _joined(text, new, twin):
    """Prompts and what follows; white space that tokens do not keep is written once."""
    if twin.keeps_space:
        return tf.strings.join([text, new])
    ends = tf.strings.regex_full_match(text, rf"(?s:.*)[{_WHITE}]")
    begins = tf.strings.substr(new, 0, 1) == " "
    return tf.strings.join([text, without_first(new, ends & begins)])


def left_padded(ragged, start):
    """Ids int32 ``(batch, longest)`` padded on the left, and how much, int32 ``(batch,)``.

    An empty row becomes the token that starts a text.
    """
    dense, lengths = ragged.to_tensor(), ragged.row_lengths()
    reversed_rows = tf.reverse(tf.reverse_sequence(dense, lengths, seq_axis=1), [1])
    lengths = tf.cast(lengths, tf.int32)
    empty = lengths == 0
    longest = tf.maximum(tf.reduce_max(lengths), 1)
    ids = tf.pad(reversed_rows, [[0, 0], [longest - tf.shape(reversed_rows)[1], 0]])
    last = tf.where(empty, 0 if start is None else start, ids[:, -1])
    ids = tf.concat([ids[:, :-1], last[:, tf.newaxis]], axis=1)
    return ids, longest - tf.maximum(lengths, 1)


def _after(start, rows):
    """Ragged rows, with ``start`` before those that do not begin with it."""
    begins = tf.reduce_any(rows[:, :1] == start, axis=1)
    starts = tf.fill([rows.nrows(), 1], start)
    return tf.concat([tf.ragged.boolean_mask(starts, ~begins[:, tf.newaxis]), rows], axis=1)


# === Encoders ===


def encoder_endpoints(task):
    """The endpoints of a task, or of a bare encoder.

    Args:
        task: a `keraslm.tasks.Task` in float32, or a `keraslm.models.BERT`.

    Returns:
        `Endpoint` by name: that of the task on text, and with ``_ids`` on token ids; of a model
        ``logits`` on token ids. ``serving_default`` is the first of them.
    """
    if not isinstance(task, Task):
        logits = _on_ids(task, lambda **inputs: {"logits": _logits(task, inputs)})
        return {"serving_default": logits, "logits": logits}
    ids = _on_ids(task.model, lambda **inputs: _named(task, task.compute(**inputs)), task)
    name = task.endpoint
    if task.is_on_pairs:
        return {"serving_default": ids, f"{name}_ids": ids}
    encode = _special_encoder(task.tokenizer, task.max_length)
    prompt = getattr(task, "prompt", "")
    skipped = task.prompt_length(prompt) if hasattr(task, "prompt_length") else 0

    def on_text(text):
        token_ids, padding_mask = encode(tf.strings.join([prompt, text]) if prompt else text)
        given = {name: tf.zeros_like(token_ids) for name in task.input_spec}
        given.update(token_ids=token_ids, padding_mask=padding_mask)
        if "pooling_mask" in given:
            later = tf.range(tf.shape(token_ids)[1]) >= skipped
            given["pooling_mask"] = tf.cast(padding_mask & later, tf.int32)
        outputs = dict(ids.function(**given))
        if len(next(iter(outputs.values())).shape) > 2:  # one a token: say which
            outputs.update(token_ids=token_ids, padding_mask=padding_mask)
        return outputs

    text = _traced(on_text, text=TEXT)
    text = Endpoint(text, _TEXT, _in_words(text))
    return {"serving_default": text, name: text, f"{name}_ids": ids}


def _on_ids(model, function, task=None):
    """The endpoint on token ids; ``padding_mask`` is a bool there."""
    names = task.input_spec if task else [n for n in model.input_names if n not in NOT_EXPORTED]
    types = {name: tf.bool if name == "padding_mask" else tf.int32 for name in names}
    specs = {name: tf.TensorSpec((None, None), dtype, name) for name, dtype in types.items()}

    def on_ids(**inputs):
        inputs["token_ids"] = checked_ids(inputs["token_ids"], model)
        return function(**inputs)

    traced = _traced(on_ids, **specs)
    words = "; ".join([_IDS, *(_OTHER_INPUTS[key] for key in specs if key in _OTHER_INPUTS)])
    return Endpoint(traced, words, _in_words(traced))


def _logits(model, inputs):
    return tf.cast(model(inputs, training=False), tf.float32)


def _named(task, outputs):
    """The tensors of a task, and the label of the likeliest class."""
    if "probabilities" in outputs and hasattr(task, "labels"):
        best = tf.argmax(outputs["probabilities"], axis=-1)
        return {**outputs, "label": tf.gather(tf.constant(task.labels, name=LABELS), best)}
    return outputs


def _in_words(function):
    """``label`` string (batch,), and so on."""
    axes = ("batch", "seq")

    def shape(tensor):
        sizes = [axes[i] if n is None else str(n) for i, n in enumerate(tensor.shape)]
        return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"

    outputs = function.structured_outputs.items()
    return "; ".join(f"`{name}` {value.dtype.name} {shape(value)}" for name, value in outputs)


def _special_encoder(tokenizer, length):
    """From text to ids and mask, with the special tokens that the tokenizer adds.

    A longer text is cut between them. Where none are added, an empty text is one token: the one
    that starts texts, or id 0.
    """
    twin = GraphTokenizer(tokenizer)
    before, after = tokenizer.added_tokens()
    room = length - len(before) - len(after)
    fill = tokenizer.bos_id or 0

    def encode(text):
        rows = twin.encode(text)[:, :room]
        around = [tf.tile(tf.constant([x], tf.int32), [rows.nrows(), 1]) for x in (before, after)]
        rows = tf.concat([around[0], rows, around[1]], axis=1)
        ids = _right_padded(rows, fill)
        lengths = tf.maximum(rows.row_lengths(), 1)
        return ids, tf.sequence_mask(lengths, tf.shape(ids)[1])

    return encode


# === Both ===


def _traced(function, **specs):
    return tf.function(function, autograph=False).get_concrete_function(**specs)


def _right_padded(rows, fill):
    """Ragged rows as int32 ``(batch, longest)``, one column at least."""
    ids = rows.to_tensor(fill)
    missing = tf.maximum(1 - tf.shape(ids)[1], 0)
    return tf.pad(ids, [[0, 0], [0, missing]], constant_values=fill)


def _settings_checks(max_new_tokens, temperature, top_k, top_p, **_):
    """Assertions that settings are what `GenerationConfig` allows, in its words."""
    allowed = {
        "max_new_tokens must be a positive whole number.": max_new_tokens >= 1,
        "temperature must be 0 (greedy) or more.": (temperature >= 0)
        & tf.math.is_finite(temperature),
        "top_k must be 0 (off) or a positive whole number.": top_k >= 0,
        "top_p must be above 0 and at most 1.": (top_p > 0) & (top_p <= 1),
    }
    return [tf.debugging.Assert(is_right, [says]) for says, is_right in allowed.items()]


def checked_ids(token_ids, model):
    """The ids, if they are tokens of the model and no more than its context holds."""
    length, size = model.max_length, model.vocab_size
    checks = [
        tf.debugging.assert_positive(tf.size(token_ids), "token_ids is empty."),
        tf.debugging.assert_less_equal(
            tf.shape(token_ids)[1], length, f"More tokens than the context of {length}."
        ),
        tf.debugging.assert_non_negative(token_ids, f"token_ids must be from 0 to {size - 1}."),
        tf.debugging.assert_less(token_ids, size, f"token_ids must be from 0 to {size - 1}."),
    ]
    with tf.control_dependencies(checks):
        return tf.identity(token_ids)
