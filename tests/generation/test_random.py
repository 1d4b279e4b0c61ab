"""The generator that every runtime computes alike: is it random enough to sample with?"""

import numpy as np
import pytest

from keraslm.generation.random import P, uniform


def draws(seed, row, step):
    arrays = np.broadcast_arrays(*(np.asarray(a, "int32") for a in (seed, row, step)))
    return np.asarray(uniform(*(a.ravel() for a in arrays)))


def test_uniform_in_the_open_interval():
    u = draws(np.arange(2**31 - 5000, 2**31 - 1), 3, 2)
    assert u.dtype == np.float32
    assert u.min() > 0 and u.max() < 1


@pytest.mark.parametrize(
    ("seed", "row", "step"),
    [
        (7, np.arange(20000), 3),
        (5, np.arange(4)[:, None], np.arange(5000)),
        (np.arange(3000)[:, None], 0, np.arange(7)),
        (np.arange(20000), 0, 0),
        (np.arange(20000) * P, 1, 1),
    ],
)
def test_chi_square(seed, row, step):
    u = draws(seed, row, step)
    counts = np.histogram(u, 100, (0, 1))[0]
    expected = len(u) / 100
    chi = ((counts - expected) ** 2 / expected).sum()
    assert 50 < chi < 170, chi  # 99 degrees of freedom: 99 +- 14


def test_neighbours_are_not_correlated():
    u = draws(11, 0, np.arange(8000)).astype("float64")
    for lag in (1, 2, 3):
        r = np.corrcoef(u[:-lag], u[lag:])[0, 1]
        assert abs(r) < 0.05, (lag, r)
    # A Weyl sequence passes the above in part; its differences are constant.
    assert np.std(np.diff(u) % 1) > 0.2


def test_pure_function_and_sensitive_to_each_argument():
    row = np.arange(3, dtype="int32")
    u = np.asarray(uniform(1, row, 2))
    assert (u == np.asarray(uniform(1, row, 2))).all()
    assert (u != np.asarray(uniform(2, row, 2))).all()
    assert (u != np.asarray(uniform(1, row, 3))).all()
    assert len(set(u.tolist())) == 3


def test_no_intermediate_overflows_int32():
    assert P * P < 2**31
    assert P % 3 == 2  # cubing is a permutation
