"""The third door: something on disk, or on Hugging Face's hub."""

import json
from pathlib import Path

from keraslm.tasks import bundle, encoders
from keraslm.tasks.text_generator import TextGenerator

HUB_FILES = ("*.json", "*.txt", "*.safetensors", "*/config.json")
# Names that everybody knows without their owners. Others need one, so that a mistyped folder is
# told at once and not looked for on the network.
OWNERS = {
    "openai-community": ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"),
    "google-bert": (
        "bert-base-uncased", "bert-base-cased", "bert-large-uncased", "bert-large-cased",
        "bert-base-chinese", "bert-base-multilingual-cased", "bert-base-multilingual-uncased",
    ),
    "FacebookAI": ("roberta-base", "roberta-large", "xlm-roberta-base", "xlm-roberta-large"),
    "distilbert": (
        "distilgpt2", "distilroberta-base", "distilbert-base-uncased", "distilbert-base-cased",
        "distilbert-base-multilingual-cased", "distilbert-base-uncased-finetuned-sst-2-english",
    ),
    "sentence-transformers": (
        "all-MiniLM-L6-v2", "all-MiniLM-L12-v2", "paraphrase-multilingual-MiniLM-L12-v2",
    ),
}  # fmt: skip


def from_pretrained(path, dtype=None, *, revision=None, offline=False):
    """Load a task, whose ``.model`` is the network.

    What comes back fits what is there: a decoder gives a `TextGenerator`, an encoder with a
    masked-LM head a `FillMask`, with a classifier head a `TextClassifier`, and without one a
    `SentenceEncoder`.

    Args:
        path: the folder of a bundle; ``"demo"``, the small model that is installed with keraslm,
            or in a clone another name of the zoo; a folder that `transformers` or
            sentence-transformers saved; or a name on Hugging Face's hub, such as
            ``"openai-community/gpt2"``, or ``"gpt2"`` and the other names in `OWNERS`, which is
            downloaded once.
        dtype: dtype policy of the model, such as ``"mixed_bfloat16"``; default, as saved, or
            float32 for a checkpoint of Hugging Face's.
        revision: of a name on the hub: branch, tag or commit.
        offline: of a name on the hub: only what was downloaded before.

    Raises:
        FileNotFoundError: no such folder or name, or a file is missing in it.
        ValueError: a file is corrupt, was written by a newer keraslm, or describes an architecture
            that keraslm does not have.

    Example:
        >>> lm = keraslm.from_pretrained("demo")
        >>> lm.generate("The city of", max_new_tokens=10)
    """
    folder = find(path, revision, offline)
    if is_huggingface(folder):
        return _from_hugging_face(folder, dtype)
    name, model, tokenizer, settings = bundle.read(folder, dtype)
    task = TextGenerator if name == "TextGenerator" else getattr(encoders, name)
    try:
        return task(model, tokenizer, **settings)
    except TypeError as error:
        raise ValueError(
            f"{folder / 'config.json'} has settings that cannot be: {error}"
        ) from error


def find(path, revision=None, offline=False):
    """The folder that ``path`` means, downloaded if need be; see `from_pretrained`."""
    folder = Path(path)
    if folder.is_dir():
        return folder
    if len(folder.parts) == 1:
        package = Path(__file__).parents[1]
        # Installed with keraslm; or the zoo of a clone.
        for place in (package / "pretrained", package.parent / "saved_models"):
            if (place / folder / "config.json").is_file():
                return place / folder
    name = _hub_name(str(path))
    if name is None:
        raise FileNotFoundError(
            f"No model at {path}. Give the folder of a bundle or of a Hugging Face model, a name "
            "on the hub such as 'openai-community/gpt2', or 'demo'. 'keraslm zoo list' shows more."
        )
    return _download(name, revision, offline)


def _hub_name(path):
    """``owner/name``, or None for what is meant as a folder."""
    owner = next((owner for owner, names in OWNERS.items() if path in names), None)
    if owner:
        return f"{owner}/{path}"
    parts = path.split("/")
    is_name = len(parts) == 2 and all(parts) and not path.startswith((".", "~"))
    return path if is_name and "\\" not in path else None


def _download(name, revision, offline):
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ImportError(
            f"{name} is no folder; a name on the hub needs huggingface_hub. Run: pip install "
            "'keraslm[hub]'"
        ) from error
    try:
        return Path(
            snapshot_download(
                name, revision=revision, local_files_only=offline, allow_patterns=list(HUB_FILES)
            )
        )
    except Exception as error:  # the hub has a class of its own for every case
        where = "among the downloads" if offline else "on the hub"
        raise FileNotFoundError(
            f"No folder {name}, and no such model {where}: {str(error).splitlines()[0]}"
        ) from error


# === Hugging Face's folders ===


def is_huggingface(folder):
    """Whether a folder holds a checkpoint of Hugging Face's, and not a bundle."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and "model_type" in config and "format_version" not in config


def _from_hugging_face(folder, dtype):
    from keraslm.interop.configs import read_json
    from keraslm.interop.huggingface import load_huggingface

    pooling = _pooling(folder)
    model = load_huggingface(folder, head=None if pooling else "auto", dtype=dtype)
    tokenizer = _fitting_tokenizer(folder, model)
    config = read_json(folder / "config.json")
    if hasattr(model, "step"):
        return TextGenerator(model, tokenizer, _generation_config(folder, config))
    if model.head == "masked_lm":
        return encoders.FillMask(model, tokenizer)
    if model.head == "classifier":
        kind = config.get("problem_type") or "single_label_classification"
        if kind != "single_label_classification" or model.num_classes == 1:
            raise ValueError(
                f"{folder} is for {kind} with {model.num_classes} outputs; a TextClassifier gives "
                "one of several classes. Use the logits: keraslm.interop.load_huggingface(folder)."
            )
        names = config.get("id2label") or {}
        labels = [names.get(str(i), str(i)) for i in range(model.num_classes)]
        return encoders.TextClassifier(model, tokenizer, labels)
    return encoders.SentenceEncoder(model, tokenizer, **(pooling or {}))


def _generation_config(folder, config):
    """The stop tokens."""
    from keraslm.generation.config import GenerationConfig
    from keraslm.interop.configs import check, read_json

    file = folder / "generation_config.json"
    settings = read_json(file) if file.is_file() else {}
    stop = settings.get("eos_token_id", config.get("eos_token_id"))
    ids = [] if stop is None else stop if isinstance(stop, list) else [stop]
    check(all(type(i) is int and i >= 0 for i in ids), "eos_token_id", stop, folder)
    return GenerationConfig(stop_ids=tuple(ids))


def _pooling(folder):
    """Settings of a `SentenceEncoder`, if sentence-transformers saved the folder."""
    from keraslm.interop.configs import read_json

    if not (folder / "modules.json").is_file():
        return None
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        kinds = {module["type"].rsplit(".", 1)[-1]: str(module["path"]) for module in modules}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{folder / 'modules.json'} is damaged: {error!r}.") from error
    unknown = sorted(set(kinds) - {"Transformer", "Pooling", "Normalize"})
    if unknown:
        raise ValueError(f"{folder / 'modules.json'} has a module {unknown[0]}, which is unknown.")
    settings = {"normalize": "Normalize" in kinds}
    if (folder / "sentence_bert_config.json").is_file():
        settings["max_length"] = read_json(folder / "sentence_bert_config.json").get(
            "max_seq_length"
        )
    if "Pooling" in kinds:
        if Path(kinds["Pooling"]).name != kinds["Pooling"]:
            raise ValueError(f"{folder / 'modules.json'} names a path outside its folder.")
        pooling = read_json(folder / kinds["Pooling"] / "config.json")
        ways = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens"}
        chosen = [ours for ours, theirs in ways.items() if pooling.get(f"pooling_mode_{theirs}")]
        if len(chosen) != 1:
            raise ValueError(
                f"{folder / kinds['Pooling']} pools in a way that is unknown: {pooling}. Known are "
                f"one of {', '.join(ways)}."
            )
        settings["pooling"] = chosen[0]
    return settings


def load_tokenizer(folder):
    """The `Tokenizer` of a folder of Hugging Face's, or None where there are no files of one."""
    from keraslm.interop.configs import read_json
    from keraslm.tokenizers.tokenizer import Tokenizer

    settings = folder / "tokenizer_config.json"
    settings = read_json(settings) if settings.is_file() else {}
    if (folder / "tokenizer.json").is_file():
        tokenizer = Tokenizer.load(folder)
        tokenizer.engine.no_padding()  # tasks pad and cut themselves
        tokenizer.engine.no_truncation()
        return tokenizer
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return Tokenizer.from_gpt2_files(folder / "vocab.json", folder / "merges.txt")
    if (folder / "vocab.txt").is_file():
        lowercase = settings.get("do_lower_case", True)
        return Tokenizer.from_bert_vocab(folder / "vocab.txt", lowercase)
    return None


def _fitting_tokenizer(folder, model):
    tokenizer = load_tokenizer(folder)
    if tokenizer is not None:
        template = tokenizer.encode("", add_special_tokens=True)
        tokens = max(tokenizer.vocab_size, *(i + 1 for i in (*template, 0)))
        if tokens > model.vocab_size:
            raise ValueError(
                f"{folder}: the tokenizer has {tokens} tokens, the model {model.vocab_size}. They "
                "do not belong together."
            )
    return tokenizer
