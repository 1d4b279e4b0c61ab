"""Text of tokens that come one after the other."""

import os
from collections.abc import Iterable, Sequence

from keraslm._text import checked_ids, checked_text, checked_texts
from keraslm.tokenizers import spacing
from keraslm.tokenizers.tokenizer import Tokenizer

BROKEN = "\ufffd"  # bytes that are no whole character, yet or for ever
PENDING = 8  # so many tokens may be missing to a character; then it is broken for ever
LONGEST_WINDOW = 64


class StopStrings:
    """Lets text through up to the first of some strings, which may come in pieces.

    Args:
        stop: the strings at which the text ends; they are not part of it.

    Attributes:
        stopped: whether one came. Nothing goes through after it.

    Raises:
        ValueError: ``stop`` is neither a str nor a list of str.

    Example:
        >>> stop = StopStrings("END")
        >>> stop.add("so E"), stop.add("N"), stop.add("D of it"), stop.stopped
        ('so ', '', '', True)
    """

    def __init__(self, stop: str | Sequence[str] = ()):
        self.stopped = False
        self._stops = [s for s in checked_texts(stop, "stop") if s]
        self._held = ""

    def add(self, piece: str) -> str:
        """What goes through for certain."""
        return self._through(piece, is_last=False)

    def close(self) -> str:
        """What was held back, when no text follows."""
        return self._through("", is_last=True)

    def _through(self, piece, is_last):
        if self.stopped:
            return ""
        text = self._held + piece
        ends = [place for s in self._stops if (place := text.find(s)) >= 0]
        if ends:
            self.stopped, self._held = True, ""
            return text[: min(ends)]
        begun = (n for s in self._stops for n in range(1, len(s)) if text.endswith(s[:n]))
        cut = len(text) if is_last else len(text) - max(begun, default=0)
        self._held = text[cut:]
        return text[:cut]


class TextStream:
    """Decodes tokens as they come, after a prompt: joined, the pieces are the continuation.

    They equal ``tokenizer.decode([*prompt_ids, *new_ids])`` without the
    ``tokenizer.decode(prompt_ids)`` in front, for every kind of tokenizer: with its blanks, and
    none inside a Chinese text. Only where bytes are no character, and a tokenizer with byte
    fallback decodes a whole run of them anew, may the two differ. A piece waits until no later
    token can change it. The cost of a token does not grow with the text.

    Args:
        tokenizer: a `Tokenizer`.
        prompt_ids: the tokens before the first new one.
        stop: strings at which the text ends; they are not part of it.
        prompt: the prompt as it was written. If it ends with white space that the tokenizer does
            not keep, the continuation begins without a blank.

    Raises:
        ValueError: ids, stop strings or a prompt of another type.

    Attributes:
        text: what was given so far.

    Example:
        >>> tokenizer = Tokenizer.train(["to be or not to be"] * 9, "word", None)
        >>> stream = TextStream(tokenizer, tokenizer.encode("to be"))
        >>> [stream.add(i) for i in tokenizer.encode("or not")]
        [' or', ' not']
        >>> stream.close()
        ''
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        prompt_ids: Iterable[int] = (),
        stop: str | Sequence[str] = (),
        *,
        prompt: str = "",
    ) -> None:
        self.text = ""
        self._stop = StopStrings(stop)
        self._decode = tokenizer.decode_plain
        self._cleans_up = tokenizer.cleans_up
        self._hidden = frozenset(tokenizer.special_tokens.values())
        # The window begins where a piece ended, so never inside a character, and has the last
        # piece in front, for what the decoder does between two tokens.
        self._window = [i for i in checked_ids(prompt_ids) if i not in self._hidden]
        self._fresh = 0  # tokens of the window that are behind what is context only
        self._pending = 0  # tokens since a piece was given
        before = self._decode(self._window)
        # Half a character at the end is completed by the first new token, unless the sign itself
        # was written there.
        prompt = checked_text(prompt, "prompt")
        whole = before if prompt.endswith(BROKEN) else before.rstrip(BROKEN)
        self._shown = len(self._finished(whole))
        self._drops_blank = prompt[-1:].isspace() and not before[-1:].isspace()

    @property
    def stopped(self) -> bool:
        """Whether a stop string came. Nothing comes after it."""
        return self._stop.stopped

    def add(self, token_id: int) -> str:
        """The text that is certain with this token: often one word, sometimes nothing yet.

        An id that the vocabulary does not have gives none, as in `Tokenizer.decode`.

        Raises:
            ValueError: no whole number from 0 on.
        """
        (token_id,) = checked_ids([token_id])
        if self.stopped or token_id in self._hidden:
            return ""
        self._window.append(token_id)
        self._fresh += 1
        self._pending += 1
        raw = self._decode(self._window)
        text = self._finished(raw)
        stable = self._stable(raw, text)
        piece = text[self._shown : stable]
        self._shown = max(self._shown, stable)
        if piece:
            self._pending = 0
        if piece and stable == len(text):
            self._keep(self._fresh, rest=0)
        elif self._fresh >= LONGEST_WINDOW:  # no piece ends where a token does, or blanks on end
            self._keep(LONGEST_WINDOW // 4, rest=len(text) - self._shown)
        return self._give(piece)

    def close(self) -> str:
        """The rest of the text, when no token follows."""
        if self.stopped:
            return ""
        piece = self._finished(self._decode(self._window))[self._shown :]
        self._window, self._fresh, self._shown = [], 0, 0
        return self._give(piece, is_last=True)

    def _keep(self, count, rest):
        """Forget all but the last tokens, whose text is given but for ``rest`` characters."""
        for number in range(count, 0, -1):
            window = self._window[-number:]
            raw = self._decode(window)
            # Of several apostrophes in a row the first is cleaned up first: begin behind them.
            if not (self._cleans_up and raw.lstrip().startswith("'")):
                break
        self._window, self._fresh = window, 0
        self._shown = max(0, len(self._finished(raw)) - rest)

    def _finished(self, raw):
        return spacing.clean_up(raw) if self._cleans_up else raw

    def _stable(self, raw, text):
        """Length of the finished text that no later token changes."""
        if self._pending < PENDING:
            raw = raw.rstrip(BROKEN)
        if self._cleans_up and (held := spacing.could_change(raw)):
            raw = raw[:-held]
        return len(os.path.commonprefix([self._finished(raw), text]))

    def _give(self, piece, is_last=False):
        if self._drops_blank and piece:
            piece, self._drops_blank = piece.removeprefix(" "), False
        ready = self._stop.add(piece) + (self._stop.close() if is_last else "")
        self.text += ready
        return ready


def continuation(
    tokenizer: Tokenizer, prompt_ids: Iterable[int], new_ids: Iterable[int], **options
) -> str:
    """Text of new tokens after a prompt, as a `TextStream` gives it; ``options`` are its own."""
    stream = TextStream(tokenizer, prompt_ids, **options)
    for token_id in new_ids:
        stream.add(token_id)
    stream.close()
    return stream.text
