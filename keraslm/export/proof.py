"""What the proofs share: prompts, divergences, the refusal of an export that is not equal."""

import numpy as np

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


def written_prompts(generator, start, longest, context=None):
    """Prompts that the model writes itself, so that they look like its text."""
    lengths = sorted({min(length, longest) for length in PROMPT_LENGTHS})
    config = GenerationConfig(max_new_tokens=lengths[-1], top_k=50, seed=0)
    written = [start, *generator.generate([[start]], config, context=context)[0].ids]
    return [written[:length] for length in lengths]


def sample_context(model):
    """Inputs of a model's memory to try it on, a batch of 1; ``None`` if it has none."""
    if not hasattr(model, "context_spec"):
        return None
    rng = np.random.default_rng(0)
    return {
        name: rng.integers(1, 2 if "mask" in name else model.vocab_size, shape).astype(dtype)
        for name, (shape, dtype) in model.context_spec(1).items()
    }
