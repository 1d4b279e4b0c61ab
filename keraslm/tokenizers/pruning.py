"""Leaving out the tokens that a corpus does not need."""

import json
from collections.abc import Iterable

from keraslm.tokenizers.tokenizer import Tokenizer


def prune_tokenizer(tokenizer: Tokenizer, texts: Iterable[str]) -> tuple[Tokenizer, list[int]]:
    """A tokenizer without the tokens that texts do not need.

    On these texts it gives the same tokens, renumbered. Special tokens stay, and so does what
    spells other texts: the bytes of byte-level BPE and of byte fallback, and single letters that
    the texts have. A character that is in none of the texts is unknown, if there are no bytes.

    Args:
        tokenizer: a `Tokenizer`.
        texts: documents.

    Returns:
        the new `Tokenizer`, and the old ids that stay, ascending: the new id of ``kept[i]`` is
        ``i``.

    Raises:
        ValueError: no text, or a kind of tokenizer that is not known.

    Example:
        >>> tokenizer = Tokenizer.train(["to be or not to be"] * 9, kind="char", vocab_size=None)
        >>> pruned, kept = prune_tokenizer(tokenizer, ["to be"])
        >>> pruned.vocab_size < tokenizer.vocab_size, pruned.decode(pruned.encode("to be"))
        (True, 'to be')
    """
    import tokenizers

    data = json.loads(tokenizer.to_json())
    model = data["model"]
    if model["type"] not in ("BPE", "WordPiece", "WordLevel", "Unigram"):
        raise ValueError(
            f"A tokenizer of type {model['type']} cannot be pruned; BPE, WordPiece, WordLevel and "
            "Unigram can."
        )
    names = _used(tokenizer, texts) | _always(data)
    names |= _letters(names)
    is_list = isinstance(model["vocab"], list)  # Unigram: pairs of a token and its score
    old = dict(model["vocab"]) if not is_list else {t: i for i, (t, _) in enumerate(model["vocab"])}
    names &= set(old)
    if model["type"] == "BPE":
        model["merges"] = _merges_to(names, model["merges"])
    ids = {old[name] for name in names}
    ids |= {token["id"] for token in data["added_tokens"]}
    kept = sorted(ids)
    new_id = {number: i for i, number in enumerate(kept)}

    if is_list:
        model["vocab"] = [pair for i, pair in enumerate(model["vocab"]) if i in new_id]
        if model.get("unk_id") is not None:
            model["unk_id"] = new_id[model["unk_id"]]
    else:
        model["vocab"] = {t: new_id[i] for t, i in old.items() if i in new_id}
    for token in data["added_tokens"]:
        token["id"] = new_id[token["id"]]
    if data.get("padding"):
        data["padding"]["pad_id"] = new_id[data["padding"]["pad_id"]]
    _renumber(data.get("post_processor"), new_id)
    return Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(data)), tokenizer._roles), kept


def _used(tokenizer, texts):
    """Tokens that the texts are encoded as."""
    if isinstance(texts, (str, bytes)):
        raise ValueError("texts must be an iterable of documents; received one string: [text].")
    ids: set[int] = set()
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == 1000:
            ids.update(*tokenizer.encode_batch(batch, add_special_tokens=True))
            batch = []
    ids.update(*tokenizer.encode_batch(batch, add_special_tokens=True))
    if not ids:
        raise ValueError("The texts are empty: every token would be left out.")
    return {tokenizer.id_to_token(i) for i in ids}


def _always(data):
    """Tokens that stay whatever the texts are: of unknown text, and bytes."""
    from tokenizers import pre_tokenizers

    model = data["model"]
    names = {model["unk_token"]} if model.get("unk_token") else set()
    if model["type"] == "Unigram" and model.get("unk_id") is not None:
        names.add(model["vocab"][model["unk_id"]][0])
    if model.get("byte_fallback"):
        names.update(f"<0x{byte:02X}>" for byte in range(256))
    if '"ByteLevel"' in json.dumps(data.get("pre_tokenizer")):
        names.update(pre_tokenizers.ByteLevel.alphabet())
    return names


def _letters(names):
    """Single letters of tokens, inside words too: any word of these letters can be spelled."""
    letters = {letter for name in names for letter in name}
    # Chinese characters are words by themselves.
    return letters | {f"##{letter}" for letter in letters if ord(letter) < 0x2E80}


def _merges_to(names, merges):
    """The merges that lead to tokens; the tokens on the way are added to ``names``."""
    parts: dict[str, list[tuple[str, str]]] = {}
    for merge in merges:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        parts.setdefault(left + right, []).append((left, right))
    waiting = list(names)
    while waiting:
        for pair in parts.get(waiting.pop(), ()):
            waiting += [part for part in pair if part not in names]
            names.update(pair)
    return [m for m in merges if "".join(m.split(" ") if isinstance(m, str) else m) in names]


def _renumber(part, new_id):
    """The ids of special tokens in a post-processor."""
    if not part:
        return
    if part["type"] == "Sequence":
        for inner in part["processors"]:
            _renumber(inner, new_id)
    for token in part.get("special_tokens", {}).values() if part["type"] != "Sequence" else ():
        token["ids"] = [new_id[i] for i in token["ids"]]
    for role in ("sep", "cls"):
        if isinstance(part.get(role), list):  # a name and an id
            part[role][1] = new_id[part[role][1]]
