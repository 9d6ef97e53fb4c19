"""The training collection by other means, from one vector to thousands."""

import dataclasses
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from ..measure import Comparison, Figure
from . import by_size, update

if TYPE_CHECKING:
    from . import Builder

FIGURE = Figure("peers_by_size", update.PEERS.title, update.PEERS.axis)


def suite(is_quick: bool) -> "Iterator[Builder]":
    """The sizes of `by_size`, in both dtypes."""
    for num_vectors, num_learned, _ in by_size.sizes(is_quick):
        for dtype in ("float32", "bfloat16"):
            yield partial(_compare, update.Case((num_vectors, num_learned), dtype))


def _compare(case: update.Case) -> Comparison:
    compared = update.against_peers(case)
    return dataclasses.replace(compared, suite="peers_by_size", figure=FIGURE, seconds=5.0)
