"""Text that others wrote: names of control tokens in it are text."""

import json

# A noncharacter: no text has it, so no text has a name that begins with it.
_HIDDEN = "\U0010ffff"


def without_control_tokens(engine):
    """A copy of an engine that finds no special token in a text.

    The ids stay the same, and so does what ``add_special_tokens`` adds. Special tokens lose their
    names, so that not even the model itself (Unigram's best path, a BPE merge) can spell one; only
    the unknown token keeps its own, which the model needs.

    Args:
        engine: a ``tokenizers.Tokenizer``.
    """
    import tokenizers

    data = json.loads(engine.to_str())
    model = data["model"]
    special = {token["content"] for token in data["added_tokens"] if token["special"]}
    special.discard(model.get("unk_token"))

    def hidden(name):
        return _HIDDEN + name if name in special else name

    for token in data["added_tokens"]:
        token["content"] = hidden(token["content"])
    if isinstance(model["vocab"], list):  # Unigram: pairs of a token and its score
        model["vocab"] = [[hidden(name), score] for name, score in model["vocab"]]
    else:
        model["vocab"] = {hidden(name): i for name, i in model["vocab"].items()}
    if "merges" in model:
        model["merges"] = [m for m in model["merges"] if not special & _names_in(m)]
    copy = tokenizers.Tokenizer.from_str(json.dumps(data))
    copy.encode_special_tokens = True
    return copy


def _names_in(merge):
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return {left, right, left + right}
