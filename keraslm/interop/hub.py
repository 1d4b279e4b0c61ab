"""Finding a model by its name: a folder, an installed model, the zoo of a clone, the hub."""

from pathlib import Path

from keraslm._files import checked_path

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


def find(path, revision=None, offline=False):
    """The folder that ``path`` means, downloaded if need be; see `from_pretrained`."""
    folder = checked_path(path)
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
        raise FileNotFoundError(f"No folder {name}, and {_why_not(error, offline)}") from error


def _why_not(error, offline):
    """Whether the hub has no such model, or was not asked at all."""
    if offline:
        return "no such model among the downloads."
    names = {cls.__name__ for cls in type(error).__mro__}
    if names & {"RepositoryNotFoundError", "RevisionNotFoundError", "HFValidationError"}:
        return f"no such model on the hub: {str(error).splitlines()[0]}"
    return (
        f"the hub does not answer ({str(error).splitlines()[0]}). Check the network and try again."
    )
