"""A fixed number of whole vectors, in the order in which they came."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int32

from .accumulator import AbstractAccumulator, AxisName
from .gather import gather


class VectorRows(eqx.Module):
    """Vectors to append to a `VectorBuffer`, and which of them count."""

    values: Float[Array, "*component feature vector"]
    valid: Bool[Array, "*component vector"]


class VectorBuffer(AbstractAccumulator):
    """The first `capacity` vectors seen, per component; what comes after them is dropped.

    The vectors lie along the last axis, so that a sharding of `[component?, feature]` fits the
    buffer too. Unused places hold zeros.
    """

    values: Float[Array, "*component feature capacity"]
    num_filled: Int32[Array, "*component"]

    @classmethod
    def zeros(cls, shape: tuple[int, ...], capacity: int) -> "VectorBuffer":
        """An empty buffer for `capacity` vectors of the given shape `[component?, feature]`."""
        return cls(
            values=jnp.zeros((*shape, capacity), jnp.float32),
            num_filled=jnp.zeros(shape[:-1], jnp.int32),
        )

    def add(self, observation: VectorRows, axis_name: AxisName | None = None) -> "VectorBuffer":
        """Append the valid vectors, device by device where `axis_name` is given."""
        if axis_name is not None:
            observation = _concatenate(gather(observation, axis_name))
        if observation.valid.shape[-1] == 0:
            return self
        append = _append
        for _ in self.num_filled.shape:
            append = jax.vmap(append)
        values, num_filled = append(
            self.values, self.num_filled, observation.values, observation.valid
        )
        return VectorBuffer(values=values, num_filled=num_filled)

    def merge(self, later: "VectorBuffer") -> "VectorBuffer":
        """Append the vectors of the later buffer."""
        return self.add(later._rows())

    def all_reduce(self, axis_name: AxisName) -> "VectorBuffer":
        """The vectors of all devices, in the order of the devices."""
        *shape, capacity = self.values.shape
        return VectorBuffer.zeros(tuple(shape), capacity).add(self._rows(), axis_name)

    def _rows(self) -> VectorRows:
        shape = (*self.num_filled.shape, self.values.shape[-1])
        places = lax.broadcasted_iota(jnp.int32, shape, self.num_filled.ndim)
        return VectorRows(values=self.values, valid=places < self.num_filled[..., None])


def _concatenate(devices: VectorRows) -> VectorRows:
    """Turn a leading device axis into one long run of vectors."""

    def join(leaf: Array) -> Array:
        leaf = jnp.moveaxis(leaf, 0, -2)
        return leaf.reshape(*leaf.shape[:-2], -1)

    return jax.tree.map(join, devices)


def _append(
    values: Float[Array, "feature capacity"],
    num_filled: Int32[Array, ""],
    rows: Float[Array, "feature vector"],
    valid: Bool[Array, " vector"],
) -> tuple[Float[Array, "feature capacity"], Int32[Array, ""]]:
    # Each free place looks up which valid row is its own: a gather, where a scatter would need to
    # be told how its result is sharded.
    capacity = values.shape[-1]
    num_valid = jnp.cumsum(valid, dtype=jnp.int32)
    rank = jnp.arange(capacity, dtype=jnp.int32) - num_filled + 1
    source = jnp.searchsorted(num_valid, rank)
    wanted = (rank >= 1) & (rank <= num_valid[-1])
    taken = jnp.take(rows, source, axis=-1, mode="clip")
    filled = jnp.minimum(num_filled + num_valid[-1], capacity)
    return jnp.where(wanted[None], taken, values), filled
