"""A whole train step with and without metrics."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import jax
from jaxtyping import PyTree

import jax_sae_metrics as jsm

from ..inputs import NUM_INPUT_FEATURES
from ..jitted import jitted
from ..measure import Comparison, Contender, Figure
from ..optional import import_or_skip
from ..peers import naive
from ..step import Sizes, TrainStep, accumulate_nothing, observe_nothing

if TYPE_CHECKING:
    from . import Builder

FIGURE = Figure(
    "train_step",
    "A train step with metrics, against the same step without",
    "time, in steps without metrics",
)
WITHOUT = "without metrics"


def suite(is_quick: bool) -> "Iterator[Builder]":
    """Two batch sizes and two widths; many rounds for differences as small as this library's."""
    if import_or_skip("optax", "train step") is None:
        return
    sizes = [
        Sizes(batch, NUM_INPUT_FEATURES, learned)
        for batch in (1024, 4096)
        for learned in (8192, 16384)
    ]
    for size in [Sizes(64, 32, 128)] if is_quick else sizes:
        yield partial(_compare, size, _ours, 60)
        yield partial(_compare, size, _naive, 10)


# A name, a state, and `observe` and `accumulate`.
Metrics = tuple[str, PyTree, Callable[..., PyTree], Callable[..., PyTree]]


def _ours(sizes: Sizes) -> list[Metrics]:
    collections = {
        "training_metrics": jsm.training_metrics(sizes.learned, sizes.input),
        "evaluation_metrics": jsm.evaluation_metrics(sizes.learned, sizes.input),
    }
    return [(name, m.init(), m.observe, m.accumulate) for name, m in collections.items()]


def _naive(sizes: Sizes) -> list[Metrics]:
    return [("naive JAX metrics", naive.init(sizes.learned), naive.observe, naive.accumulate)]


def _compare(
    sizes: Sizes, metrics: Callable[[Sizes], list[Metrics]], fewest_rounds: int
) -> Comparison:
    keys = jax.random.split(jax.random.key(2))
    batches = [{"source": jax.random.normal(key, (sizes.batch, sizes.input))} for key in keys]

    def contender(
        name: str, state: PyTree, observe: Callable[..., PyTree], accumulate: Callable[..., PyTree]
    ) -> Contender:
        step = TrainStep(sizes, observe, accumulate)
        against = None if name == WITHOUT else WITHOUT
        return jitted(name, step, step.init(state), *batches, against=against)

    name = f"batch {sizes.batch}, {sizes.input} input features, {sizes.learned} learned"
    return Comparison(
        suite="train_step",
        title=name,
        shape=f"{sizes.batch} x {sizes.learned}",
        dtype="float32",
        contenders=[
            contender(WITHOUT, None, observe_nothing, accumulate_nothing),
            *(contender(*each) for each in metrics(sizes)),
        ],
        figure=FIGURE,
        panel=name,
        notes=("Adam, ReLU, squared error and L1; metrics are observed in the loss function",),
        seconds=10.0,
        fewest_rounds=fewest_rounds,
    )
