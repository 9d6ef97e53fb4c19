"""Additions to few entries of a large array."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float32, Int32

from .accumulator import AxisName
from .gather import gather


class Scattered(eqx.Module):
    """What an observation adds to few of the `size` features: `values` at `indices`.

    Values at the same index add up; an index of `size` or more adds nothing. Metrics see it only
    on the way from `TopKActivations` to an accumulator: `observe` returns plain arrays.
    """

    indices: Int32[Array, "*component entry"]
    values: Int32[Array, "*component entry"] | Float32[Array, "*component entry"]
    size: int = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array that is added to."""
        return (*self.indices.shape[:-1], self.size)

    def dense(self) -> Array:
        """The additions as an array with an entry for every feature."""
        return scatter_add(jnp.zeros(self.shape, self.values.dtype), self.indices, self.values)

    def is_few(self, axis_name: AxisName | None) -> bool:
        """Whether there are fewer additions, on all devices together, than features."""
        num_devices = 1 if axis_name is None else lax.axis_size(axis_name)
        return num_devices * self.indices.shape[-1] < self.size

    def gathered(self, axis_name: AxisName | None) -> "Scattered":
        """The additions of all devices together."""
        if axis_name is None:
            return self
        indices, values = (
            jnp.concatenate(list(devices), axis=-1)
            for devices in gather((self.indices, self.values), axis_name)
        )
        return Scattered(indices=indices, values=values, size=self.size)


def scatter_add(array: Array, indices: Array, values: Any) -> Array:
    """Add values at indices along the last axis, for each component."""
    return _at(array, indices).add(values, mode="drop", **_kept(array), **_UNSIGNED)


def scatter_set(array: Array, indices: Array, values: Any) -> Array:
    """Set values at indices along the last axis, for each component."""
    return _at(array, indices).set(values, mode="drop", **_kept(array), **_UNSIGNED)


def take(array: Array, indices: Array) -> Array:
    """The entries at indices along the last axis, for each component; 0 out of range."""
    explicit = jax.typeof(array).sharding.mesh.explicit_axes
    everywhere = {"out_sharding": PartitionSpec()} if explicit else {}
    return _at(array, indices).get(mode="fill", fill_value=0, **everywhere, **_UNSIGNED)


# Negative indices are out of range too, instead of counting from the end.
_UNSIGNED: dict[str, Any] = {"wrap_negative_indices": False}


def _at(array: Array, indices: Array) -> Any:
    if array.ndim == 1:
        return array.at[indices]
    component = jnp.arange(array.shape[0], dtype=indices.dtype)[:, None]
    return array.at[component, indices]


def _kept(array: Array) -> dict[str, Any]:
    sharding = jax.typeof(array).sharding
    return {"out_sharding": sharding} if sharding.mesh.explicit_axes else {}
