"""What the proofs share: prompts, divergences, the refusal of an export that is not equal."""

import numpy as np

from keraslm.generation.config import GenerationConfig
from keraslm.models.precision import in_float32

PROMPT_LENGTHS = (1, 9, 130)
NEW_TOKENS = 32
# What tasks are asked about: several languages and lengths, nothing, and more than fits.
TEXTS = (
    "This is a good film.",
    "the plot, however, makes NO sense at all; I left after an hour",
    "In 1945 the city of Berlin had 2.8 million inhabitants, half of them without a home.",
    "这部电影很好看。",
    "北京是中国的首都，人口超过两千万；我去年 3 月到过那里。",
    "Wörter mit Umlauten, un café très cher – “quoted” 👍🏽 50% off?",
    "a",
    "",
    "word " * 300,
    "我喜欢这个故事，很有趣。" * 60,
)


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


def in_float32_task(task):
    """The task itself, or a copy on a float32 copy of its model, which is what exports hold."""
    model = in_float32(task.model)
    return task if model is task.model else task.with_model(model)


def compare(found, expected):
    """Two answers of a task: whether their words are equal, and how far their numbers are apart.

    Numbers that are not finite, or answers of different form, are infinitely far apart.

    Args:
        found, expected: strings, numbers, arrays, or tuples, lists and dicts of them.
    """
    if isinstance(expected, dict) and isinstance(found, dict):
        if list(found) != list(expected):
            return False, np.inf
        found, expected = list(found.values()), list(expected.values())
    if isinstance(expected, (list, tuple)) and isinstance(found, (list, tuple)):
        if len(found) != len(expected):
            return False, np.inf
        pairs = [compare(a, b) for a, b in zip(found, expected, strict=True)]
        return all(equal for equal, _ in pairs), max((d for _, d in pairs), default=0.0)
    if isinstance(expected, (str, type(None))):
        return found == expected, 0.0
    return True, largest_difference(found, expected)


def largest_difference(found, expected):
    """Of two arrays; infinite if their shapes differ or a number is not finite."""
    found, expected = np.asarray(found, "float64"), np.asarray(expected, "float64")
    both_finite = np.isfinite(found).all() and np.isfinite(expected).all()
    if found.shape != expected.shape or not both_finite:
        return np.inf
    return float(np.abs(found - expected).max(initial=0.0))
