"""The tensors of a checkpoint as weights of ours: which belongs to which, and which to none."""

import functools

import numpy as np

from keraslm._files.facts import read_dict
from keraslm.models.loading import weights_of

# Ends of names: what is no weight, and copies of tied weights.
IGNORED = (
    "position_ids", "rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias", ".attention.bias",
    ".attention.masked_bias",
)  # fmt: skip
# The output table of an encoder's masked-LM head, beside the embedding's, and its bias → ours.
TIED = {
    "cls.predictions.decoder.weight": "embedding", "cls.predictions.decoder.bias": "bias",
    "lm_head.decoder.weight": "embedding", "lm_head.decoder.bias": "bias",
    "vocab_projector.weight": "embedding",
}  # fmt: skip
# What older versions call a tensor.
OLD_NAMES = (("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta"),
             ("lm_head.weight", "embed_out.weight"))  # fmt: skip


def check_no_adapter(folder):
    """Raise a ValueError for a folder of PEFT's, which holds changes to a model and no model."""
    where = folder / "adapter_config.json"
    if where.is_file():
        base = read_dict(where).get("base_model_name_or_path")
        raise ValueError(
            f"{where} makes this an adapter of {base!r}, not a model. Merge it with PEFT: "
            "model.merge_and_unload().save_pretrained(folder)."
        )


def has_another_table(family, checkpoint):
    """Whether the file has an output table that is not the table of the embedding."""
    names = checkpoint.names()
    tables = [_renamed("lm_head.weight", names), _prefix(family, names) + _embedding(family)]
    if not names.issuperset(tables) or checkpoint.shape(tables[0]) != checkpoint.shape(tables[1]):
        return False
    first, second = (checkpoint.read(name) for name in tables)
    return not np.array_equal(first, second)


def _embedding(family):
    """Their name of the table of the embedding."""
    return next(row.theirs for row in family.rows if row.ours == "token_embedding/embeddings")


def _prefix(family, names):
    return family.prefix if any(name.startswith(family.prefix) for name in names) else ""


def rows_of(model, family, head, prefix):
    """The table with every block spelled out: pairs of a list of our paths and a `Row`.

    Of biases, only those that the model has.
    """
    trunk = [row._replace(theirs=prefix + row.theirs) for row in family.rows]
    heads = [
        row._replace(theirs=row.theirs.replace("{prefix}", prefix)) for row in family.heads[head][1]
    ]
    found = []
    weights = weights_of(model)
    for row in (*trunk, *heads):
        if row.ours == "head/kernel" and model.transformer_config.tied:
            continue
        blocks = range(model.transformer_config.num_layers) if "{i}" in row.ours else (0,)
        for i in blocks:
            ours = row.ours.replace("{i}", str(i)).split(" + ")
            if ours[0].endswith("/bias") and ours[0] not in weights:
                continue
            found.append((ours, row._replace(theirs=row.theirs.replace("{i}", str(i)))))
    return found


def plan_reads(model, family, head, checkpoint, folder):
    """How each weight is read from the checkpoint: ``{our path: function}``."""
    names, weights = checkpoint.names(), weights_of(model)
    prefix = _prefix(family, names)
    adapter = [name for name in names if ".lora_" in name or ".base_layer." in name]
    if adapter:
        raise ValueError(
            f"{folder} has tensors of an adapter, such as {min(adapter)!r}. Merge it with PEFT: "
            "model.merge_and_unload().save_pretrained(folder)."
        )
    by_name = {
        _renamed(row.theirs, names): (ours, row)
        for ours, row in rows_of(model, family, head, prefix)
    }
    table = prefix + _embedding(family)
    output = _renamed("lm_head.weight", names)
    if table not in names and output in names and model.transformer_config.tied:  # either name
        by_name = {output if name == table else name: row for name, row in by_name.items()}
    missing = sorted(set(by_name) - names)
    if missing:
        raise ValueError(
            f"{folder} lacks {len(missing)} tensors that the model needs, such as {missing[0]!r}."
        )
    _check_tied(checkpoint, by_name, head, folder)
    extra = _extra(family, names - set(by_name), prefix)
    if extra:
        raise ValueError(
            f"{folder} has {len(extra)} tensors that the model does not have, such as "
            f"{extra[0]!r}. config.json does not fit the weights."
        )
    reads = {}
    for name, (ours, row) in by_name.items():
        if not weights.keys() >= set(ours):
            raise ValueError(
                f"{folder} has the tensor {name!r}, for which the model has no weight {ours[0]!r}. "
                "config.json does not fit the weights."
            )
        shapes = [tuple(weights[path].shape) for path in ours]
        if checkpoint.shape(name) != _their_shape(shapes, row):
            raise ValueError(
                f"{folder}: the tensor {name!r} has shape {checkpoint.shape(name)}; the model's "
                f"{ours[0]!r} is {shapes[0]}. config.json does not fit the weights."
            )
        ends = np.cumsum([shape[-1] for shape in shapes])
        heads = model.transformer_config.num_heads
        for path, end, shape in zip(ours, ends, shapes, strict=True):
            part = slice(end - shape[-1], end)
            reads[path] = functools.partial(_part, checkpoint, name, row, part, heads, len(ours))
    return reads


def _extra(family, names, prefix):
    """Tensors that belong to another model: a head that is not loaded may be there."""
    heads = {
        row.theirs.replace("{prefix}", family.prefix if prefix else "")
        for _, rows in family.heads.values()
        for row in rows
    }
    heads |= {name.replace(new, old) for name in heads for new, old in OLD_NAMES}
    known = heads | set(TIED) | {"cls.seq_relationship.weight", "cls.seq_relationship.bias"}
    return sorted(name for name in names if name not in known and not name.endswith(IGNORED))


def _check_tied(checkpoint, by_name, head, folder):
    """Raise a ValueError where a masked-LM head has an output table or bias of its own."""
    if head != "masked_lm":
        return
    paths = {"embedding": "token_embedding/embeddings", "bias": "token_bias/bias"}
    for name, kind in TIED.items():
        other = next(n for n, (ours, _) in by_name.items() if ours[0] == paths[kind])
        if name not in checkpoint.names() or np.array_equal(
            checkpoint.read(name), checkpoint.read(other)
        ):
            continue
        raise ValueError(
            f"{folder}: the tensor {name!r} is not {other!r}; a masked-LM head has the table of "
            "the embedding here. head=None loads the model without its head."
        )


def _their_shape(shapes, row):
    """Shape of the tensor that holds weights of these shapes."""
    shape = [*shapes[0][:-1], sum(shape[-1] for shape in shapes)]
    shape[0] += row.skip
    return tuple(reversed(shape) if row.turned else shape)


def _part(checkpoint, name, row, part, heads, parts):
    """One of the weights that stand side by side in a tensor."""
    tensor = checkpoint.read(name)[row.skip :]
    tensor = tensor.T if row.turned else tensor
    tensor = regrouped(tensor, heads, parts) if row.by_head else tensor
    tensor = tensor[..., part]
    return tensor + row.plus if row.plus else tensor


def regrouped(x, first, second):
    """Last axis ``(first, second, …)`` → ``(second, first, …)``."""
    return x.reshape(*x.shape[:-1], first, second, -1).swapaxes(-3, -2).reshape(x.shape)


def _renamed(name, names):
    """The name as old checkpoints spell it."""
    old = name
    for new, before in OLD_NAMES:
        old = old.replace(new, before)
    return old if name not in names and old in names else name
