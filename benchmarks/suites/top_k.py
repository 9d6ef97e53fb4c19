"""Activations given by the few features that are active, at widths up to 16 million."""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jaxtyping import Array

import jax_sae_metrics as jsm

from ..inputs import top_k_batch
from ..jitted import jitted
from ..measure import Comparison, Figure

if TYPE_CHECKING:
    from . import Builder

FIGURE = Figure(
    "top_k",
    "FeatureDensity of TopK activations, against a plain scatter-add",
    "time, in scatter-adds",
)
SCATTER = "plain scatter-add"
# With fewer features than this, the dense form of a batch fits any device.
_WIDEST_DENSE = 2**17
_NUM_BATCHES = 4


def suite(is_quick: bool) -> "Iterator[Builder]":
    """Four widths."""
    batch_size, k = (16, 4) if is_quick else (4096, 32)
    widths = (256, 1024) if is_quick else (2**14, 2**17, 2**20, 2**24)
    for num_learned_features in widths:
        yield partial(_compare, batch_size, k, num_learned_features)


def _compare(batch_size: int, k: int, num_learned_features: int) -> Comparison:
    given = [top_k_batch(batch_size, k, num_learned_features, seed) for seed in range(_NUM_BATCHES)]
    density = jsm.FeatureDensity(num_learned_features)
    num_indices = batch_size * k
    contenders = [
        jitted(
            SCATTER,
            _scatter_add,
            jnp.zeros(num_learned_features, jnp.int32),
            *({"indices": top_k.indices} for top_k in given),
            items=num_indices,
        ),
        jitted(
            "FeatureDensity, TopKActivations",
            density.update,
            density.init(),
            *({"learned_activations": top_k} for top_k in given),
            against=SCATTER,
            items=num_indices,
        ),
    ]
    if num_learned_features <= _WIDEST_DENSE:
        contenders.append(
            jitted(
                "FeatureDensity, dense array",
                density.update,
                density.init(),
                {"learned_activations": _dense(given[0])},
                against=SCATTER,
                items=num_indices,
            )
        )
    width = f"{num_learned_features:,} features"
    return Comparison(
        suite="top_k",
        title=f"{width}, batch {batch_size}, k {k}",
        shape=f"{batch_size} x {k} of {num_learned_features}",
        dtype="float32",
        contenders=contenders,
        figure=FIGURE,
        panel=f"batch {batch_size}, k {k}",
        series=width,
        notes=("each: time for one of the batch x k indices",),
    )


def _scatter_add(state: Array, *, indices: Array) -> Array:
    return state.at[indices.reshape(-1)].add(1)


@jax.jit
def _dense(top_k: jsm.TopKActivations) -> Array:
    batch_size, _ = top_k.values.shape
    zeros = jnp.zeros((batch_size, top_k.num_learned_features), top_k.values.dtype)
    return zeros.at[jnp.arange(batch_size)[:, None], top_k.indices].set(top_k.values)
