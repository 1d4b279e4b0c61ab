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
_CONSTANTS = [[CONSTANTS[i - shift] for i in range(len(CONSTANTS))] for shift in range(3)]
NUMBERS = (20011, 38201)  # by how much row and step count on for the next number of a draw


def resolve_seed(seed: int | None) -> int:
    """The seed from 0 to ``SEEDS - 1`` that any whole number stands for; ``None``: a random one."""
    return secrets.randbelow(SEEDS) if seed is None else int(seed) % SEEDS


def uniform(seed, row, step, number=0):
    """Numbers in (0, 1): a pure function of the arguments, which broadcast.

    Args:
        seed: int32 scalar, or one for each row; negative ones count from the end, as those of
            `resolve_seed`.
        row: int32 ``(batch,)`` or ``(batch, 1)``, not negative: of the batch.
        step: int32 scalar, not negative: how many tokens were drawn before.
        number: int32 scalar or ``(n,)``, from 0 to 40,000, where a draw needs several.

    Returns:
        float32 ``(batch,)`` or ``(batch, n)``.
    """
    seed = ops.expand_dims(ops.convert_to_tensor(seed, "int32") % SEEDS, -1)
    first, second, third = (ops.convert_to_tensor(shifted, "int32") for shifted in _CONSTANTS)
    keys = (seed % P * first % P + seed // P % P * second % P + third) % P
    # Far apart, so that the numbers of one row are not those of the next ones.
    left = (row + number * NUMBERS[0]) % P
    right = (step + number * NUMBERS[1]) % P + 0 * row
    for key in ops.unstack(keys, len(CONSTANTS), axis=-1):
        left, right = right, (left + _cube((right + key) % P)) % P
    left, right = ops.cast(left, "float32"), ops.cast(right, "float32")
    # Rounding may give 1.0, which is no valid share.
    return ops.minimum((left + (right + 0.5) / P) / P, 1.0 - 2.0**-24)


def exponential(seed, row, step, number=0):
    """Exponentially distributed numbers above 0, float32; arguments as of `uniform`."""
    u = uniform(seed, row, step, number)
    # -log(1 - u), by the first terms of its series where float32 would round 1 - u.
    return ops.where(u < 0.01, u * (1.0 + u * (0.5 + u / 3.0)), -ops.log(1.0 - u))


def _cube(x):
    return x * x % P * x % P
