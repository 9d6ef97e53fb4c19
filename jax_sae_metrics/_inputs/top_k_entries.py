"""Entries of activations, equally many in each vector."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Int32, Shaped

from .._reductions import plain_sum
from .entries import AbstractEntries
from .items import Items
from .top_k import TopKActivations


@dataclasses.dataclass(frozen=True, eq=False)
class TopKEntries(AbstractEntries):
    """The entries of `TopKActivations`: arrays `[*batch, component?, k]`."""

    given: TopKActivations
    items: Items

    @property
    def features(self) -> Int32[Array, "*entries"]:
        """The feature of each entry, whatever it is for padding."""
        return self.given.indices.astype(jnp.int32)

    def of_vectors(self, per_vector: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
        """A number of each vector `[*batch, component?]`, for each of its entries."""
        return jnp.broadcast_to(per_vector[..., None], self.given.values.shape)

    def total_per_vector(self, per_entry: Shaped[Array, "*entries"]) -> Array:
        """The sum over entries, or the count of True, `[*batch, component?]`."""
        return plain_sum(per_entry, (-1,), per_entry.shape[-1])
