"""The tasks, one row each."""

from keraslm.tasks.fill_mask import FillMask
from keraslm.tasks.sentence_encoder import SentenceEncoder
from keraslm.tasks.text_classifier import TextClassifier
from keraslm.tasks.text_generator import TextGenerator

# By the name that a bundle gives. What a task takes (``heads``) and what a model card shows of it
# (``example``) stand in its class.
TASKS = {
    "TextGenerator": TextGenerator,
    "FillMask": FillMask,
    "SentenceEncoder": SentenceEncoder,
    "TextClassifier": TextClassifier,
}

# Head of a model → the task for it; a decoder's language head has no name.
TASK_OF_HEAD = {head: task for task in TASKS.values() for head in getattr(task, "heads", ())}
