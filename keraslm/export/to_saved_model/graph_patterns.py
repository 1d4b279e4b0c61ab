r"""Regular expressions that cut text into words, as arithmetic on runs of characters.

Byte-level tokenizers name a regular expression. Neither RE2 nor ICU reads them as the engine does,
so the ones in use are listed here, each as a few matchers. A matcher gives, for every place, where
a match that begins there ends, for all places at once; the words of a text are then the matches
that follow each other from its start.

Greedy runs never give back what they took, which is exact here: what follows a run in these
expressions is never something that the run could hold. The three exceptions, ``\s*[\r\n]+``,
``\s+(?!\S)`` and the words of o200k, are matchers of their own.
"""

import re
from collections.abc import Callable

import tensorflow as tf

from keraslm.export.to_saved_model.graph_trie import Trie
from keraslm.export.to_saved_model.graph_unicode import regex_class

_NONE = -1  # no match


class Scan:
    """Characters of words, with a place after each word that is in no class.

    Args:
        codes: (n,) int32 code points.
        opens: (n,) bool, True where a word begins; a match stays inside a word.
    """

    def __init__(self, codes, opens):
        self._at = tf.range(tf.size(codes)) + tf.cumsum(tf.cast(opens, tf.int32)) - 1
        self._opens = opens
        size = tf.size(codes) + tf.reduce_sum(tf.cast(opens, tf.int32))
        self.codes = tf.tensor_scatter_nd_update(tf.fill([size], -1), self._at[:, None], codes)
        self.place = tf.range(size)
        self._found: dict = {}  # what several matchers ask for

    def _once(self, key, make):
        if key not in self._found:
            self._found[key] = make()
        return self._found[key]

    def members(self, characters):
        """Which places hold one of a class of characters: (places,) bool."""

        def make():
            inside = regex_class(characters)(tf.maximum(self.codes, 0)) == 1
            return inside & (self.codes >= 0)

        return self._once(("members", characters), make)

    def run_ends(self, characters):
        """Where the run of a class that holds each place ends: (places,) int32; else the place."""

        def make():
            ends = tf.cast(tf.where(~self.members(characters))[:, 0], tf.int32)
            return tf.gather(ends, tf.searchsorted(ends, self.place))

        return self._once(("run_ends", characters), make)

    def last(self, characters):
        """The last place up to each place that holds a class: (places,) int32; -1 for none."""

        def make():
            found = tf.cast(tf.where(self.members(characters))[:, 0], tf.int32)
            found = tf.concat([[-1], found], 0)
            return tf.gather(found, tf.searchsorted(found, self.place, side="right") - 1)

        return self._once(("last", characters), make)

    def words(self, matcher):
        """Where words begin: (n,) bool. What lies between two matches is a word too."""
        ends = matcher(self)
        between = (ends == _NONE) & (self.codes >= 0)
        following = tf.where(between, self.place + 1, ends)
        following = tf.where(self.codes < 0, self.place, following)
        first = tf.scatter_nd(self._at[:, None], tf.cast(self._opens, tf.int32), [tf.size(ends)])
        reached = reachable(first > 0, following)
        between &= reached
        again = between & tf.concat([[False], between], 0)[:-1]
        return tf.gather(reached & ~again, self._at)


def reachable(starts, following):
    """Places that are reached from some: (n,) bool and (n,) int32 next places to (n,) bool."""

    def step(_, reached, jump):
        ones = tf.gather(jump, tf.where(reached))
        more = tf.tensor_scatter_nd_update(reached, ones, tf.ones_like(ones[:, 0], tf.bool))
        further = tf.gather(jump, jump)  # jumps double: few steps for a long text
        return tf.reduce_any(further != jump), more, further

    return tf.while_loop(lambda more, *_: more, step, (tf.size(starts) > 0, starts, following))[1]


Matcher = Callable[[Scan], tf.Tensor]

# === What matchers are made of ===


def one(characters: str) -> Matcher:
    """One character of a class."""
    return lambda scan: tf.where(scan.members(characters), scan.place + 1, _NONE)


def run(characters: str, most: int | None = None) -> Matcher:
    """One or more characters of a class, at most ``most``."""

    def match(scan):
        ends = scan.run_ends(characters)
        ends = ends if most is None else tf.minimum(ends, scan.place + most)
        return tf.where(scan.members(characters), ends, _NONE)

    return match


def then(*matchers: Matcher) -> Matcher:
    """One after the other."""

    def match(scan):
        ends = scan.place
        for matcher in matchers:
            found = tf.gather(matcher(scan), tf.maximum(ends, 0))
            ends = tf.where(ends == _NONE, _NONE, found)
        return ends

    return match


def first(*matchers: Matcher) -> Matcher:
    """The first of several that matches."""

    def match(scan):
        ends = matchers[0](scan)
        for matcher in matchers[1:]:
            ends = tf.where(ends == _NONE, matcher(scan), ends)
        return ends

    return match


def maybe(matcher: Matcher, following: Matcher) -> Matcher:
    """``following`` after an optional match."""
    return first(then(matcher, following), following)


def nothing(scan: Scan):
    """The empty match."""
    return scan.place


def spaces_to_newline(scan: Scan):
    r"""``\s*[\r\n]+``: a run of spaces up to its last line break."""
    end = tf.maximum(scan.run_ends(r"\s") - 1, 0)
    last = tf.gather(scan.last(r"[\r\n]"), end)
    return tf.where(scan.members(r"\s") & (last >= scan.place), last + 1, _NONE)


def spaces_but_last(scan: Scan):
    r"""``\s+(?!\S)``: a run of spaces, without its last one if a word follows."""
    end = scan.run_ends(r"\s")
    end = tf.where(tf.gather(scan.codes, end) < 0, end, end - 1)
    return tf.where(end > scan.place, end, _NONE)


def cased_word(upper: str, lower: str) -> Matcher:
    """``[upper]*[lower]+``, where the classes share letters that have no case."""

    def match(scan):
        end = scan.run_ends(upper)
        after = tf.gather(run(lower)(scan), end)
        back = tf.gather(scan.last(lower), tf.maximum(end - 1, 0))  # gives back to the last one
        back = tf.where((end > scan.place) & (back >= scan.place), back + 1, _NONE)
        return tf.where(after == _NONE, back, after)

    return match


def literals(*texts: str) -> Matcher:
    """The longest of several strings."""
    trie = Trie([(list(map(ord, text)), i) for i, text in enumerate(texts)])

    def match(scan):
        nothing = tf.zeros_like(scan.codes)
        length = trie.longest(scan.codes, nothing, nothing)[1]
        return tf.where(length > 0, scan.place + length, _NONE)

    return match


_ENDINGS = ("s", "t", "re", "ve", "m", "ll", "d")


def contractions(before: str = "", after: str = "") -> Matcher:
    """An apostrophe and s, t, re, ve, m, ll or d; the letters between ``before`` and ``after``."""
    endings = [[f"{before}{c}{after}" for c in word] for word in _ENDINGS]
    return first(*(then(one("'"), *map(one, ending)) for ending in endings))


# === The expressions ===

_ANY_CASE = contractions("(?i:", ")")
_SPACES = (spaces_but_last, run(r"\s"))
_LINES = (spaces_to_newline, *_SPACES)
_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def _signs(signs=r"[^\s\p{L}\p{N}]", tail=r"[\r\n]"):
    return maybe(one(" "), then(run(signs), first(run(tail), nothing)))


def _gpt4(digits, letters=r"\p{L}", signs=r"[^\s\p{L}\p{N}]"):
    word = maybe(one(r"[^\r\n\p{L}\p{N}]"), run(letters))
    return first(_ANY_CASE, word, run(r"\p{N}", digits), _signs(signs), *_LINES)


def _o200k(digits, ending):
    lead = one(r"[^\r\n\p{L}\p{N}]")
    lower = then(maybe(lead, cased_word(_UPPER, _LOWER)), ending)
    # Where no lower case follows: the first of the two has not matched.
    upper = then(maybe(lead, run(_UPPER)), ending)
    return first(lower, upper, run(r"\p{N}", digits), _signs(tail=r"[\r\n/]"), *_LINES)


GPT2 = first(
    contractions(),
    maybe(one(" "), run(r"\p{L}")),
    maybe(one(" "), run(r"\p{N}")),
    maybe(one(" "), run(r"[^\s\p{L}\p{N}]")),
    *_SPACES,
)

_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_GPT4_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_GPT4_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_O200K_LOWER = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+"
_O200K_UPPER = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
_O200K_REST = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"

KNOWN: dict[str, Matcher] = {
    # GPT-2
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+": GPT2,
    # Llama 3, GPT-4 (cl100k)
    rf"{_CONTRACTION}|{_GPT4_WORD}|\p{{N}}{{1,3}}|{_GPT4_REST}": _gpt4(3),
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+": _gpt4(3),
    # Qwen 2 and 3
    rf"{_CONTRACTION}|{_GPT4_WORD}|\p{{N}}|{_GPT4_REST}": _gpt4(1),
    # Qwen 3.5
    rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+": _gpt4(
        1, r"[\p{L}\p{M}]", r"[^\s\p{L}\p{M}\p{N}]"
    ),
    # GPT-4o (o200k)
    rf"{_O200K_LOWER}{_CONTRACTION}?|{_O200K_UPPER}{_CONTRACTION}?|\p{{N}}{{1,3}}|{_O200K_REST}": (
        _o200k(3, first(_ANY_CASE, nothing))
    ),
    # Mistral (tekken)
    rf"{_O200K_LOWER}|{_O200K_UPPER}|\p{{N}}|{_O200K_REST}": _o200k(1, nothing),
}


def find_matcher(pattern: str) -> Matcher | None:
    """The matcher of an expression: of `KNOWN`, or of escaped strings between bars."""
    if pattern in KNOWN:
        return KNOWN[pattern]
    if not re.fullmatch(r"(?:[^\\^$.?*+()\[\]{}]|\\[^\w])+", pattern):
        return None
    parts = re.findall(r"(?:[^|\\]|\\[\s\S])+", pattern)
    if "|".join(parts) != pattern:  # something between bars is empty
        return None
    texts = [re.sub(r"\\([\s\S])", r"\1", part) for part in parts]
    # The first that matches is the longest where none comes after its own beginning.
    hidden = any(b.startswith(a) for i, a in enumerate(texts) for b in texts[i + 1 :])
    return None if hidden else literals(*texts)
