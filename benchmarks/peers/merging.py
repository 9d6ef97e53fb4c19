"""Contenders whose state is the merged metrics of all batches."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from ..jitted import jitted
from ..measure import Contender


def merging(
    name: str,
    observe: Callable[..., PyTree],
    merge: Callable[[PyTree, PyTree], PyTree],
    batch: Mapping[str, Array],
    against: str,
) -> Contender:
    """One jitted function makes the metrics of a batch and merges them into the state."""

    def update(state: PyTree, **inputs: Any) -> PyTree:
        return merge(state, observe(**inputs))

    shapes = jax.eval_shape(lambda inputs: observe(**inputs), dict(batch))
    empty = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return jitted(name, update, empty, batch, against=against)
