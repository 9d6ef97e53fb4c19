"""A fixed number of whole vectors, in the order in which they came."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int32

from .._arrays import AxisName, is_static
from .accumulator import AbstractAccumulator
from .added import AbstractRecord, check_array, check_record
from .gather import gather, side_by_side


class VectorRecord(AbstractRecord):
    """Vectors to append to a `VectorBuffer`, in order, and which of them count."""

    values: Float[Array, "*component feature vector"]
    valid: Bool[Array, "*component vector"]

    def combine(self, later: "VectorRecord") -> "VectorRecord":
        """The vectors of both batches, one after the other."""
        return VectorRecord(
            values=jnp.concatenate([self.values, later.values], axis=-1),
            valid=jnp.concatenate([self.valid, later.valid], axis=-1),
        )


class VectorBuffer(AbstractAccumulator):
    """The first `capacity` vectors seen, per component; later ones are dropped.

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

    def _check(self, added: Any) -> None:
        check_record(added, "VectorBuffer", VectorRecord)
        shape = (*self.values.shape[:-1], added.values.shape[-1])
        check_array(added.values, "VectorBuffer", shape, jnp.float32)

    def _add(self, added: Any, axis_name: AxisName | None) -> "VectorBuffer":
        """Append the valid vectors, device by device where `axis_name` is given."""
        values, valid = added.values, added.valid
        if axis_name is not None:
            values, valid = map(side_by_side, gather((values, valid), axis_name))
        if valid.shape[-1] == 0:
            return self
        append = _append
        for _ in self.num_filled.shape:
            append = jax.vmap(append)
        return VectorBuffer(*append(self.values, self.num_filled, values, valid))

    def _merge(self, later: "VectorBuffer") -> "VectorBuffer":
        return self._add(later._vectors(), None)

    def all_reduce(self, axis_name: AxisName) -> "VectorBuffer":
        """The vectors of all devices, in the order of the devices."""
        *shape, capacity = self.values.shape
        return VectorBuffer.zeros(tuple(shape), capacity).add(self._vectors(), axis_name)

    def _vectors(self) -> VectorRecord:
        shape = (*self.num_filled.shape, self.values.shape[-1])
        places = lax.broadcasted_iota(jnp.int32, shape, self.num_filled.ndim)
        return VectorRecord(values=self.values, valid=places < self.num_filled[..., None])


def _append(
    values: Float[Array, "feature capacity"],
    num_filled: Int32[Array, ""],
    vectors: Float[Array, "feature vector"],
    valid: Bool[Array, " vector"],
) -> tuple[Float[Array, "feature capacity"], Int32[Array, ""]]:
    # Each free place looks up its valid vector. This is a gather: a scatter would have to be told
    # how its result is sharded.
    capacity = values.shape[-1]
    num_valid = jnp.cumsum(valid, dtype=jnp.int32)
    rank = jnp.arange(capacity, dtype=jnp.int32) - num_filled + 1
    if is_static(*valid.shape):
        source = jnp.searchsorted(num_valid, rank)
    else:  # JAX searches no array of unknown size
        source = jnp.sum(num_valid[None] < rank[:, None], axis=1, dtype=jnp.int32)
    wanted = (rank >= 1) & (rank <= num_valid[-1])
    taken = jnp.take(vectors, source, axis=-1, mode="clip")
    filled = jnp.minimum(num_filled + num_valid[-1], capacity)
    return jnp.where(wanted[None], taken, values), filled
