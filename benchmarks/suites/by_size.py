"""Single metrics and ready-made collections against code by hand, from one vector to thousands."""

from collections.abc import Iterator
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


def suite(is_quick: bool) -> "Iterator[Builder]":
    """Every size, in both dtypes."""
    for size in ((1, 64, 32), (17, 64, 32)) if is_quick else SIZES:
        for dtype in ("float32", "bfloat16"):
            yield partial(_compare, *size, dtype)


def _compare(num_vectors: int, num_learned: int, num_input: int, dtype: str) -> Comparison:
    batch = training_batch((num_vectors, num_learned), dtype, num_input)
    training = jsm.training_metrics(num_learned, num_input)
    pairs: dict[str, tuple[jsm.AbstractMetric[Any], Any, tuple[str, ...]]] = {
        "FeatureDensity": (jsm.FeatureDensity(num_learned), careful.density, _CODES),
        "L0Norm": (jsm.L0Norm(), careful.l0, _CODES),
        "ExplainedVariance": (
            jsm.ExplainedVariance(num_input),
            careful.explained_variance,
            _BOTH,
        ),
        "training_metrics": (training, careful.training, _CODES + _BOTH),
    }
    contenders = []
    for name, (metric, by_hand, inputs) in pairs.items():
        mine = {key: batch[key] for key in inputs}
        state = careful.zeros(by_hand, num_learned, num_input)
        contenders += [
            jitted(f"{name}, by hand", by_hand, state, mine),
            jitted(name, metric.update, metric.init(), mine, against=f"{name}, by hand"),
        ]
    contenders.append(
        jitted(
            "density, L0, L1, L2 in naive JAX",
            naive.update,
            naive.init(num_learned),
            batch,
            against="training_metrics, by hand",
        )
    )
    shape = (num_vectors, num_learned)
    return Comparison(
        suite="by_size",
        title=f"{in_words(shape)} {dtype}, {num_input} input features",
        shape=in_words(shape),
        dtype=dtype,
        contenders=contenders,
        figure=FIGURE,
        panel=f"{in_words(shape)} ({num_input})",
        series=dtype,
    )
