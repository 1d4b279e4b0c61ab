"""Which cases of a parametrised test run by default."""

import pytest


def slow_but(kept, cases):
    """All cases, those whose place is not in ``kept`` for ``make test-all`` only."""
    return [
        case if i in kept else pytest.param(*(case if isinstance(case, tuple) else (case,)),
                                            marks=pytest.mark.slow)
        for i, case in enumerate(cases)
    ]  # fmt: skip
