"""Entries of activations in one list, any number of them in each vector."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Int32, Shaped

from .._accumulator import scatter_add, take
from .._arrays import unsharded
from .entries import AbstractEntries
from .items import Items
from .sparse import SparseActivations


@dataclasses.dataclass(frozen=True, eq=False)
class SparseEntries(AbstractEntries):
    """The entries of `SparseActivations`: arrays `[entry]`."""

    given: SparseActivations
    items: Items

    @property
    def features(self) -> Int32[Array, "*entries"]:
        """The feature of each entry, whatever it is for padding."""
        return self.given.feature_indices.astype(jnp.int32)

    def of_vectors(self, per_vector: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
        """A number of each vector `[*batch, component?]`, for each of its entries."""
        return take(unsharded(per_vector).reshape(-1), self._vectors)

    def total_per_vector(self, per_entry: Shaped[Array, "*entries"]) -> Array:
        """The sum over entries, or the count of True, `[*batch, component?]`."""
        is_float = jnp.issubdtype(per_entry.dtype, jnp.floating)
        per_entry = unsharded(per_entry.astype(jnp.float32 if is_float else jnp.int32))
        zeros = jnp.zeros(self.given.shape[:-1], per_entry.dtype).reshape(-1)
        return scatter_add(zeros, self._vectors, per_entry).reshape(self.given.shape[:-1])

    @property
    def _vectors(self) -> tuple[Int32[Array, " entry"]]:
        return (unsharded(self.given.vector_indices.astype(jnp.int32)),)
