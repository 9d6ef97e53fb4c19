"""Explicit sharding, where an operation has no sharded form."""

import jax
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array


def unsharded(array: Array) -> Array:
    """The array whole on every device of an explicit mesh; elsewhere, the array."""
    mesh = jax.typeof(array).sharding.mesh
    whole = NamedSharding(mesh, PartitionSpec())
    return jax.sharding.reshard(array, whole) if mesh.explicit_axes else array
