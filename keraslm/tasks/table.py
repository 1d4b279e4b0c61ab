"""The tasks, one row each."""

from typing import Any

from keraslm.tasks.fill_mask import FillMask
from keraslm.tasks.next_sentence import NextSentence
from keraslm.tasks.question_answerer import QuestionAnswerer
from keraslm.tasks.sentence_encoder import SentenceEncoder
from keraslm.tasks.text_classifier import TextClassifier
from keraslm.tasks.text_generator import TextGenerator
from keraslm.tasks.token_classifier import TokenClassifier

# By the name that a bundle gives. What a task takes (``heads``) and what a model card shows of it
# (``example``) stand in its class.
TASKS: dict[str, Any] = {
    "TextGenerator": TextGenerator,
    "FillMask": FillMask,
    "SentenceEncoder": SentenceEncoder,
    "TextClassifier": TextClassifier,
    "TokenClassifier": TokenClassifier,
    "QuestionAnswerer": QuestionAnswerer,
    "NextSentence": NextSentence,
}

# Head of a model → the first task for it; ``"lm"`` is the language head of a decoder.
TASK_OF_HEAD = {head: task for task in reversed(TASKS.values()) for head in task.heads}


def task_for(model, tokenizer=None, labels=None, max_length=None):
    """The task of a bare encoder: what it gives for a text, without more.

    Args:
        model: a model with the head ``None`` or ``"pooled"`` (then the vector is the mean over
            the real tokens, or the pooled one, as it is) or ``"classifier"``.
        tokenizer: its `keraslm.tokenizers.Tokenizer`.
        labels: names of the classes.
        max_length: tokens of a text, beyond which it is cut.

    Returns:
        a `SentenceEncoder` or a `TextClassifier`; ``None`` for another head.
    """
    if model.head == "classifier":
        return TextClassifier(model, tokenizer, labels, max_length=max_length)
    if model.head in SentenceEncoder.heads:
        return SentenceEncoder(model, tokenizer, normalize=False, max_length=max_length)
    return None
