"""SentencePiece's compiled character map inside the graph, as the engine applies it.

The engine does not read the map as SentencePiece does. It cuts the text into grapheme clusters
(Unicode Annex 29); a cluster of fewer than six bytes becomes, whole, what its shortest prefix in
the map becomes; in longer clusters each character is looked up alone. Which characters cluster
is found by asking the engine with small maps of our own.
"""

import base64
from functools import cache

import numpy as np
import tensorflow as tf

from keraslm.export.to_saved_model.graph_split import replace_codes, shift
from keraslm.export.to_saved_model.graph_trie import Trie
from keraslm.export.to_saved_model.graph_unicode import Runs, every_character, runs

_SHORT = 6  # bytes from which a cluster is not looked up whole

# What a code point does in a cluster, as bits.
JOINS, SPACING, PREPEND, CONTROL, PICTURE, CONSONANT, LINKER, LINKED = (1 << i for i in range(8))
_ZWJ = "\u200d"
_MARK = "\u0347"  # two bytes; joins what is before it and composes with nothing


class Precompiled:
    """The normalizer ``Precompiled``, on code points.

    Args:
        charsmap: base64, as ``tokenizer.json`` holds it.
    """

    def __init__(self, charsmap: str):
        from tokenizers import normalizers

        blob = base64.b64decode(charsmap)
        rules = [
            (key, value) for key, value in read_charsmap(blob) if 0 < len(key.encode()) < _SHORT
        ]
        self._trie = Trie([(list(map(ord, key)), i) for i, (key, _) in enumerate(rules)])
        self._splits = np.cumsum([0, *(len(value) for _, value in rules)]).astype(np.int32)
        new = [ord(c) for _, value in rules for c in value]
        self._new = np.array(new or [0], np.int32)
        # After a joiner or a linker it matters for characters with a rule only.
        engine = normalizers.Precompiled(blob)
        single = [key for key, _ in rules if len(key) == 1]
        self._after = [
            np.array(
                [ord(c) for c in single if engine.normalize_str(before + c + _MARK)[-1:] == _MARK]
                or [-1],
                np.int32,
            )
            for before in ("\U0001f600" + _ZWJ, "\u0915\u094d")
        ]

    def __call__(self, codes, piece):
        """(codes, piece), (n,) int32 and (n,) int64, to those of the normalized characters."""
        begins = ~self._clusters(codes, piece)
        cluster = tf.cumsum(tf.cast(begins, tf.int32)) - 1
        size = 1 + sum(tf.cast(codes >= bound, tf.int32) for bound in (0x80, 0x800, 0x10000))
        short = tf.gather(tf.math.segment_sum(size, cluster) < _SHORT, cluster)
        found = self._trie.all(codes, cluster)
        shortest = tf.gather(found, tf.argmax(found >= 0, axis=1), batch_dims=1)
        whole = begins & short & (shortest >= 0)
        inside = tf.gather(tf.math.segment_max(tf.cast(whole, tf.int32), cluster) > 0, cluster)
        rule = tf.where(whole, shortest, tf.where(inside, -1, found[:, 0]))
        keep = whole | ~inside
        codes, piece, rule = (tf.boolean_mask(x, keep) for x in (codes, piece, rule))
        codes, source = replace_codes(codes, rule, self._splits, self._new)
        return codes, tf.gather(piece, source)

    def _clusters(self, codes, piece):
        """Which characters belong to the cluster of the one before: (n,) bool."""
        kind = cluster_kinds()(codes)

        def has(bit):
            return kind & bit > 0

        def before(mask):
            return shift(mask, 1, False)

        def within(low, high):
            return (codes >= low) & (codes <= high)

        lead = within(0x1100, 0x115F) | within(0xA960, 0xA97C)
        syllable = within(0xAC00, 0xD7A3)
        open_syllable = syllable & ((codes - 0xAC00) % 28 == 0)
        vowel = within(0x1160, 0x11A7) | within(0xD7B0, 0xD7C6)
        tail = within(0x11A8, 0x11FF) | within(0xD7CB, 0xD7FB)
        joined = has(JOINS) | before(has(PREPEND))
        joined |= before(lead) & (lead | vowel | syllable)
        joined |= before(open_syllable | vowel) & (vowel | tail)
        joined |= before(syllable | tail) & tail
        joined |= self._after_a_run(codes, kind, piece)
        joined &= ~has(CONTROL) & ~before(has(CONTROL))
        joined |= (codes == ord("\n")) & (shift(codes, 1, 0) == ord("\r"))
        return joined & (piece == shift(piece, 1, -1))

    def _after_a_run(self, codes, kind, piece):
        """Pictures after a joiner, and consonants after a linker: (n,) bool."""
        joins = (kind & JOINS > 0) & (piece == shift(piece, 1, -1))
        place = tf.range(tf.size(codes))
        bases = tf.cast(tf.where(~joins)[:, 0], tf.int32)
        number = tf.cumsum(tf.cast(~joins, tf.int32), exclusive=True)
        base = tf.gather(tf.concat([[0], bases], 0), number)  # the last before each place

        def count(bit):
            """How many between the base and the character have a bit."""
            total = tf.cumsum(tf.cast(kind & bit > 0, tf.int32))
            up_to = tf.gather(total, tf.maximum(place - 1, 0))
            return up_to - tf.gather(total, base)

        picture, consonant = (
            tf.reduce_any(codes[:, None] == tf.constant(after)[None], axis=1)
            for after in self._after
        )
        base_kind = tf.gather(kind, base)
        joiner = shift(codes, 1, 0) == ord(_ZWJ)
        # The joiner itself would keep a second joiner from joining: it does not count here.
        spacing = count(SPACING) - tf.cast(shift(kind, 1, 0) & SPACING > 0, tf.int32)
        pictures = picture & joiner & (base_kind & PICTURE > 0) & (spacing == 0)
        linked = count(LINKED) == place - 1 - base
        consonants = consonant & (base_kind & CONSONANT > 0) & linked & (count(LINKER) > 0)
        return (pictures | consonants) & (base < place)


def read_charsmap(blob: bytes) -> list[tuple[str, str]]:
    """The rules of a compiled character map: (characters, what they become) each."""
    size = int.from_bytes(blob[:4], "little")
    units = np.frombuffer(blob[4 : 4 + size], "<u4").astype(np.int64)
    values = blob[4 + size :]

    def offset(unit):
        return (unit >> 10) << ((unit & 0x200) >> 6)

    rules = []
    level = [(b"", int(offset(units[0])))]
    labels = np.arange(1, 256)
    while level:
        following = []
        for key, position in level:
            children = position ^ labels
            inside = children < len(units)
            children, label = children[inside], labels[inside]
            match = (units[children] & 0x800000FF) == label
            for child, byte in zip(children[match], label[match], strict=True):
                unit = units[child]
                target = int(child ^ offset(unit))
                name = key + bytes([byte])
                if unit >> 8 & 1:
                    start = int(units[target] & 0x7FFFFFFF)
                    value = values[start : values.index(b"\0", start)]
                    rules.append((name.decode(), value.decode()))
                following.append((name, target))
        level = following
    return rules


def _charsmap(character):
    """A compiled character map with one rule: a character becomes "X"."""
    units = np.zeros(256 * (len(character.encode()) + 2), "<u4")
    base = 256
    units[0] = base << 10
    for byte in character.encode():
        node, base = base ^ byte, base + 256
        units[node] = (node ^ base) << 10 | byte
    units[node] |= 1 << 8  # the key ends here; its value, at the base, is 0
    return len(units.tobytes()).to_bytes(4, "little") + units.tobytes() + b"X\0"


@cache
def cluster_kinds() -> Runs:
    """The bits of every code point."""
    characters = every_character("\n")

    def ask(rule, before, after, left):
        """Which characters, between two strings, leave ``left`` at the end of the answer."""
        from tokenizers import normalizers

        engine = normalizers.Precompiled(_charsmap(rule))
        texts = "\n".join(before + c + after for c in characters)
        answers = engine.normalize_str(texts).split("\n")
        return {c for c, a in zip(characters, answers, strict=True) if a.endswith(left or c)}

    everything = set(characters)
    picture, nukta, mark = "\u203c", "\u0958", _MARK
    joins = everything - ask("a", "a", "", None) - {"a"}
    bits = {
        JOINS: joins,
        SPACING: joins - ask(picture, "\U0001f600", _ZWJ + picture + mark, mark),
        PREPEND: ask("a", "", "a\U000e0100", "\U000e0100"),
        CONTROL: everything - ask(mark, "", mark + "\u0300", "\u0300"),
        PICTURE: ask(picture, "", _ZWJ + picture + mark, mark),
        CONSONANT: ask(nukta, "", "\u094d" + nukta + mark, mark),
        LINKER: joins & ask(nukta, "\u0915", nukta + mark, mark),
        LINKED: joins & ask(nukta, "\u0915\u094d", nukta + mark, mark),
    }
    bits[CONTROL].add("\n")
    values = np.zeros(0x110000, np.int32)
    for bit, members in bits.items():
        values[[ord(c) for c in members]] |= bit
    return runs(values)
