"""What the proofs share: prompts, divergences, the refusal of an export that is not equal."""

from keraslm.generation.config import GenerationConfig

PROMPT_LENGTHS = (1, 9, 130)
NEW_TOKENS = 32


def prove(result, name):
    """The result of a verification; ``name`` is what the export will be called.

    Raises:
        RuntimeError: the export is not equal.
    """
    if not result.passed:
        raise RuntimeError(
            f"The export {name} does not give what Keras gives, and was not kept: {result}."
        )
    return result


def written_prompts(generator, start, longest):
    """Prompts that the model writes itself, so that they look like its text."""
    lengths = sorted({min(length, longest) for length in PROMPT_LENGTHS})
    config = GenerationConfig(max_new_tokens=lengths[-1], top_k=50, seed=0)
    written = [start, *generator.generate([[start]], config)[0].ids]
    return [written[:length] for length in lengths]
