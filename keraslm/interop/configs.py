"""A Hugging Face ``config.json``: read into our fields, and written."""

import dataclasses
import math
import typing
from typing import Any

from keraslm.interop.families import ACTIVATIONS, FAMILIES
from keraslm.layers.positions import checked_scaling
from keraslm.models.config import TransformerConfig


def family_of(config, where):
    """The `Family` of a ``config.json``.

    Raises:
        ValueError: an unknown one.
    """
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise ValueError(
            f"{where} has model_type={kind!r}; known are {', '.join(FAMILIES)}. A family is a "
            "table: see docs/huggingface.md on how to add one."
        )
    return FAMILIES[kind]


def check(is_right, key, value, where):
    """Raise a ValueError if a value of a file cannot be."""
    if not is_right:
        raise ValueError(f"{where} has {key}={value!r}, which cannot be.")


# === Reading ===

# Our fields that are not whole numbers, and those that may be null.
KINDS = {
    field.name: kind
    for field in dataclasses.fields(TransformerConfig)
    for kind in (str, bool, float)
    if kind in (field.type, *typing.get_args(field.type))
}
CHECKS = {f.name: f.metadata["check"] for f in dataclasses.fields(TransformerConfig)}
OPTIONAL = {"num_kv_heads", "head_dim", "ffn_dim", "window", "attention_softcap", "logits_softcap"}

# Keys of any family that change what is computed, and the one value that we compute.
FIXED = {"quantization_config": None, "compression_config": None, "is_encoder_decoder": False}
FIXED_OF = {"GPT": {**FIXED, "is_causal": True}, "BERT": {**FIXED, "is_causal": False}}

# Keys whose values are not ours as they stand: from theirs to ours, and from our fields to theirs.
CONVERTED = {
    "scale_attn_weights": (
        lambda value: None if value else 1.0,
        lambda fields: fields["attention_scale"] is None,
    ),
    "query_pre_attn_scalar": (
        lambda value: value**-0.5,
        lambda fields: round((fields["attention_scale"] or fields["head_dim"] ** -0.5) ** -2),
    ),
}


def _is_a(value, kind):
    if kind is float:  # JSON has one kind of number
        return isinstance(value, (int, float)) and value is not True and math.isfinite(value)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def our_fields(family, config, where):
    """Fields of `TransformerConfig`, as a dict.

    Args:
        family: the `Family`.
        config: what ``config.json`` holds.
        where: its path, for errors.

    Raises:
        ValueError: a key is missing, or has a value that cannot be or that is not supported.
    """
    merged = {**family.defaults, **config}
    for key, value in {**FIXED_OF[family.builder], **family.fixed}.items():
        found = merged.get(key, value)
        if found != value and not (found is None and value is False):
            raise ValueError(f"{where} has {key}={found!r}; only {value!r} is supported.")
    for key, other in family.same.items():
        if merged.get(key) != merged.get(other):
            raise ValueError(
                f"{where} has {key}={merged.get(key)!r}; only that of {other} is supported, which "
                f"is {merged.get(other)!r}."
            )
    fields = dict(family.constants)
    for ours, theirs in family.fields.items():
        if theirs not in merged:
            raise ValueError(f"{where} lacks {theirs}.")
        value = fields[ours] = merged[theirs]
        if theirs in CONVERTED:
            is_right = _is_a(value, bool) or (_is_a(value, float) and value > 0)
            check(is_right, theirs, value, where)
            fields[ours] = CONVERTED[theirs][0](value)
        elif value is not None or ours not in OPTIONAL:
            check(_is_a(value, KINDS.get(ours, int)), theirs, value, where)
    if fields["activation"] not in ACTIVATIONS:
        raise ValueError(
            f"{where} has the activation {fields['activation']!r}; known are "
            f"{', '.join(ACTIVATIONS)}."
        )
    fields["activation"] = ACTIVATIONS[fields["activation"]]
    fields["max_length"] -= _skip(family)
    for ours, theirs in family.fields.items():
        if fields[ours] is not None:
            try:
                CHECKS[ours](ours, fields[ours])
            except ValueError:  # which names our argument
                check(False, theirs, merged[theirs], where)
    if "window_layers" in family.free:
        _add_window(fields, merged, where)
    elif not fields.get("window"):
        fields.pop("window", None)
    elif "full_attention" in (merged.get("layer_types") or ()):
        raise ValueError(
            f"{where} has layer_types={merged['layer_types']!r}; of model_type="
            f"{config['model_type']!r} only models with the window in every block are computed."
        )
    if fields.get("positions") == "rotary":
        _add_rotary(family, fields, merged, where)
    return fields


def _skip(family):
    """How many first positions of theirs are not ours."""
    return next((row.skip for row in family.rows if row.skip), 0)


LAYER_TYPES = ("sliding_attention", "full_attention")


def _add_window(fields, config, where):
    """Which blocks have a window: ``layer_types``, or what earlier versions wrote."""
    count = fields["num_layers"]
    if types := config.get("layer_types"):
        known = isinstance(types, list) and all(t in LAYER_TYPES for t in types)
        check(known and len(types) == count, "layer_types", types, where)
    if not fields.get("window") or not config.get("use_sliding_window", True):
        fields.pop("window", None)
    elif types:
        layers = [i for i, kind in enumerate(types) if kind == "sliding_attention"]
        _set_layers(fields, layers, count)
    elif "max_window_layers" in config:  # Qwen
        first = config["max_window_layers"]
        check(_is_a(first, int), "max_window_layers", first, where)
        _set_layers(fields, range(first, count), count)
    elif "sliding_window_pattern" in config:  # Gemma
        every = config["sliding_window_pattern"]
        check(_is_a(every, int) and every > 0, "sliding_window_pattern", every, where)
        _set_layers(fields, [i for i in range(count) if (i + 1) % every], count)


def _set_layers(fields, layers, count):
    if not layers:
        del fields["window"]
    elif len(layers) < count:
        fields["window_layers"] = tuple(layers)


def _rope_parameters(family, config, where):
    """The dict of rotary positions. Transformers 5 takes an older ``rope_scaling`` first."""
    values = []
    for key in ("rope_parameters", "rope_scaling"):
        value = config.get(key) or {}
        check(isinstance(value, dict), key, value, where)
        values.append(value)
    parameters, scaling = values
    if "window_rotary_base" in family.free and scaling:
        everywhere = parameters.get("full_attention") or {}
        return {**parameters, "full_attention": {**everywhere, **scaling}}
    return dict(scaling or parameters)


def _add_rotary(family, fields, config, where):
    """Transformers 5 writes ``rope_parameters``, earlier ones ``rope_theta``, ``rope_scaling``."""
    parameters = _rope_parameters(family, config, where)
    local: Any = None
    if "full_attention" in parameters:  # blocks with a window have their own
        if "window_rotary_base" not in family.free:
            raise ValueError(
                f"{where} has rope_parameters={parameters!r}, of two kinds of blocks; only one "
                "kind is supported."
            )
        local = parameters.get("sliding_attention") or {}
        parameters = parameters["full_attention"]
        check(
            isinstance(local, dict) and isinstance(parameters, dict),
            "rope_parameters", config.get("rope_parameters"), where,
        )  # fmt: skip
        if local.get("rope_type", "default") != "default":
            raise ValueError(
                f"{where} scales the positions of blocks with a window: {local}. Only those of the "
                "other blocks may be scaled."
            )
        parameters = dict(parameters)
        local = local.get("rope_theta", config["rope_local_base_freq"])
    elif "rope_local_base_freq" in config:
        local = config["rope_local_base_freq"]
    base = parameters.pop("rope_theta", None)
    base = base or config.get("rope_theta") or config.get("rotary_emb_base") or 10000.0
    for number in (base, 1.0 if local is None else local):
        check(_is_a(number, float) and number > 0, "rope_theta", number, where)
    fields["rotary_base"] = float(base)
    if local is not None and fields.get("window"):  # else no block has it
        fields["window_rotary_base"] = float(local)
    key = "rotary_pct" if "rotary_pct" in config else "partial_rotary_factor"
    fraction = parameters.pop("partial_rotary_factor", config.get(key))
    fraction = 1.0 if fraction is None else fraction
    check(_is_a(fraction, float) and 0 < fraction <= 1, key, fraction, where)
    if "rotary_fraction" in family.free:
        fields["rotary_fraction"] = float(fraction)
    elif fraction != 1:
        raise ValueError(f"{where} has partial_rotary_factor={fraction!r}; only 1.0 is supported.")
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    if kind == "default" and parameters.get("factor") not in (None, 1):
        raise ValueError(
            f"{where} has the factor {parameters['factor']!r} for rotary positions, but no "
            "rope_type that it belongs to."
        )
    if kind != "default":
        length = config.get("original_max_position_embeddings")
        if length is not None:  # beside the dict, it wins (Phi-3)
            parameters["original_max_position_embeddings"] = length
        parameters.setdefault(
            "original_max_position_embeddings", config.get("max_position_embeddings")
        )
        try:
            fields["rotary_scaling"] = checked_scaling("rotary_scaling", parameters)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error


def head_of(family, config, where):
    """The head that ``architectures`` names, as in `Family.heads`.

    Without ``architectures``: of a decoder the language head, of an encoder none.

    Raises:
        ValueError: one that the family does not have.
    """
    names = config.get("architectures") or [""]
    check(isinstance(names, list) and isinstance(names[0], str), "architectures", names, where)
    architecture = names[0]
    if not architecture:
        return "lm" if "lm" in family.heads else None
    for head, (name, _) in family.heads.items():
        if name == architecture and head != "pooled":
            return head
    known = sorted({name for name, _ in family.heads.values()})
    pretraining = family.heads[None][0].removesuffix("Model") + "ForPreTraining"
    if architecture == pretraining and "masked_lm" in family.heads:
        return "masked_lm"
    raise ValueError(
        f"{where} has the architecture {architecture!r}, whose head is not computed here; known "
        f"are {', '.join(known)}."
    )


def labels_of(config, where):
    """Names of the classes of a classifier, as `transformers` names them.

    Raises:
        ValueError: ``id2label`` or ``num_labels`` cannot be.
    """
    number = config.get("num_labels", 2)
    names = config.get("id2label") or number
    if names is number:
        check(_is_a(number, int) and 0 < number < 10**6, "num_labels", number, where)
        return [f"LABEL_{i}" for i in range(number)]
    keys = [str(i) for i in range(len(names))] if isinstance(names, dict) else []
    check(bool(keys) and set(names) == set(keys), "id2label", names, where)
    return [str(names[key]) for key in keys]


def builder_of(family, head):
    """Name of our class for a head of a family."""
    return "GPTEncoder" if family.builder == "GPT" and head != "lm" else family.builder


# === Writing ===


def their_config(
    model, kind, head, tokenizer=None, labels=None, problem_type=None, generation=None
):
    """What ``config.json`` says of a model.

    Args:
        model: a `GPT` or `BERT`.
        kind: key of `FAMILIES`.
        head: key of the family's ``heads``.
        tokenizer: for the ids of special tokens.
        labels: names of the classes.
        problem_type: of a classifier, as in `keraslm.tasks.TextClassifier`.
        generation: what ``generation_config.json`` says, for ids that no tokenizer states.
    """
    family = FAMILIES[kind]
    fields = model.transformer_config.to_dict()
    back = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}
    config = {"model_type": kind, "architectures": [family.heads[head][0]], **family.fixed}
    config.update(family.written)
    for name in ("output_bias", "ffn_bias"):
        fields[name] = fields["use_bias"] if fields[name] is None else fields[name]
    for ours, theirs in family.fields.items():
        config[theirs] = CONVERTED[theirs][1](fields) if theirs in CONVERTED else fields[ours]
    for key, other in family.same.items():
        config[key] = config[other]
    config[family.fields["activation"]] = back[fields["activation"]]
    config[family.fields["max_length"]] += _skip(family)
    if fields["positions"] == "rotary":
        config.update(_their_rotary(family, fields))
    if "window_layers" in family.free:
        layers = fields["window_layers"] or range(fields["num_layers"] if fields["window"] else 0)
        config["layer_types"] = [
            "sliding_attention" if i in layers else "full_attention"
            for i in range(fields["num_layers"])
        ]
        config["use_sliding_window"] = bool(layers)
        if not layers:  # transformers wants a number there, if none but its own
            del config[family.fields["window"]]
    for name in ("attn_pdrop", "embd_pdrop", "attention_probs_dropout_prob", "attention_dropout"):
        config[name] = fields["dropout"]
    if problem_type is not None:
        config["problem_type"] = problem_type
    if getattr(model, "num_classes", None):
        names = labels or [f"LABEL_{i}" for i in range(model.num_classes)]
        config["id2label"] = {str(i): name for i, name in enumerate(names)}
        config["label2id"] = {name: i for i, name in enumerate(names)}
    generation = generation or {}
    for role in ("bos", "eos", "pad", "cls", "sep", "mask"):
        number = generation.get(f"{role}_token_id")
        number = number[0] if isinstance(number, list) and len(number) == 1 else number
        if number is None and tokenizer is not None:
            number = tokenizer.special_id(role)
        if number is not None:
            config[f"{role}_token_id"] = number
    if head == "classifier" and hasattr(model, "pad_id"):  # its last token is the one before it
        config["pad_token_id"] = model.pad_id
    pad = family.fixed.get("pad_token_id")
    if pad is not None and config["pad_token_id"] != pad:
        raise ValueError(
            f"A {kind} counts positions from the padding, whose id must be {pad}; here it is "
            f"{config['pad_token_id']}. Save with family='bert'."
        )
    return config


def _their_rotary(family, fields):
    scaling = fields["rotary_scaling"] or {"rope_type": "default"}
    everywhere = {**scaling, "rope_theta": fields["rotary_base"]}
    if "rotary_fraction" in family.free:
        everywhere["partial_rotary_factor"] = fields["rotary_fraction"]
    if fields["window_rotary_base"] is None:
        return {"rope_parameters": everywhere}
    local = {"rope_type": "default", "rope_theta": fields["window_rotary_base"]}
    return {"rope_parameters": {"full_attention": everywhere, "sliding_attention": local}}


def tokenizer_config(model, tokenizer):
    """What ``tokenizer_config.json`` says.

    With it, `transformers` takes ``tokenizer.json`` as it is, and not the tokenizer that usually
    goes with the ``model_type``.
    """
    inputs = ["input_ids", "attention_mask"]
    if model.transformer_config.token_types:
        inputs.insert(1, "token_type_ids")
    config = tokenizer.roles.to_dict()
    if tokenizer.roles.source != "files" and "eos_token" in config:  # CTranslate2 needs one
        config.setdefault("unk_token", config["eos_token"])
    config.setdefault("model_max_length", model.max_length)
    config.setdefault("model_input_names", inputs)
    return {**config, "tokenizer_class": "PreTrainedTokenizerFast"}
