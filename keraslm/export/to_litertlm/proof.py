"""A ``.litertlm`` file in LiteRT-LM: running it, and comparing it with Keras."""

import dataclasses
import tempfile
import time
from pathlib import Path

from keraslm.export.facts import differing
from keraslm.export.proof import NEW_TOKENS, written_prompts
from keraslm.export.to_litertlm.stated import said_of, stated_in
from keraslm.export.to_tflite.proof import verify_tflite
from keraslm.export.verification import Verification
from keraslm.runtimes.litert import LiteRTModel
from keraslm.runtimes.litertlm import LiteRTLM, tflite_part
from keraslm.tokenizers.stream import continuation


def verify_litertlm(path, lm, mode="quick", texts=None, limits=None) -> Verification:
    """`keraslm.export.verify` for a ``.litertlm``.

    Its model is compared with Keras in LiteRT, token by token; then LiteRT-LM must write the text
    that this very model writes in LiteRT, and what is said beside the model must be what the task
    says: start and stop tokens, sampler, template, vocabulary, the tokens of texts.
    """
    prompts = written_prompts(lm.generator, lm.tokenizer.bos_id or 0, lm.model.max_length // 2)
    given = [text for ids in prompts if (text := lm.tokenizer.decode(ids))]
    config = lm.generation_config.replace(**GREEDY)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.tflite"
        model.write_bytes(tflite_part(path))
        inner = verify_tflite(model, lm, "quick", texts, limits)
        litert = LiteRTModel(model)
        wanted = [
            continuation(lm.tokenizer, ids, litert.generate(ids, config), prompt=text)
            for text, ids in zip(given, lm.prompt_ids(given), strict=True)
        ]
    seconds, pieces = 0.0, 0
    with LiteRTLM(path) as runtime:
        found = stated_in(path, runtime, lm.model.vocab_size)
        wrong = differing(found, said_of(path, lm, litert.cache_length, found))
        if error := _broken_template(runtime):
            wrong = (*wrong, error)
        for text, expected in zip(given, wanted, strict=True):
            started = time.perf_counter()
            written = list(runtime.stream(text, NEW_TOKENS))
            seconds += time.perf_counter() - started
            pieces += len(written)
            if "".join(written) != expected and not wrong:
                raise RuntimeError(
                    f"LiteRT-LM writes another text from {path} than LiteRT: "
                    f"{''.join(written)!r} instead of {expected!r}."
                )
    return dataclasses.replace(
        inner,
        target="litertlm",
        num_bytes=path.stat().st_size,
        tokens_per_second=pieces / seconds,
        differing=wrong,
    )


def _broken_template(runtime):
    """A sentence, if a conversation cannot begin."""
    try:
        runtime.render("Hi")
    except ValueError as error:
        return str(error).rstrip(".")
    return None


GREEDY = {"max_new_tokens": NEW_TOKENS, "temperature": 0.0}
