"""A random number generator that every runtime computes to the bit.

Sampling has to give the same tokens in Keras, in a SavedModel and on a phone, but stateless random
operations do not convert to LiteRT. This one is a keyed permutation made of int32 additions,
multiplications and remainders only: a Feistel network over pairs of residues modulo a prime ``P``
(Luby & Rackoff 1988), with cubing as its round function (a permutation, because 3 does not divide
``P - 1``). ``P * P < 2**31``, so nothing overflows.
"""

import secrets

from keras import ops

SEEDS = 2**31 - 1  # how many there are
P = 46337
# One for each round, so that seed and step do not cancel out in all rounds alike.
CONSTANTS = (7919, 15485, 22807, 30449, 38183, 45413)


def resolve_seed(seed: int | None) -> int:
    """The seed from 0 to ``SEEDS - 1`` that any whole number stands for; ``None``: a random one."""
    return secrets.randbelow(SEEDS) if seed is None else int(seed) % SEEDS


def uniform(seed, row, step):
    """Numbers in (0, 1), one for each row: a pure function of its arguments.

    Args:
        seed: int32 scalar; negative ones count from the end, as in `resolve_seed`.
        row: int32 ``(batch,)``, not negative.
        step: int32 scalar, not negative.

    Returns:
        float32 ``(batch,)``.
    """
    seed = seed % SEEDS
    low, high = seed % P, seed // P % P
    left, right = row % P, step % P + 0 * row
    for i, constant in enumerate(CONSTANTS):
        key = (low * constant % P + high * CONSTANTS[i - 1] % P + CONSTANTS[i - 2]) % P
        left, right = right, (left + _cube((right + key) % P)) % P
    left, right = ops.cast(left, "float32"), ops.cast(right, "float32")
    # Rounding may give 1.0, which is no valid share.
    return ops.minimum((left + (right + 0.5) / P) / P, 1.0 - 2.0**-24)


def _cube(x):
    return x * x % P * x % P
