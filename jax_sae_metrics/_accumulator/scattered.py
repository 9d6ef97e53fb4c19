"""Additions to few entries of a large array."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float32, Int32, PyTree, Shaped

from .._arrays import AxisName, is_static, map_nodes, nodes_of
from .at_indices import At, is_first, scatter_max, take
from .gather import gather
from .sum_at_indices import sum_at_indices


class Scattered(eqx.Module):
    """What a batch adds to few entries of an array `[component?, feature]`: `values` at places.

    Values at the same place add up; for a maximum, the largest counts. A place out of range adds
    nothing. It stays inside the library: `observe` returns dense arrays.
    """

    at: At
    values: Int32[Array, " entry"] | Float32[Array, " entry"]
    shape: tuple[int, ...] = eqx.field(static=True)
    is_maximum: bool = eqx.field(static=True, default=False)

    @property
    def dtype(self) -> Any:
        """The dtype of the additions."""
        return self.values.dtype

    def dense(self) -> Array:
        """The additions as an array with an entry for every feature."""
        dtype = self.values.dtype
        if self.is_maximum:
            empty = -jnp.inf if jnp.issubdtype(dtype, jnp.floating) else 0
            return scatter_max(jnp.full(self.shape, empty, dtype), self.at, self.values)
        return sum_at_indices(self.at, self.values, self.shape)

    def is_few(self, axis_name: AxisName | None) -> bool:
        """Whether there are fewer additions, on all devices together, than entries."""
        num_devices = 1 if axis_name is None else lax.axis_size(axis_name)
        (num_additions,) = self.values.shape
        return is_static(num_additions) and num_devices * num_additions < math.prod(self.shape)

    def gathered(self, axis_name: AxisName | None) -> "Scattered":
        """The additions of all devices together."""
        if axis_name is None:
            return self
        at, values = jax.tree.map(jnp.ravel, gather((self.at, self.values), axis_name))
        return Scattered(at, values, self.shape, self.is_maximum)

    def at_different_places(self) -> "Scattered":
        """The same additions, none of them at the same place as another."""
        *at, values = lax.sort((*self.at, self.values), num_keys=len(self.at))
        place = jnp.cumsum(is_first(tuple(at)), dtype=jnp.int32) - 1
        unused = [jnp.full_like(indices, max(self.shape)) for indices in at]
        at = [nowhere.at[place].set(indices) for nowhere, indices in zip(unused, at, strict=True)]
        return Scattered(tuple(at), sum_at_indices((place,), values, values.shape), self.shape)

    def of_components(self, per_component: Shaped[Array, "*component"]) -> Shaped[Array, "..."]:
        """A number of each component, for each addition to it; without components, the number."""
        component = self.at[:-1]
        return take(per_component, component) if component else per_component


def is_few(added: PyTree, axis_name: AxisName | None) -> bool:
    """Whether there are scattered additions, each of them with fewer entries than features."""
    scattered = nodes_of(Scattered, added)
    return bool(scattered) and all(node.is_few(axis_name) for node in scattered)


def dense(added: PyTree) -> PyTree:
    """What is added, with an entry for every feature."""
    return map_nodes(Scattered, Scattered.dense, added)
