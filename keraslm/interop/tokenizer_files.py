"""The tokenizer of a Hugging Face folder, as `transformers` reads its files."""

import dataclasses
from pathlib import Path
from typing import Any

from keraslm._files.facts import read_dict
from keraslm.interop.generation_files import read_generation, stated_generation
from keraslm.interop.tokenizer_classes import CLASSES, SAME, class_name, start_and_end
from keraslm.tokenizers import files, sentencepiece
from keraslm.tokenizers.roles import ROLES, Roles
from keraslm.tokenizers.tokenizer import Tokenizer
from keraslm.tokenizers.trainers import read_bert_vocab, read_merges

SENTENCEPIECE = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
VOCABULARIES = ("vocab.txt", "vocab.json", *SENTENCEPIECE)
# Roles in the order in which `transformers` adds tokens that the vocabulary lacks.
ADDED = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
# Settings of tokenizer_config.json that we do not honour, and the value that changes nothing.
REFUSED = {"split_special_tokens": False, "byte_fallback": None}


def load_tokenizer(folder: Path, config: dict[str, Any] | None = None) -> Tokenizer | None:
    """The `Tokenizer` of a Hugging Face folder.

    Args:
        folder: of the checkpoint.
        config: its ``config.json``; default, it is read.

    Returns:
        the `Tokenizer`, or None where there are no files of one.

    Raises:
        ValueError: a file is damaged, or states a class or a setting that we do not have.
    """
    if config is None:
        config = read_dict(folder / "config.json") if (folder / "config.json").is_file() else {}
    settings = _settings(folder)
    if not any((folder / name).is_file() for name in ("tokenizer.json", *VOCABULARIES)):
        return None
    where = folder / "tokenizer_config.json"
    for key, value in REFUSED.items():
        if settings.get(key, value) not in (value, None):
            raise ValueError(f"{where} has {key}={settings[key]!r}, which is not supported.")
    data = read_dict(folder / "tokenizer.json") if (folder / "tokenizer.json").is_file() else None
    stated = settings.get("tokenizer_class") or config.get("tokenizer_class")
    name = class_name(stated, config.get("model_type"), data is not None and _is_byte_level(data))
    name = SAME.get(name, name)
    known = CLASSES.get(name)
    names: dict[str, Any] = dict(known.roles) if known else {}
    names |= {role: settings[f"{role}_token"] for role in ROLES if f"{role}_token" in settings}
    names = {role: token for role, token in names.items() if token is not None}
    words = {role: _content(token) for role, token in names.items()}

    if data is not None:
        for flag in ("add_bos_token", "add_eos_token"):  # the file has a template
            settings.pop(flag, None)
        engine = _from_json(folder, data, known, settings, words)
    else:
        engine = _from_vocabulary(folder, name, known, settings, names, words)
    engine.no_padding()  # tasks pad and cut themselves
    engine.no_truncation()
    stated_roles = {r for r in ROLES if f"{r}_token" in settings}
    limit = config.get("vocab_size") if isinstance(config.get("vocab_size"), int) else None
    _add_tokens(engine, data, settings, names, stated_roles, limit, known)
    if known is not None and known.template is not None:
        engine.post_processor = known.template(words, engine.token_to_id, settings)
    elif engine.post_processor is None or {"add_bos_token", "add_eos_token"} & set(settings):
        engine.post_processor = start_and_end(words, engine.token_to_id, settings)
    present = {r: word for r, word in words.items() if engine.token_to_id(word) is not None}
    ids = stated_generation(folder, config)
    if known is None and not stated_roles:  # no file of the tokenizer says anything
        usual = {f"{role}_token_id" for role in ROLES}
        ids = {key: config[key] for key in usual & set(config)} | ids
        for role in ("bos", "pad", "unk", "mask", "cls", "sep"):
            number = ids.get(f"{role}_token_id")
            if type(number) is int and engine.id_to_token(number) is not None:
                present[role] = engine.id_to_token(number)
    stop = read_generation({"eos_token_id": ids.get("eos_token_id")}, folder).stop_ids
    ends = [present["eos"]] if "eos" in present else []
    ends += [word for i in stop if (word := engine.id_to_token(i)) and word not in ends]
    roles = _roles(present, tuple(ends), settings, folder)
    if not present and not ends:
        roles = Roles.from_names(engine.get_vocab(), prompt="whole", settings=roles.settings)
    return Tokenizer(engine, roles)


# === What the files state ===


def _settings(folder):
    """``tokenizer_config.json`` with what older files and separate templates say."""
    file = folder / "tokenizer_config.json"
    settings = read_dict(file) if file.is_file() else {}
    if not settings.get("extra_special_tokens"):
        settings["extra_special_tokens"] = settings.pop("additional_special_tokens", None) or []
    if "added_tokens_decoder" not in settings:
        map_file = folder / "special_tokens_map.json"
        for key, value in (read_dict(map_file) if map_file.is_file() else {}).items():
            if key == "additional_special_tokens":
                settings["extra_special_tokens"] = settings["extra_special_tokens"] or value
            else:
                settings[key] = value
        file = folder / "added_tokens.json"
        settings["_added_tokens"] = read_dict(file) if file.is_file() else {}
    templates = {}
    if (folder / "chat_template.jinja").is_file():
        templates["default"] = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    for file in sorted((folder / "additional_chat_templates").glob("*.jinja")):
        templates[file.stem] = file.read_text(encoding="utf-8")
    if templates:
        is_one = list(templates) == ["default"]
        settings["chat_template"] = templates["default"] if is_one else templates
    return settings


def _roles(words, ends, settings, folder):
    inner = ("extra_special_tokens", "_added_tokens")
    rest = {key: value for key, value in settings.items() if key not in inner}
    if settings["extra_special_tokens"]:
        rest["extra_special_tokens"] = [
            _content(token) for token in _listed(settings["extra_special_tokens"])
        ]
    try:
        roles = Roles.from_dict(rest, prompt="whole", source="files")
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    words = {role: words.get(role) for role in ROLES if role != "eos"}
    return dataclasses.replace(roles, **words, eos=ends)


def _content(token):
    return token["content"] if isinstance(token, dict) else str(token)


def _listed(tokens):
    return list(tokens.values()) if isinstance(tokens, dict) else list(tokens)


def _is_byte_level(data):
    return any('"ByteLevel"' in repr(data.get(part)).replace("'", '"')
               for part in ("pre_tokenizer", "decoder"))  # fmt: skip


# === Engines ===


def _from_json(folder, data, known, settings, words):
    engine = files.read_engine(folder / "tokenizer.json")
    if known is None:
        return engine
    model = data["model"]
    vocab, merges = model.get("vocab"), None
    kind = model.get("type") or known.model
    if kind != known.model:
        raise ValueError(
            f"{folder / 'tokenizer.json'} is a {kind}, but its tokenizer_class builds a "
            f"{known.model}. Set tokenizer_class to 'PreTrainedTokenizerFast' in "
            "tokenizer_config.json to take it as it is."
        )
    if known.model == "Unigram":
        vocab = [tuple(pair) for pair in vocab]
    if known.model == "BPE":
        merges = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in model["merges"]]
    built = known.build(vocab, merges, settings, words, _charsmap(data.get("normalizer")))
    if engine.post_processor is not None:
        built.post_processor = engine.post_processor
    return built


def _charsmap(normalizer):
    """The map of characters in the normalizer of a ``tokenizer.json``, or None."""
    import base64

    for part in (normalizer or {}).get("normalizers", [normalizer or {}]):
        if part.get("type") == "Precompiled":
            return base64.b64decode(part["precompiled_charsmap"])
    return None


def _from_vocabulary(folder, name, known, settings, names, words):
    wanted = known.files if known else ("tokenizer.model",)
    missing = [file for file in wanted if not (folder / file).is_file()]
    if missing or not wanted or (name and known is None):
        there = [file for file in VOCABULARIES if (folder / file).is_file()]
        raise ValueError(
            f"{folder} has {' and '.join(there)} but no tokenizer.json, and from these the "
            f"tokenizer_class {name or 'of this model'!r} cannot be built here; known are "
            f"{', '.join(CLASSES)}. Load it with transformers and save it: that writes a "
            "tokenizer.json."
        )
    if known is None or wanted[0].endswith(".model"):
        return _from_sentencepiece(folder / wanted[0], known, settings, names, words)
    if wanted == ("vocab.txt",):
        return known.build(read_bert_vocab(folder / "vocab.txt"), None, settings, words, None)
    vocab = read_dict(folder / "vocab.json")
    return known.build(vocab, read_merges(folder / "merges.txt"), settings, words, None)


def _from_sentencepiece(file, known, settings, names, words):
    model = sentencepiece.read(file)
    # Pieces that are found whole are added tokens; the engine of no class finds users' by itself.
    added = [(name, is_control) for name, is_control in model.added if known or is_control]
    settings["extra_special_tokens"] = [
        *(_token(name, special=is_control, normalized=False) for name, is_control in added),
        *(token for token in _listed(settings["extra_special_tokens"])
          if _content(token) not in {name for name, _ in model.added}),
    ]  # fmt: skip
    if known is None:
        for role, (number, name) in model.special.items():
            if number >= 0:
                names.setdefault(role, name)
                words.setdefault(role, name)
        renamed = {
            int(i): _content(token)
            for i, token in (settings.get("added_tokens_decoder") or {}).items()
        }
        if model.add_dummy_prefix:  # each text between added tokens gets its own
            for token in (settings.get("added_tokens_decoder") or {}).values():
                token["normalized"] = False
        return sentencepiece.engine_of(model, renamed, settings.get("legacy", True) is not False)
    if known.model == "BPE":
        ranks = {name: i for i, name in enumerate(model.names)}
        merges = [
            pair
            for _, _, _, pair in sorted(
                (ranks[left + right], len(left), len(right), (left, right))
                for left, right in sentencepiece.merges_of(ranks)
            )
        ]
        return known.build(ranks, merges, settings, words, model.charsmap)
    pieces = [(piece.name, piece.score) for piece in model.pieces]
    pieces = known.extend(pieces, words, settings) if known.extend else pieces
    return known.build(pieces, None, settings, words, model.charsmap)


# === Tokens ===


def _token(token, **flags):
    from tokenizers import AddedToken

    if not isinstance(token, (str, dict)):
        return token
    if isinstance(token, str):
        return AddedToken(token, **flags)
    keys = ("single_word", "lstrip", "rstrip", "normalized", "special")
    return AddedToken(token["content"], **{**{k: token[k] for k in keys if k in token}, **flags})


def _add_tokens(engine, data, settings, names, stated, limit, known):
    """Make the added tokens and the roles known to the engine, in the order of `transformers`."""
    decoder = settings.get("added_tokens_decoder")
    if decoder is not None:
        added = {int(i): _token(token) for i, token in decoder.items()}
    elif data is not None:
        added = {token["id"]: _token(token) for token in data.get("added_tokens", ())}
    else:
        added = {int(i): token for i, token in _legacy(settings, names).items()}
    there = {repr(token) for token in engine.get_added_tokens_decoder().values()}
    tokens = [token for _, token in sorted(added.items()) if repr(token) not in there]
    by_name = {token.content: token for token in added.values()}
    found = {token.content for token in engine.get_added_tokens_decoder().values()}
    found |= {token.content for token in tokens}
    specials = [names[role] for role in ADDED if role in names]
    specials += [
        value
        for key, value in settings.items()
        if key.endswith("_token") and key[: -len("_token")] not in ROLES
        and isinstance(value, (str, dict))
    ]  # fmt: skip
    words = {_content(token) for token in specials}
    for token in [*specials, *_listed(settings["extra_special_tokens"])]:
        word = getattr(token, "content", None) or _content(token)
        if word in found:
            continue
        is_new = engine.token_to_id(word) is None
        by_default = known is not None and word in known.roles.values() and not any(
            role in stated and _content(names[role]) == word for role in names
        )  # fmt: skip
        if is_new and by_default and limit is not None and engine.get_vocab_size() >= limit:
            continue  # a class's own name for a role, which this model has no row for
        found.add(word)
        tokens.append(by_name.get(word) or _token(token, special=True))
    for token in tokens:
        token.special = token.special or token.content in words
    engine.add_tokens(tokens)


def _legacy(settings, names):
    """``added_tokens.json`` of older folders."""
    special = {_content(token) for token in names.values()}
    special |= {_content(t) for t in _listed(settings["extra_special_tokens"])
                if isinstance(t, (str, dict))}  # fmt: skip
    return {
        i: _token(word, special=word in special, normalized=word not in special)
        for word, i in (settings.get("_added_tokens") or {}).items()
    }
