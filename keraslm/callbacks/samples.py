"""Text written by the model while it trains."""

from collections.abc import Callable, Iterable
from typing import Any

from keraslm._text import checked_count, checked_texts
from keraslm.callbacks.counting import StepCallback


class Samples(StepCallback):
    """Prints continuations of some prompts while a model trains.

    Args:
        lm: a `keraslm.tasks.TextGenerator` around the model that is trained.
        prompts: what to continue.
        every: a number of steps, or ``None``: after each epoch. Counted from the start of ``fit``.
        show: called with each text; default ``print``.
        settings: for ``lm.generate``; default 40 new tokens, ``top_k=40``, ``seed=0``.

    Raises:
        ValueError: an argument that cannot be.

    Example:
        >>> samples = keraslm.callbacks.Samples(lm, ["The city of"], every=200)
        >>> history = lm.fit(texts, length=32, callbacks=[samples], verbose=0)
    """

    def __init__(
        self,
        lm: Any,
        prompts: str | Iterable[str] = ("",),
        every: int | None = None,
        show: Callable[[str], object] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        if show is not None and not callable(show):
            raise ValueError(f"show must be a function of a text; received {show!r}.")
        self.lm, self.prompts = checked_lm(lm), checked_prompts(prompts)
        self.every = None if every is None else checked_count(every, "every")
        self.show = show or (lambda text: print(f"\n{text}"))
        self.settings = {"max_new_tokens": 40, "top_k": 40, "seed": 0, **settings}

    def texts(self) -> list[str]:
        """The continuations as the model writes them now."""
        return self.lm.generate(self.prompts, **self.settings)

    def on_steps(self, logs: dict[str, Any] | None) -> None:
        self._show(f"step {self.step}")

    def on_epoch_end(self, epoch, logs=None):
        if not self.every:
            self._show(f"epoch {epoch + 1}")

    def _show(self, when):
        for text in self.texts():
            self.show(f"[{when}] {text}")


def checked_lm(lm: Any) -> Any:
    """What generates text.

    Raises:
        ValueError: it is something else, such as a bare model.
    """
    if not (hasattr(lm, "generate") and hasattr(lm, "tokenizer")):
        raise ValueError(
            f"lm must be a keraslm.tasks.TextGenerator around the model that is trained; received "
            f"{type(lm).__name__}."
        )
    return lm


def checked_prompts(prompts: Any) -> list[str]:
    """One prompt or several, as a list.

    Raises:
        ValueError: none, or something else.
    """
    prompts = checked_texts(prompts, "prompts")
    if not prompts:
        raise ValueError('prompts is empty. Give a list of texts to continue; [""] is one, too.')
    return prompts
