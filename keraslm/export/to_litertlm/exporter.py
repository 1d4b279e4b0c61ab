"""A decoder as one ``.litertlm`` file: model, tokenizer, start and stop tokens, sampler, template.

LiteRT-LM runs it on Android, iOS, Linux, macOS and Windows.
"""

import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keraslm._types import StrPath
from keraslm.export.manifest import exported
from keraslm.export.proof import prove
from keraslm.export.to_litertlm import text
from keraslm.export.to_litertlm.proof import verify_litertlm
from keraslm.export.to_litertlm.stated import GIVEN_TEMPLATE, digest
from keraslm.export.to_tflite.exporter import PREFILL_LENGTHS, check_kind, convert
from keraslm.generation.cache import is_step_model
from keraslm.generation.processors import check_supported
from keraslm.litert.conversion import quiet
from keraslm.runtimes.litertlm import LiteRTLM

MAGIC = b"LITERTLM"


def litertlm(
    lm: Any,
    path: StrPath,
    *,
    quantization: str | None = None,
    prefill_lengths: Sequence[int] = PREFILL_LENGTHS,
    cache_length: int | None = None,
    chat_template: str | None = None,
    verify: str | bool = "quick",
    texts: str | Sequence[str] | None = None,
    limits: dict[str, float] | None = None,
) -> Path:
    """Export a text generator for LiteRT-LM.

    Args:
        lm: a `keraslm.tasks.TextGenerator`. Its ``generation_config`` gives the stop tokens and
            the sampler's defaults.
        path: the ``.litertlm`` file, or a folder, which then gets ``model.litertlm``.
        quantization, prefill_lengths, cache_length: as in `keraslm.export.tflite`.
        chat_template: a Jinja template that makes one prompt of a conversation, for LiteRT-LM's
            ``Conversation``; default, that of the tokenizer.
        verify: ``"quick"`` runs the file in LiteRT-LM, if it is installed, and compares the text
            with Keras; ``False`` does not.
        texts, limits: as in `keraslm.export.tflite`.

    Returns:
        the file's ``Path``.

    Raises:
        ImportError: ``litert-lm-builder`` is not installed.
        ValueError: no tokenizer, a template that does not work, a default setting that LiteRT-LM
            has not, or as in `keraslm.export.tflite`.
        RuntimeError: the file does not give what Keras gives. It is not left behind.

    Example:
        >>> path = keraslm.export.litertlm(lm, "saved_models/mine", quantization="int8")
    """
    check_kind(quantization)
    if not is_step_model(getattr(lm, "model", None)) or getattr(lm, "tokenizer", None) is None:
        raise ValueError(
            "lm must be a TextGenerator: LiteRT-LM needs a decoder with its tokenizer; received "
            f"{type(lm).__name__}. Write keraslm.tasks.TextGenerator(model, tokenizer)."
        )
    path = Path(path)
    path = path if path.suffix == ".litertlm" else path / "model.litertlm"
    # Before the work: what cannot be in such a file.
    text.start_ids(lm.tokenizer)
    check_supported(lm.generation_config, LiteRTLM.supports, "LiteRT-LM")
    text.check_template(chat_template or text.chat_template(lm.tokenizer))
    cache_length = cache_length or lm.model.max_length
    builder = _import_builder()
    with exported(path, lm) as place:
        content = convert(lm.model, prefill_lengths, cache_length, quantization)
        pack(builder, lm, content, place.new, cache_length, chat_template)
        if verify and _has_runtime():
            place.keep(prove(verify_litertlm(place.new, lm, verify, texts, limits), path))
    return path


def pack(builder, lm, content, path, cache_length, chat_template=None):
    """Write the parts into one file."""
    with tempfile.TemporaryDirectory() as folder, quiet():
        parts = Path(folder)
        (parts / "model.tflite").write_bytes(content)
        (parts / "metadata.pb").write_bytes(_metadata(lm, cache_length, chat_template))
        tokenizer = text.tokenizer_json(lm.tokenizer)
        (parts / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
        file = builder.LitertLmFileBuilder()
        authors = builder.Metadata(key="Authors", value="keraslm", dtype=builder.DType.STRING)
        file.add_system_metadata(authors)
        if chat_template:  # no tokenizer says which, so the file does
            kept = {"key": GIVEN_TEMPLATE, "value": digest(chat_template)}
            file.add_system_metadata(builder.Metadata(**kept, dtype=builder.DType.STRING))
        file.add_llm_metadata(str(parts / "metadata.pb"))
        file.add_hf_tokenizer(str(parts / "tokenizer.json"))
        file.add_tflite_model(str(parts / "model.tflite"), builder.TfLiteModelType.PREFILL_DECODE)
        with path.open("wb") as stream:
            file.build(stream)


def _metadata(lm, cache_length, chat_template):
    """What LiteRT-LM has to know of the model, as a serialised ``LlmMetadata``."""
    from litert_lm_builder.runtime.proto import llm_metadata_pb2, sampler_params_pb2

    config = lm.generation_config
    metadata = llm_metadata_pb2.LlmMetadata()
    if start := text.start_ids(lm.tokenizer):  # what Keras puts before every prompt, too
        metadata.start_token.token_ids.ids.extend(start)
    # LiteRT-LM wants at least one stop token: an id that no token has never comes.
    for stop in config.stop_ids or (lm.model.vocab_size,):
        metadata.stop_tokens.add().token_ids.ids.append(int(stop))
    metadata.max_num_tokens = cache_length
    metadata.llm_model_type.generic_model.SetInParent()
    if chat_template := chat_template or text.chat_template(lm.tokenizer):
        metadata.jinja_prompt_template = chat_template
    sampler, kinds = metadata.sampler_params, sampler_params_pb2.SamplerParameters
    sampler.type = kinds.TOP_P if config.is_sampled else kinds.TOP_K
    sampler.k = config.top_k or (lm.model.vocab_size if config.is_sampled else 1)
    sampler.p = config.top_p or 1.0
    sampler.temperature = config.temperature or 1.0
    if config.seed is not None:
        sampler.seed = config.seed % (2**31 - 1)
    return metadata.SerializeToString()


def _import_builder():
    try:
        from litert_lm_builder import litertlm_builder
    except ImportError as error:
        raise ImportError(
            'A .litertlm file needs litert-lm-builder. Run: pip install "keraslm[litertlm]"'
        ) from error
    return litertlm_builder


def _has_runtime():
    with contextlib.suppress(ImportError):
        import litert_lm  # noqa: F401

        return True
    return False
