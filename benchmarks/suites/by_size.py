"""Single metrics and ready-made collections against code by hand, from one vector to thousands."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import jax_sae_metrics as jsm

from ..inputs import in_words, training_batch
from ..jitted import jitted
from ..measure import Comparison, Figure
from ..peers import careful, naive

if TYPE_CHECKING:
    from . import Builder

FIGURE = Figure(
    "by_size",
    "An update, against careful JAX code by hand for the same sums",
    "time, in updates by hand",
)
# Vectors, learned features, input features: from a tutorial's to an accelerator's.
SIZES = (
    (1, 4096, 512),
    (17, 16384, 512),
    (64, 2048, 128),
    (256, 8192, 512),
    (1024, 8192, 512),
    (4096, 16384, 1024),
)
_CODES = ("learned_activations",)
_BOTH = ("source_activations", "decoded_activations")

# The metric for a number of learned and of input features, the function by hand, what both read.
Pair = tuple[Callable[[int, int], jsm.AbstractMetric[Any]], Any, tuple[str, ...]]
PAIRS: dict[str, Pair] = {
    "FeatureDensity": (
        lambda num_learned, _: jsm.FeatureDensity(num_learned),
        careful.density,
        _CODES,
    ),
    "L0Norm": (lambda *_: jsm.L0Norm(), careful.l0, _CODES),
    "ExplainedVariance": (
        lambda _, num_input: jsm.ExplainedVariance(num_input),
        careful.explained_variance,
        _BOTH,
    ),
    "training_metrics": (jsm.training_metrics, careful.training, _CODES + _BOTH),
    "evaluation_metrics": (jsm.evaluation_metrics, careful.evaluation, _CODES + _BOTH),
}


def sizes(is_quick: bool) -> tuple[tuple[int, int, int], ...]:
    """The sizes to measure at."""
    return ((1, 64, 32), (17, 64, 32)) if is_quick else SIZES


def suite(is_quick: bool) -> "Iterator[Builder]":
    """Every metric at every size, in both dtypes."""
    for name in PAIRS:
        for size in sizes(is_quick):
            for dtype in ("float32", "bfloat16"):
                yield partial(_compare, name, *size, dtype)


def _compare(
    name: str, num_vectors: int, num_learned: int, num_input: int, dtype: str
) -> Comparison:
    build, by_hand, inputs = PAIRS[name]
    whole = training_batch((num_vectors, num_learned), dtype, num_input)
    batch = {key: whole[key] for key in inputs}
    size = in_words((num_vectors, num_input if inputs == _BOTH else num_learned))
    metric, against = build(num_learned, num_input), f"{size}, by hand"
    contenders = [
        jitted(against, by_hand, careful.zeros(by_hand, num_learned, num_input), batch),
        jitted(size, metric.update, metric.init(), batch, against=against),
    ]
    notes: tuple[str, ...] = ()
    if by_hand is careful.training:
        few = f"{size}, four numbers in naive JAX"
        zeros = naive.init(num_learned)
        contenders.append(jitted(few, naive.update, zeros, batch, against=against))
        notes = ("the four numbers are density, L0, L1 and L2, without error bars",)
    return Comparison(
        suite="by_size",
        title=f"{name}, {size} {dtype}",
        shape=size,
        dtype=dtype,
        contenders=contenders,
        figure=FIGURE,
        panel=name,
        series=dtype,
        notes=notes,
        seconds=3.0,
    )
