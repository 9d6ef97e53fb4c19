"""Exact integers to 2^64, without x64."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float32, Int, UInt32

from .._arrays import AxisName
from .accumulator import AbstractAccumulator
from .added import check_array
from .at_indices import At, scatter_add, scatter_set, take
from .scattered import Scattered

_HALF = np.uint32(2**31)
_HALF_BITS = 16
_LOW_HALF = 0xFFFF


class Count(AbstractAccumulator):
    r"""Unsigned integers, exact to $2^{64} - 1$ whether or not x64 is enabled.

    The value is $2^{32} \cdot \text{high} + \text{low}$, two uint32 words. JAX without x64 has no
    64-bit integers: an int32 counter wraps at $2^{31}$ and a float32 one stops at $2^{24}$.

    A batch adds one int32 array of the same shape, read as unsigned: up to $2^{32} - 1$ per entry
    and device. Sums over devices are exact for up to 65536 devices.

    !!! Example

        >>> import jax, jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> largest = jnp.asarray(2**31 - 1, jnp.int32)
        >>> count = jsm.Count.zeros(()).add(largest).add(largest).add(largest)
        >>> int(count.to_numpy())
        6442450941
        >>> int(count.to_int())  # without x64: saturated at 2^31 - 1, never wrapped
        2147483647
    """

    high: UInt32[Array, "*shape"]
    low: UInt32[Array, "*shape"]

    @classmethod
    def zeros(cls, shape: tuple[int, ...]) -> "Count":
        """An empty count of the given shape."""
        # One buffer for each word, so that a donated state never holds the same buffer twice.
        return cls(high=jnp.zeros(shape, jnp.uint32), low=jnp.zeros(shape, jnp.uint32))

    def _check(self, added: Any) -> None:
        check_array(added, "Count", self.low.shape, jnp.int32)

    def _add(self, added: Any, axis_name: AxisName | None) -> "Count":
        words = added.astype(jnp.uint32)
        if axis_name is None:
            return self._plus(jnp.zeros_like(words), words)
        return self._plus(*_psum_words(words, axis_name))

    def merge(self, later: "Count") -> "Count":
        """The sum of both counts."""
        return self._plus(later.high, later.low)

    def all_reduce(self, axis_name: AxisName) -> "Count":
        """The sum of the counts of all devices."""
        carry, low = _psum_words(self.low, axis_name)
        return Count(high=lax.psum(self.high, axis_name) + carry, low=low)

    def minus(self, part: "Count") -> "Count":
        """The rest of a count after a part of it is taken away."""
        borrow = (self.low < part.low).astype(jnp.uint32)
        return Count(high=self.high - part.high - borrow, low=self.low - part.low)

    def to_int(self) -> Int[Array, "*shape"]:
        """The value as int64 under x64, else as int32; either saturates and never wraps."""
        dtype = jnp.result_type(int)
        value = self.low.astype(dtype)
        if dtype == jnp.int64:
            value = (self.high.astype(dtype) << 32) | value
            excess = self.high >> 31
        else:
            excess = self.high | (self.low >> 31)
        return jnp.where(excess == 0, value, jnp.iinfo(dtype).max)

    def to_float(self) -> Float32[Array, "*shape"]:
        """The value as float32, within one unit in the last place."""
        return self.high.astype(jnp.float32) * np.float32(2**32) + self.low.astype(jnp.float32)

    def to_numpy(self) -> np.ndarray:
        """The exact value as NumPy uint64, on the host."""
        high, low = np.asarray(self.high), np.asarray(self.low)
        return np.asarray((high.astype(np.uint64) << np.uint64(32)) | low.astype(np.uint64))

    def _plus(self, high: UInt32[Array, "*shape"], low: UInt32[Array, "*shape"]) -> "Count":
        return Count(*_sum_of_words((self.high, self.low), (high, low)))

    def _add_few(self, added: Scattered, axis_name: AxisName | None) -> "Count":
        added = added.gathered(axis_name)
        # Only the entries that are added to are read or written. A carry can happen only where the
        # low word is at least half full, and is looked for only there.
        values = added.values.astype(jnp.uint32)
        may_wrap = take(self.low, added.at) >= _HALF

        def only(where: Array) -> At:
            return tuple(jnp.where(where, index, max(added.shape)) for index in added.at)

        low = scatter_add(self.low, only(~may_wrap), values)

        def carry(low: Array, high: Array) -> tuple[Array, Array]:
            low = scatter_add(low, only(may_wrap), values)
            wrapped = only(may_wrap & (take(low, added.at) < _HALF))
            return low, scatter_set(high, wrapped, take(high, added.at) + jnp.uint32(1))

        # This sets nothing. Under shard_map, it makes `high` vary over the same devices in both
        # branches.
        outside = tuple(jnp.maximum(index[:1], max(added.shape)) for index in added.at)
        high = scatter_set(self.high, outside, jnp.uint32(0))
        low, high = lax.cond(jnp.any(may_wrap), carry, lambda low, high: (low, high), low, high)
        return Count(high=high, low=low)


# Traced once for all counts of the same shape.
@jax.jit
def _sum_of_words(one: tuple[Array, Array], other: tuple[Array, Array]) -> tuple[Array, Array]:
    low = one[1] + other[1]
    carry = (low < other[1]).astype(jnp.uint32)
    return one[0] + other[0] + carry, low


def _psum_words(
    words: UInt32[Array, "*shape"], axis_name: AxisName
) -> tuple[UInt32[Array, "*shape"], UInt32[Array, "*shape"]]:
    """The 64-bit sum of 32-bit words over devices, as (high, low)."""
    # A plain psum wraps at 2^32; sums of the 16-bit halves cannot, for up to 65536 devices.
    upper, lower = lax.psum((words >> _HALF_BITS, words & _LOW_HALF), axis_name)
    upper = upper + (lower >> _HALF_BITS)
    return upper >> _HALF_BITS, (upper << _HALF_BITS) | (lower & _LOW_HALF)
