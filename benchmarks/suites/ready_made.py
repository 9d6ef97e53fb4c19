"""The ready-made collections and loops in C for the same sums, against one read of all inputs."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jaxtyping import Array

import jax_sae_metrics as jsm

from ..inputs import in_words, training_batch
from ..jitted import jitted
from ..measure import Comparison, Figure
from ..peers import with_c

if TYPE_CHECKING:
    from . import Builder

FIGURE = Figure(
    "ready_made",
    "The ready-made collections, against one read of their inputs",
    "time, in reads of source, learned and decoded activations",
)
READ = "one read of all inputs"
COLLECTIONS: dict[str, Callable[[int, int], jsm.MetricCollection]] = {
    "training_metrics": jsm.training_metrics,
    "evaluation_metrics": jsm.evaluation_metrics,
}
# Where the time of training_metrics goes: the arrays and the metrics of each part.
PARTS = {
    "training_metrics, of learned alone": (
        ("learned",),
        ("l0", "l1", "feature_density", "dead_features"),
    ),
    "training_metrics, of source and decoded alone": (
        ("source", "decoded"),
        ("mse", "explained_variance"),
    ),
}


def suite(is_quick: bool) -> "Iterator[Builder]":
    """An autoencoder that is wide for its input, and one that is not; both dtypes."""
    sizes = [(64, 32, 256)] if is_quick else [(4096, 512, 16384), (4096, 4096, 16384)]
    for size in sizes:
        for dtype in ("float32", "bfloat16"):
            yield partial(_compare, *size, dtype)


def _compare(batch_size: int, num_input: int, num_learned: int, dtype: str) -> Comparison:
    shape = (batch_size, num_learned)
    batch = training_batch(shape, dtype, num_input)
    updates = {name: (build(num_learned, num_input), batch) for name, build in COLLECTIONS.items()}
    metrics = updates["training_metrics"][0].metrics
    for name, (arrays, mine) in PARTS.items():
        part = jsm.MetricCollection({each: metrics[each] for each in mine})
        updates[name] = (
            part,
            {f"{array}_activations": batch[f"{array}_activations"] for array in arrays},
        )
    in_c = with_c.contenders(batch, READ)
    name = f"{in_words(shape)} {dtype}, {num_input} input features"
    return Comparison(
        suite="ready_made",
        title=name,
        shape=in_words(shape),
        dtype=dtype,
        contenders=[
            jitted(READ, _read_once, jnp.float32(0), batch),
            *(
                jitted(name, metrics.update, metrics.init(), inputs, against=READ)
                for name, (metrics, inputs) in updates.items()
            ),
            *in_c,
        ],
        figure=FIGURE,
        panel=f"{in_words(shape)}, {num_input} input features",
        series=dtype,
        notes=(with_c.NOTE,) if in_c else (),
        seconds=20.0,
    )


def _read_once(state: Array, **batch: Array) -> Array:
    highest = [jnp.max(array).astype(jnp.float32) for array in jax.tree.leaves(batch)]
    return jnp.maximum(state, jnp.max(jnp.stack(highest)))
