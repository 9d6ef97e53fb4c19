"""Cosines of the rows of dictionaries, in NumPy."""

import numpy as np


def cosines(a, b):
    """All cosines of rows of `a` to rows of `b`; NaN with a zero row."""
    with np.errstate(invalid="ignore"):
        a, b = (x / np.sqrt((x**2).sum(1, keepdims=True)) for x in (a, b))
    return a @ b.T


# More rows than the nearest ones are searched for at once.
MORE_THAN_A_BLOCK = 4101
