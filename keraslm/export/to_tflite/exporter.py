"""A model as a ``.tflite`` file: builtin operations only, float32 or quantised."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keraslm._types import StrPath
from keraslm.export.manifest import exported
from keraslm.export.proof import prove
from keraslm.export.to_tflite import signatures
from keraslm.export.to_tflite.encoders import DYNAMIC, checked_lengths, encoder_of, is_task
from keraslm.export.to_tflite.encoders import signatures as encoder_signatures
from keraslm.export.to_tflite.padding import note_of
from keraslm.export.to_tflite.proof import verify_tflite
from keraslm.export.verification import check_limits
from keraslm.generation.cache import is_step_model
from keraslm.litert.conversion import to_litert
from keraslm.litert.flatbuffer import LiteRTFile
from keraslm.litert.notes import DecoderNote, add_note
from keraslm.litert.quantization import check_kind, quantize_file
from keraslm.litert.rewriting import simplify
from keraslm.models.loading import check_not_quantized
from keraslm.models.precision import in_float32

PREFILL_LENGTHS = (8, 32, 128)


def tflite(
    lm: Any,
    path: StrPath,
    *,
    quantization: str | None = None,
    prefill_lengths: Sequence[int] = PREFILL_LENGTHS,
    cache_length: int | None = None,
    generate: tuple[int, int] | None = None,
    lengths: int | str | Sequence[int] | None = None,
    verify: str | bool = "quick",
    texts: str | Sequence[str] | None = None,
    limits: dict[str, float] | None = None,
) -> Path:
    """Export a model to LiteRT.

    Decoders get the signatures ``prefill_<T>`` and ``decode``, which LiteRT-LM runs too; every
    other model on token ids one ``encode_<L>`` a length; see `keraslm.export.to_tflite.signatures`.

    Args:
        lm: a `keraslm.tasks.TextGenerator`, a `keraslm.generation.StepModel`, a
            `keraslm.models.BERT` with any head, or another ``keras.Model`` on ids.
        path: the ``.tflite`` file, or a folder, which then gets ``model.tflite``.
        quantization: ``"float16"``, ``"int8"``, ``"int4"`` or ``"int8_weights"``; see
            `keraslm.litert.quantization`. Default float32, whatever the training policy was.
        prefill_lengths: of a decoder, numbers of prompt tokens that are read at once; those that
            do not fit in the cache are left out.
        cache_length: of a decoder, tokens of prompt and continuation together; default
            ``max_length``.
        generate: of a decoder, ``(prompt tokens, new tokens)`` of an additional signature
            ``generate``, which runs the whole loop in one call.
        lengths: of other models, a length, several, or ``"dynamic"`` (any batch and length);
            default that of the model's own input, if it has one; else 128, or what the model takes
            if that is less.
        verify: ``"quick"`` runs the file in LiteRT and compares it with Keras; ``"full"`` reads
            more text, and measures the time to read a prompt, speed and memory; ``False`` does
            neither.
        texts: of a text generator, strings on which file and Keras are compared; default the
            sample of the training text that a bundle keeps, else a page that comes with keraslm.
        limits: what the proof asks for, where that is not what
            `keraslm.export.verification.LIMITS` says: a dict with ``"perplexity"`` or ``"kl"`` for
            a quantised decoder, ``"difference"``, ``"cosine"`` or ``"labels"`` for other models,
            such as ``{"perplexity": 0.05}``.

    Returns:
        the file's ``Path``.

    Raises:
        ValueError: an argument that does not fit, or an operation that LiteRT does not have
            built in.
        RuntimeError: the file does not give what Keras gives. It is not left behind.

    Example:
        >>> keraslm.export.tflite(lm, "saved_models/mine", quantization="int8").name
        'model.tflite'
    """
    check_kind(quantization)
    limits = check_limits(limits)
    path = Path(path)
    path = path if path.suffix == ".tflite" else path / "model.tflite"
    model = getattr(lm, "model", lm)
    is_decoder = is_step_model(model)
    if is_decoder and lengths is not None:
        raise ValueError("lengths is for encoders; a decoder takes prefill_lengths.")
    if not is_decoder and (cache_length is not None or generate is not None):
        raise ValueError(
            "cache_length and generate are for a model that has cache_spec and step, as "
            f"keraslm.models.GPT has; received {type(model).__name__}."
        )
    with exported(path, lm) as place:
        if is_decoder:
            stop_ids = lm.generation_config.stop_ids if hasattr(lm, "generation_config") else ()
            options = {"generate": generate, "stop_ids": stop_ids}
            content = convert(model, prefill_lengths, cache_length, quantization, **options)
        else:
            content = convert_encoder(lm if is_task(lm) else model, lengths, quantization)
        place.new.write_bytes(content)
        if verify:
            place.keep(prove(verify_tflite(place.new, lm, verify, texts, limits), path))
    return path


def convert(
    model,
    prefill_lengths=PREFILL_LENGTHS,
    cache_length=None,
    quantization=None,
    *,
    generate=None,
    stop_ids=(),
):
    """The bytes of a decoder's ``.tflite``; arguments as in `tflite`."""
    check_not_quantized(model)
    cache_length = cache_length or model.max_length
    if cache_length > model.max_length:
        raise ValueError(
            f"cache_length={cache_length} is more than the model's max_length={model.max_length}."
        )
    odd = [t for t in prefill_lengths if not isinstance(t, int) or t < 1]
    if odd:
        raise ValueError(f"prefill_lengths must be positive whole numbers; received {odd[0]!r}.")
    model = in_float32(model)
    fitting = [t for t in prefill_lengths if t <= cache_length]
    functions = signatures.decoder_signatures(model, fitting, cache_length)
    if generate is not None:
        prompt, new = generate
        if prompt + new > model.max_length:
            raise ValueError(
                f"generate={generate} is more than the model's max_length={model.max_length}."
            )
        functions["generate"] = signatures.generate_signature(model, prompt, new, stop_ids)
    note = DecoderNote(cache_length)
    return _smaller(to_litert(model.weights, functions), quantization, note)


def convert_encoder(model, lengths=None, quantization=None):
    """The bytes of the ``.tflite`` of a task or of any other model; arguments as in `tflite`."""
    encoder = encoder_of(model, lengths)
    lengths = checked_lengths(encoder, lengths)
    functions = encoder_signatures(encoder, lengths)
    length = encoder.default_length if lengths == DYNAMIC else max(lengths)
    note = note_of(encoder, length)
    return _smaller(to_litert(encoder.weights, functions), quantization, note)


def _smaller(content, quantization, note=None):
    file = LiteRTFile(content)
    simplify(file)
    if quantization is not None:
        quantize_file(file, quantization)
    if note is not None:
        add_note(file, note)
    return file.to_bytes()
