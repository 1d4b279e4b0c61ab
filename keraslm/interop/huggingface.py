"""A Hugging Face folder into one of our models, and back."""

import functools
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keraslm import models
from keraslm._files import Writer, warn_of
from keraslm._files.facts import read_dict, read_object
from keraslm._types import StrPath
from keraslm.generation.config import GenerationConfig
from keraslm.interop.checkpoint import Checkpoint
from keraslm.interop.configs import (
    builder_of,
    check,
    family_of,
    head_of,
    labels_of,
    our_fields,
    their_config,
    tokenizer_config,
)
from keraslm.interop.families import FAMILIES
from keraslm.interop.folders import POOLING_KEYS
from keraslm.interop.generation_files import write_generation
from keraslm.interop.tensors import (
    check_no_adapter,
    has_another_table,
    plan_reads,
    regrouped,
    rows_of,
)
from keraslm.models.loading import build_with_values, weights_of
from keraslm.tokenizers.tokenizer import Tokenizer

LARGE = 100_000_000  # weights; less takes a second
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
# What an earlier save may have left that a later one has no use for.
OTHER_FILES = (
    *TOKENIZER_FILES, "generation_config.json", "modules.json", "sentence_bert_config.json",
    "config_sentence_transformers.json", "1_Pooling", "2_Normalize",
)  # fmt: skip


def load_huggingface(
    folder: StrPath, *, head: str | None = "auto", dtype: Any = None, progress: bool | None = None
) -> Any:
    """Load a checkpoint that `transformers` saved.

    Args:
        folder: with ``config.json`` and ``model.safetensors``, or shards and their index.
        head: as in `keraslm.models.BERT`, or of a decoder as in `keraslm.models.GPTEncoder` or
            ``"lm"``, its language head; ``"auto"``: what ``architectures`` says.
        dtype: dtype policy of the model, such as ``"bfloat16"``; default float32.
        progress: whether to show on stderr how far it is; default: if that is a terminal and the
            model large.

    Returns:
        a `keraslm.models.GPT`, `GPTEncoder` or `BERT`.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: an unknown ``model_type``, a config that cannot be, or tensors that do not fit.

    Example:
        >>> folder = keraslm.interop.save_huggingface(lm.model, "mine_hf", tokenizer=lm.tokenizer)
        >>> gpt = keraslm.interop.load_huggingface(folder)  # or a name on the hub, "gpt2"
    """
    folder = Path(folder)
    where = folder / "config.json"
    check_no_adapter(folder)
    config = read_dict(where)
    family = family_of(config, where)
    fields = our_fields(family, config, where)
    checkpoint = Checkpoint(folder)
    if fields["num_layers"] > len(checkpoint.names()):  # building so many would not end
        raise ValueError(
            f"{where} has {fields['num_layers']} blocks, but the weights are only "
            f"{len(checkpoint.names())} tensors."
        )
    head = head_of(family, config, where) if head == "auto" else head
    if head not in family.heads:
        known = ", ".join(map(repr, family.heads))
        raise ValueError(f"head must be 'auto' or one of {known}; received {head!r}.")
    builder = builder_of(family, head)
    if builder != "GPT":
        fields["head"] = head
    elif fields["tied"] and has_another_table(family, checkpoint):
        fields["tied"] = False  # as transformers does, whatever config.json says
    if head in ("classifier", "token_classifier"):
        fields["num_classes"] = len(labels_of(config, where))
    if builder == "GPTEncoder" and head == "classifier":
        pad = {**family.defaults, **config}.get("pad_token_id")
        check(pad is None or type(pad) is int, "pad_token_id", pad, where)
        fields["pad_id"] = pad if pad is not None and pad >= 0 else None  # -1: there is none
    if head == "masked_lm" and not config.get("tie_word_embeddings", True):
        raise ValueError(
            f"{where} has tie_word_embeddings=False; a masked-LM head has the "
            "table of the embedding here. head=None loads the model without its head."
        )

    def make():
        try:
            return getattr(models, builder)(**fields, **family.options, dtype=dtype)
        except ValueError as error:
            raise ValueError(f"{where} describes no model: {error}") from error

    def plan(model):
        reads = plan_reads(model, family, head, checkpoint, folder)
        return _shown(reads, model.count_params(), folder.name, progress)

    model = build_with_values(make, plan)
    model.huggingface_family = config["model_type"], head  # for saving it as what it was
    return model


def _shown(reads, total, name, progress):
    """The same functions, which show how far they are."""
    if progress is None:
        progress = total >= LARGE and sys.stderr.isatty()
    if not progress:
        return reads
    done = 0

    def shown(read):
        nonlocal done
        value = read()
        done += value.size
        end = "\n" if done >= total else ""
        print(f"\rLoading {name}: {done / total:.0%}", end=end, file=sys.stderr, flush=True)
        return value

    return {path: functools.partial(shown, read) for path, read in reads.items()}


# === Saving ===


def save_huggingface(
    model: Any,
    folder: StrPath,
    *,
    family: str | None = None,
    tokenizer: Tokenizer | None = None,
    generation_config: GenerationConfig | None = None,
    stated: Mapping[str, Any] | None = None,
    labels: Sequence[str] | None = None,
    problem_type: str | None = None,
    files: Mapping[str, Any] | None = None,
) -> Path:
    """Save a model so that `transformers` loads it.

    Args:
        model: a `keraslm.models.GPT`, `GPTEncoder` or `BERT` whose shape one of the families has.
        folder: a new one, or one with a checkpoint that keraslm wrote, which is replaced; other
            files in it stay.
        family: a ``model_type``; default the one it was loaded as, or the first that has its
            shape.
        tokenizer: a `keraslm.tokenizers.Tokenizer` to put beside it.
        generation_config: a `keraslm.generation.GenerationConfig`: default settings of generation.
        stated: settings of generation that the model came with, in the spelling of
            `transformers`: those that we do not have are given back.
        labels: names of the classes of a classifier.
        problem_type: of a classifier, as in `keraslm.tasks.TextClassifier`.
        files: further JSON files: name → content.

    Returns:
        the folder's ``Path``.

    Raises:
        ValueError: no family has this shape, or the folder holds a keraslm model.
        FileExistsError: the folder holds a checkpoint that keraslm did not write.

    Example:
        >>> folder = keraslm.interop.save_huggingface(lm.model, "mine_hf", tokenizer=lm.tokenizer)
        >>> sorted(file.name for file in folder.glob("[c-m]*"))
        ['config.json', 'manifest.json', 'model.safetensors']
    """
    from safetensors.numpy import save_file

    folder = Path(folder)
    if "keraslm_version" in read_object(folder / "config.json"):
        raise ValueError(f"{folder} holds a keraslm model. Give another folder for the checkpoint.")
    head = getattr(model, "head", "lm")
    kind, _ = getattr(model, "huggingface_family", (None, head))
    kind = family or kind or _family_for(model)
    if kind not in FAMILIES:
        raise ValueError(f"family must be one of {', '.join(FAMILIES)}; received {kind!r}.")
    chosen = FAMILIES[kind]
    if not _fits(model, kind):
        raise ValueError(f"family={kind!r} does not have the shape of this model.")
    is_bare = head in (None, "pooled")
    prefix = "" if is_bare else chosen.prefix
    weights, heads = weights_of(model), model.transformer_config.num_heads
    tensors = {}
    for ours, row in rows_of(model, chosen, head, prefix):
        parts = [np.asarray(weights[path].numpy(), "float32") for path in ours]
        value = np.concatenate(parts, axis=-1) - row.plus
        value = regrouped(value, len(parts), heads) if row.by_head else value
        value = value.T if row.turned else value
        value = np.concatenate([np.zeros((row.skip, *value.shape[1:]), "float32"), value])
        tensors[row.theirs] = np.ascontiguousarray(value)
    names = ["config.json", "model.safetensors", *(files or {})]
    names += TOKENIZER_FILES if tokenizer is not None else ()
    with Writer(folder, names, fences=["config.json"], own=TOKENIZER_FILES) as writer:
        new = writer.new
        save_file(tensors, new / "model.safetensors", metadata={"format": "pt"})
        generation = {}
        if generation_config is not None:
            generation = write_generation(generation_config, stated or {})
        config = their_config(model, kind, head, tokenizer, labels, problem_type, generation)
        files = {"config.json": config, **(files or {})}
        if tokenizer is not None:
            tokenizer.save(new / "tokenizer.json")
            files["tokenizer_config.json"] = tokenizer_config(model, tokenizer)
        if generation:
            files["generation_config.json"] = generation
        for name, content in files.items():
            (new / name).parent.mkdir(exist_ok=True)
            text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
            (new / name).write_text(text, encoding="utf-8")
        report = writer.commit(stale=OTHER_FILES)
    warn_of(report._replace(removed=[]), folder)
    return folder


def sentence_files(
    width,
    pooling,
    normalize,
    max_length,
    prompts=None,
    default_prompt_name=None,
    include_prompt=True,
):
    """Files by which sentence-transformers knows what to do with hidden states.

    Args:
        width: of a hidden state.
        pooling: a name of `POOLING_KEYS`, or several.
        normalize, max_length, prompts, default_prompt_name, include_prompt: as in
            `keraslm.tasks.SentenceEncoder`.
    """
    ways = [pooling] if isinstance(pooling, str) else list(pooling)
    parts = [("", "Transformer"), ("1_Pooling", "Pooling")]
    parts += [("2_Normalize", "Normalize")] if normalize else []
    modes = {f"pooling_mode_{key}": ours in ways for ours, (key, _) in POOLING_KEYS.items()}
    pools = {"word_embedding_dimension": width, **modes}
    if ways != [way for way in POOLING_KEYS if way in ways]:  # an order that only version 6 can say
        pools = {"embedding_dimension": width,
                 "pooling_mode": [POOLING_KEYS[way][1] for way in ways]}  # fmt: skip
    files = {
        "modules.json": [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (path, kind) in enumerate(parts)
        ],
        "1_Pooling/config.json": {**pools, "include_prompt": include_prompt},
        "sentence_bert_config.json": {"max_seq_length": max_length, "do_lower_case": False},
    }
    if prompts:
        files["config_sentence_transformers.json"] = {
            "prompts": prompts,
            "default_prompt_name": default_prompt_name,
        }
    return files


def _family_for(model):
    """The first family that has the model's shape."""
    kind = next((kind for kind in FAMILIES if _fits(model, kind)), None)
    if kind is None:
        raise ValueError(
            f"No Hugging Face family has this shape: {', '.join(FAMILIES)} were tried. Its "
            f"config is {model.transformer_config.to_dict()}."
        )
    return kind


def _fits(model, kind):
    """Whether a family has the model's shape: what it would write of it reads as the same."""
    family, head = FAMILIES[kind], getattr(model, "head", "lm")
    if head not in family.heads or builder_of(family, head) != type(model).__name__:
        return False
    has_pooler = any(path.startswith("pooler/") for path in weights_of(model))
    if has_pooler and any(getattr(model, k) != value for k, value in family.options.items()):
        return False
    fields = model.transformer_config.to_dict()
    try:
        there = our_fields(family, their_config(model, kind, head), kind)
        there = type(model).make_config(**there).to_dict()
    except ValueError:
        return False
    fixed = set(fields) - {"initializer_range", "kernel_regularizer"} - family.free
    if any(fields[name] != there[name] for name in fixed):
        return False
    covered = {path for ours, _ in rows_of(model, family, head, "") for path in ours}
    return covered == set(weights_of(model))
