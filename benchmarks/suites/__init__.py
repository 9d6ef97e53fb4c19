"""What is measured: every suite says how to build its comparisons, which are then timed."""

from collections.abc import Callable, Iterator

from ..measure import Comparison
from ..report import Facts
from . import (
    by_size,
    counters,
    peers_by_size,
    ready_made,
    reconstruction,
    top_k,
    tracing,
    train_step,
    update,
)

# A suite returns builders, not comparisons: the arrays of one are gone before the next is built.
Builder = Callable[[], Comparison | Facts]

SUITES: dict[str, Callable[[bool], Iterator[Builder]]] = {
    "by_size": by_size.suite,
    "peers_by_size": peers_by_size.suite,
    "update": update.suite,
    "ready_made": ready_made.suite,
    "reconstruction": reconstruction.suite,
    "train_step": train_step.suite,
    "top_k": top_k.suite,
    "counters": counters.suite,
    "tracing": tracing.suite,
}
