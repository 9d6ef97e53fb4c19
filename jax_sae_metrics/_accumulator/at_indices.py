"""Reading and writing entries of large arrays, for each component."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array

from .._arrays import sharded_as


def scatter_add(array: Array, indices: Array, values: Any) -> Array:
    """Add values at indices along the last axis, for each component."""
    return _at(array, indices).add(values, mode="drop", **sharded_as(array), **_UNSIGNED)


def scatter_max(array: Array, indices: Array, values: Any) -> Array:
    """Take the larger of old and new at indices along the last axis, for each component."""
    return _at(array, indices).max(values, mode="drop", **sharded_as(array), **_UNSIGNED)


def scatter_set(array: Array, indices: Array, values: Any) -> Array:
    """Set values at indices along the last axis, for each component."""
    return _at(array, indices).set(values, mode="drop", **sharded_as(array), **_UNSIGNED)


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
