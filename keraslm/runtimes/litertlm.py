"""Running a ``.litertlm`` file in LiteRT-LM, from Python."""

import io
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tokenizers

from keraslm._files import checked_path
from keraslm._text import checked_text
from keraslm._types import StrPath
from keraslm.generation.config import GenerationConfig
from keraslm.generation.random import resolve_seed
from keraslm.litert.conversion import quiet
from keraslm.runtimes.streaming import Piece, cut, with_settings

ALL = 2**31 - 1  # a ``top_k`` that leaves out nothing


class LiteRTLM:
    """A ``.litertlm`` file in the LiteRT-LM runtime, on the processor.

    Args:
        path: the file.
        num_threads: threads of the runtime.

    Raises:
        FileNotFoundError: no such file.
        ImportError: ``litert-lm-api`` is not installed.
        ValueError: not such a file, or a damaged one.

    Example:
        >>> path = keraslm.export.litertlm(lm, "saved_models/mine", verify=False)
        >>> with LiteRTLM(path) as model:
        ...     continuation = "".join(model.stream("The city of", max_new_tokens=20))
    """

    supports = frozenset({"temperature", "top_k", "top_p"})

    def __init__(self, path: StrPath, num_threads: int = 2) -> None:
        self._runtime = _import_runtime()
        self._path = path = checked_path(path)
        if not path.is_file():
            raise FileNotFoundError(f"No file {path}. Export one with keraslm.export.litertlm.")
        tflite_part(path)  # the runtime does not say what is wrong with a damaged file
        self._runtime.set_min_log_severity(self._runtime.LogSeverity.ERROR)
        try:
            with quiet():
                self._engine = self._runtime.Engine(
                    str(path),
                    backend=self._runtime.Backend.CPU(thread_count=num_threads),
                    cache_dir=":nocache",
                )
        except RuntimeError as error:
            raise ValueError(f"LiteRT-LM cannot load {path}: {error}.") from error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._engine.close()

    def tokenize(self, text: str) -> list[int]:
        """Token ids as LiteRT-LM sees them."""
        return self._engine.tokenize(text)

    def render(self, text: str) -> str:
        """The prompt that the file's chat template makes of what a user says.

        Raises:
            ValueError: the template does not parse, or does not take it.
        """
        with quiet(), self._engine.create_conversation() as conversation:
            prompt = conversation.render_message_to_string(text)
        if not prompt:  # the reason is in LiteRT-LM's log only
            raise ValueError(f"The chat template makes nothing of {text!r}. Mend the template.")
        return prompt

    def stream(
        self,
        text: str,
        max_new_tokens: int | None = None,
        config: GenerationConfig | None = None,
        *,
        stop: str | Sequence[str] = (),
        **settings: Any,
    ) -> Iterator[Piece]:
        """Continue a text, giving each piece as soon as it is there.

        Sampled text differs from Keras': LiteRT-LM draws its random numbers in another way. Stop
        tokens are those of the file; others are refused.

        Args:
            text, max_new_tokens, config, stop, settings: as in `keraslm.runtimes.Runtime.stream`.

        Raises:
            ValueError: the prompt is empty, or does not fit; or a setting that LiteRT-LM has not.
        """
        if not checked_text(text):
            raise ValueError("The prompt is empty. Give LiteRT-LM some text to continue.")
        config = with_settings(
            GenerationConfig() if config is None else config,
            max_new_tokens, settings, self.supports, "LiteRT-LM", self._stop_ids,
        )  # fmt: skip
        return cut(self._texts(text, config), stop)

    def _stop_ids(self):
        """Ids of the file's stop tokens, without one that no token has: it stands for none."""
        from litert_lm_builder.runtime.proto import llm_metadata_pb2

        metadata = llm_metadata_pb2.LlmMetadata.FromString(part_of(self._path, "LlmMetadataProto"))
        packed = part_of(self._path, "HF_Tokenizer_Zlib")[8:]  # behind its size
        engine = tokenizers.Tokenizer.from_str(zlib.decompress(packed).decode())
        ids = {i for stop in metadata.stop_tokens for i in stop.token_ids.ids}
        return {i for i in ids if engine.id_to_token(i) is not None}

    def _texts(self, text, config):
        temperature = 1.0 if config.temperature is None else config.temperature
        sampler = self._runtime.SamplerConfig(
            top_k=(config.top_k or ALL) if config.is_sampled else 1,
            top_p=config.top_p or 1.0,
            temperature=temperature if config.is_sampled else 1.0,
            seed=resolve_seed(config.seed),
        )
        with self._engine.create_session(
            apply_prompt_template=False,
            sampler_config=sampler,
            max_output_tokens=config.max_new_tokens,
        ) as session:
            try:
                with quiet():
                    session.run_prefill([text])
            except RuntimeError as error:
                tokens = len(self.tokenize(text))
                raise ValueError(
                    f"LiteRT-LM refused the prompt of {tokens} tokens: {error}. Shorten it."
                ) from error
            for piece in session.run_decode_async():
                yield piece.texts[0]


def _import_runtime():
    try:
        import litert_lm
    except ImportError as error:
        raise ImportError(
            'Running a .litertlm file needs litert-lm-api. Run: pip install "keraslm[litertlm]"'
        ) from error
    return litert_lm


def tflite_part(path):
    """The bytes of the model in a ``.litertlm`` file.

    Raises:
        ValueError: not such a file, or a damaged one.
    """
    return part_of(path, "TFLiteModel")


def part_of(path, kind):
    """The bytes of one part of a ``.litertlm`` file.

    Args:
        path: the file.
        kind: such as ``"TFLiteModel"``, ``"LlmMetadataProto"`` or ``"HF_Tokenizer_Zlib"``.

    Raises:
        ValueError: not such a file, or a damaged one, or it has no such part.
    """
    from litert_lm_builder import litertlm_header_schema_py_generated as schema

    wanted = getattr(schema.AnySectionDataType, kind)
    size = Path(path).stat().st_size
    try:
        with open(path, "rb") as stream:
            sections = _header(path).SectionMetadata()
            for i in range(sections.ObjectsLength()):
                section = sections.Objects(i)
                begin, end = section.BeginOffset(), section.EndOffset()
                if end > size or begin > end:
                    raise ValueError("its end is missing")
                if section.DataType() == wanted:
                    stream.seek(begin)
                    return stream.read(end - begin)
    except Exception as error:  # whatever a damaged header makes of it
        raise ValueError(
            f"{path} is not a .litertlm file, or is damaged: {error}. Export the model again."
        ) from error
    raise ValueError(f"{path} holds no {kind}. Export it again.")


def header_notes(path):
    """What the header of a ``.litertlm`` file says of it: a dict of strings."""
    from litert_lm_builder import litertlm_peek

    entries = _header(path).SystemMetadata()
    count = 0 if entries is None else entries.EntriesLength()
    pairs = [litertlm_peek.kvp_to_dict(entries.Entries(i)) for i in range(count)]
    return {pair["key"]: pair["value"] for pair in pairs}


def _header(path):
    from litert_lm_builder import litertlm_peek

    return litertlm_peek.read_litertlm_header(str(path), io.StringIO())
