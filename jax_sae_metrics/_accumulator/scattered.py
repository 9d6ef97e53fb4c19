"""Additions to few entries of a large array."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float32, Int32, PyTree

from .._arrays import AxisName, is_static, map_nodes, nodes_of
from .at_indices import scatter_max
from .gather import gather
from .sum_at_indices import sum_at_indices


class Scattered(eqx.Module):
    """What a batch adds to few of the `size` features: `values` at `indices`.

    Values at the same index add up; for a maximum, the largest counts. An index of `size` or more
    adds nothing. It stays inside the library: `observe` returns dense arrays.
    """

    indices: Int32[Array, "*component entry"]
    values: Int32[Array, "*component entry"] | Float32[Array, "*component entry"]
    size: int = eqx.field(static=True)
    is_maximum: bool = eqx.field(static=True, default=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array that is added to."""
        return (*self.indices.shape[:-1], self.size)

    @property
    def dtype(self) -> Any:
        """The dtype of the additions."""
        return self.values.dtype

    def dense(self) -> Array:
        """The additions as an array with an entry for every feature."""
        dtype = self.values.dtype
        if self.is_maximum:
            empty = -jnp.inf if jnp.issubdtype(dtype, jnp.floating) else 0
            return scatter_max(jnp.full(self.shape, empty, dtype), self.indices, self.values)
        return sum_at_indices(self.indices, self.values, self.size)

    def is_few(self, axis_name: AxisName | None) -> bool:
        """Whether there are fewer additions, on all devices together, than features."""
        num_devices = 1 if axis_name is None else lax.axis_size(axis_name)
        num_entries = self.indices.shape[-1]
        return is_static(num_entries) and num_devices * num_entries < self.size

    def gathered(self, axis_name: AxisName | None) -> "Scattered":
        """The additions of all devices together."""
        if axis_name is None:
            return self
        indices, values = (
            jnp.concatenate(list(devices), axis=-1)
            for devices in gather((self.indices, self.values), axis_name)
        )
        return Scattered(indices, values, self.size, self.is_maximum)

    def at_different_indices(self) -> "Scattered":
        """The same additions, none of them at the same index as another."""
        one_run = jax.vmap(self._added_up) if self.indices.ndim > 1 else self._added_up
        return Scattered(*one_run(self.indices, self.values), self.size)

    def _added_up(self, indices: Array, values: Array) -> tuple[Array, Array]:
        indices, values = lax.sort((indices, values), num_keys=1)
        is_new = jnp.diff(indices, prepend=jnp.int32(-1)) != 0
        place = jnp.cumsum(is_new, dtype=jnp.int32) - 1
        unused = jnp.full(indices.shape, self.size, indices.dtype)
        return unused.at[place].set(indices), sum_at_indices(place, values, len(values))


def is_few(added: PyTree, axis_name: AxisName | None) -> bool:
    """Whether there are scattered additions, each of them with fewer entries than features."""
    scattered = nodes_of(Scattered, added)
    return bool(scattered) and all(node.is_few(axis_name) for node in scattered)


def dense(added: PyTree) -> PyTree:
    """What is added, with an entry for every feature."""
    return map_nodes(Scattered, Scattered.dense, added)
