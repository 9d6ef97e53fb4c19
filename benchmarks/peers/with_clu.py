"""The numbers of the training collection with the metrics of clu, jitted and merged."""

from collections.abc import Callable, Mapping
from typing import Any

import clu.metrics
import flax
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from ..measure import Contender
from .merging import merging

NOTE = (
    "clu: its Average holds a single number, so that the firing counts are a Metric written for "
    "the purpose (density, fired count and dead follow from one of them); L0, L1, L2 are Averages."
)


def contender(batch: Mapping[str, Array], against: str) -> Contender:
    """A `clu.metrics.Collection`."""

    @flax.struct.dataclass
    class Metrics(clu.metrics.Collection):
        fired: FiringCounts
        l0: _average_of(_l0)
        l1: _average_of(_l1)
        l2: _average_of(_l2)

    return merging("clu", Metrics.single_from_model_output, _merge, batch, against)


@flax.struct.dataclass
class FiringCounts(clu.metrics.Metric):
    """How often each feature fired, and in how many vectors it could."""

    fired: Array
    num_vectors: Array

    @classmethod
    def from_model_output(cls, learned_activations: Array, **_: Any) -> "FiringCounts":
        """The counts of one batch."""
        return cls(
            fired=(learned_activations > 0).sum(0),
            num_vectors=jnp.int32(learned_activations.shape[0]),
        )

    def merge(self, other: "FiringCounts") -> "FiringCounts":
        """The counts of both."""
        return jax.tree.map(jnp.add, self, other)


def _average_of(function: Callable[..., Array]) -> type[clu.metrics.Metric]:
    return clu.metrics.Average.from_fun(function)


def _l0(learned_activations: Array, **_: Any) -> Array:
    return (learned_activations != 0).sum(-1).astype(jnp.float32)


def _l1(learned_activations: Array, **_: Any) -> Array:
    return jnp.abs(learned_activations).sum(-1, dtype=jnp.float32)


def _l2(source_activations: Array, decoded_activations: Array, **_: Any) -> Array:
    return jnp.square(decoded_activations - source_activations).mean(-1, dtype=jnp.float32)


def _merge(state: PyTree, observation: PyTree) -> PyTree:
    return state.merge(observation)
