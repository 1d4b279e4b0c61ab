"""What a ``.litertlm`` states beside its model, under the names of `keraslm.export.facts`."""

import hashlib
import zlib
from pathlib import Path
from typing import Any

import tokenizers

from keraslm.export.facts import generation_facts, generator_facts, vocabulary
from keraslm.export.proof import TEXTS
from keraslm.export.to_litertlm import text
from keraslm.generation.config import GenerationConfig
from keraslm.runtimes.litertlm import LiteRTLM, header_notes, part_of

GIVEN_TEMPLATE = "chat_template_sha256"  # note in the header, where the exporter was given one
ASKED = tuple(text for text in TEXTS if text)


def digest(template: str) -> str:
    """SHA-256 of a template, in hexadecimal digits."""
    return hashlib.sha256(template.encode()).hexdigest()


def stated_in(path: Path, runtime: LiteRTLM, vocab_size: int) -> dict[str, Any]:
    """The facts that stand in a file, and the tokens that LiteRT-LM makes of texts with it."""
    from litert_lm_builder.runtime.proto import llm_metadata_pb2

    metadata = llm_metadata_pb2.LlmMetadata.FromString(part_of(path, "LlmMetadataProto"))
    packed = part_of(path, "HF_Tokenizer_Zlib")[8:]  # behind its size
    engine = tokenizers.Tokenizer.from_str(zlib.decompress(packed).decode())
    generation = generation_facts(_config(metadata.sampler_params), vocab_size)
    del generation["max_new_tokens"]  # such a file has no default
    return {
        **generation,
        "stop_ids": sorted({i for i in map(_id, metadata.stop_tokens) if i != vocab_size}),
        "start_ids": list(metadata.start_token.token_ids.ids),
        "max_num_tokens": metadata.max_num_tokens,
        "chat_template": metadata.jinja_prompt_template or None,
        "vocabulary": vocabulary(engine),
        "tokens": {asked: runtime.tokenize(asked) for asked in ASKED},
    }


def _config(params):
    if params.type == params.GREEDY or (params.type == params.TOP_K and params.k == 1):
        return GenerationConfig()
    return GenerationConfig(
        temperature=params.temperature,
        top_k=params.k,
        top_p=params.p,
        seed=params.seed if params.HasField("seed") else None,
    )


def _id(stop):
    ids = stop.token_ids.ids
    return ids[0] if len(ids) == 1 else -1  # a text or a sequence: none of ours


def said_of(path: Path, lm: Any, length: int, found: dict[str, Any]) -> dict[str, Any]:
    """The facts that should stand there.

    Args:
        path: the file, whose header notes the hash of a template that is not the tokenizer's.
        lm: a `keraslm.tasks.TextGenerator`.
        length: tokens of prompt and continuation together.
        found: those that stand there.
    """
    facts = generator_facts(lm)
    template = text.chat_template(lm.tokenizer)
    if given := header_notes(path).get(GIVEN_TEMPLATE):
        is_it = digest(found["chat_template"] or "") == given
        template = found["chat_template"] if is_it else f"the one with SHA-256 {given}"
    return {
        **facts,
        "start_ids": facts["prompt_template"]["before"],
        "max_num_tokens": length,
        "chat_template": template,
        "tokens": dict(zip(ASKED, lm.tokenizer.encode_batch(ASKED), strict=True)),
    }
