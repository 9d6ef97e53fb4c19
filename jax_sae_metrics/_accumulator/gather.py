"""All devices' values side by side, equal on every device."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from .._arrays import AxisName


def gather(tree: PyTree[Array], axis_name: AxisName) -> PyTree[Array]:
    """Stack every leaf over the devices of `axis_name`, along a new leading axis.

    This is a psum of one-hot placements, not `lax.all_gather`. JAX knows that the result of a psum
    is the same on all devices, and `jax.shard_map(check_vma=True)` asks for that in a replicated
    output.
    """
    here = jnp.arange(lax.axis_size(axis_name), dtype=jnp.int32) == lax.axis_index(axis_name)

    def place(leaf: Array) -> Array:
        mine = here.reshape(-1, *(1,) * leaf.ndim)
        rows = jnp.where(mine, leaf[None], jnp.zeros((), leaf.dtype))
        return lax.psum(rows, axis_name).astype(leaf.dtype)  # psum makes bool int32

    return jax.tree.map(place, tree)


def side_by_side(devices: Array) -> Array:
    """What `gather` returned, with the devices one after the other along the last axis."""
    devices = jnp.moveaxis(devices, 0, -2)
    return devices.reshape(*devices.shape[:-2], -1)


def merge_devices(accumulator: Any, axis_name: AxisName) -> Any:
    """All devices' accumulators merged in pairs, so that errors grow with the number of rounds."""
    devices = gather(accumulator, axis_name)
    while (count := jax.tree.leaves(devices)[0].shape[0]) > 1:
        half = count // 2
        first, second, odd = (
            jax.tree.map(lambda leaf, part=part: leaf[part], devices)
            for part in (slice(half), slice(half, 2 * half), slice(2 * half, None))
        )
        merged = jax.vmap(lambda one, other: one._merge(other))(first, second)
        devices = jax.tree.map(lambda *parts: jnp.concatenate(parts), merged, odd)
    return jax.tree.map(lambda leaf: leaf[0], devices)
