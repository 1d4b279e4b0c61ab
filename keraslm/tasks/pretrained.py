"""The third door: something on disk, or on Hugging Face's hub."""

from keraslm.interop.configs import read_json
from keraslm.interop.folders import fitting_tokenizer, is_huggingface, pooling_of
from keraslm.interop.generation_files import generation_config_of, stated_generation
from keraslm.interop.hub import find
from keraslm.interop.huggingface import load_huggingface
from keraslm.tasks import bundle, encoders
from keraslm.tasks.text_generator import TextGenerator


def from_pretrained(path, dtype=None, *, revision=None, offline=False):
    """Load a task, whose ``.model`` is the network.

    What comes back fits what is there: a decoder gives a `TextGenerator`, an encoder with a
    masked-LM head a `FillMask`, with a classifier head a `TextClassifier`, and without one a
    `SentenceEncoder`.

    Args:
        path: the folder of a bundle; ``"demo"``, the small model that is installed with keraslm,
            or in a clone another name of the zoo; a folder that `transformers` or
            sentence-transformers saved; or a name on Hugging Face's hub, such as
            ``"openai-community/gpt2"``, or ``"gpt2"`` and the other names in
            `keraslm.interop.hub.OWNERS`, which is downloaded once.
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


def _from_hugging_face(folder, dtype):
    pooling = pooling_of(folder)
    model = load_huggingface(folder, head=None if pooling else "auto", dtype=dtype)
    tokenizer = fitting_tokenizer(folder, model)
    config = read_json(folder / "config.json")
    if hasattr(model, "step"):
        return TextGenerator(
            model,
            tokenizer,
            generation_config_of(folder, config),
            stated=stated_generation(folder, config),
        )
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
