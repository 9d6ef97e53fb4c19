"""Reading and writing entries of large arrays."""

import functools
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Int32, Shaped

from .._arrays import sharded_as

# An index along each axis, for each entry: (feature,), or (component, feature). An entry of which
# one is out of range is neither read nor written.
At: TypeAlias = tuple[Int32[Array, " entry"], ...]


def in_row(row: int, at: At) -> At:
    """The same places in one row of an array with a leading axis more."""
    return (jnp.full_like(at[0], row), *at)


def scatter_add(array: Array, at: At, values: Any) -> Array:
    """Add values to entries."""
    return array.at[at].add(values, mode="drop", **sharded_as(array), **_UNSIGNED)


def scatter_max(array: Array, at: At, values: Any) -> Array:
    """Take the larger of old and new."""
    return array.at[at].max(values, mode="drop", **sharded_as(array), **_UNSIGNED)


def scatter_set(array: Array, at: At, values: Any) -> Array:
    """Set entries."""
    return array.at[at].set(values, mode="drop", **sharded_as(array), **_UNSIGNED)


def take(array: Array, at: At) -> Shaped[Array, " entry"]:
    """The entries; 0 out of range."""
    explicit = jax.typeof(array).sharding.mesh.explicit_axes
    everywhere: dict[str, Any] = {"out_sharding": PartitionSpec()} if explicit else {}
    return array.at[at].get(mode="fill", fill_value=0, **everywhere, **_UNSIGNED)


def is_first(at: At) -> Bool[Array, " entry"]:
    """Where a place of a sorted list is another than the one before."""
    differs = [jnp.diff(indices, prepend=jnp.int32(-1)) != 0 for indices in at]
    return functools.reduce(jnp.logical_or, differs)


# Negative indices are out of range too, instead of counting from the end.
_UNSIGNED: dict[str, Any] = {"wrap_negative_indices": False}
