"""Exact integers to 2^64, without x64."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float32, Int, Int32, UInt32

from .._arrays import AxisName, halves, on_host
from .accumulator import AbstractAccumulator, SpecOf, specs_behind
from .added import check_array
from .at_indices import At, in_row, scatter_add, scatter_set, take
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

    # In one array: what a program costs that does little is the number of its results.
    words: UInt32[Array, "word=2 *shape"]

    def __init__(self, high: UInt32[Array, "*shape"], low: UInt32[Array, "*shape"]) -> None:
        self.words = jnp.stack([high, low])

    @classmethod
    def zeros(cls, shape: tuple[int, ...]) -> "Count":
        """An empty count of the given shape."""
        return cls(high=jnp.zeros(shape, jnp.uint32), low=jnp.zeros(shape, jnp.uint32))

    @classmethod
    def of(cls, added: Int32[Array, "*shape"]) -> "Count":
        """What one batch adds, as a count of its own."""
        low = added.astype(jnp.uint32)
        return cls(high=lax.full_like(low, 0), low=low)

    @property
    def high(self) -> UInt32[Array, "*shape"]:
        """The upper word."""
        return self.words[0]

    @property
    def low(self) -> UInt32[Array, "*shape"]:
        """The lower word."""
        return self.words[1]

    def _check(self, added: Any) -> None:
        check_array(added, "Count", self.words.shape[1:], jnp.int32)

    def _add(self, added: Any, axis_name: AxisName | None) -> "Count":
        low = added.astype(jnp.uint32)
        if axis_name is None:
            return Count(*_plus(halves(self.words), low))
        return Count(*_sum_of_words(halves(self.words), _psum_words(low, axis_name)))

    def _merge(self, later: "Count") -> "Count":
        return Count(*_sum_of_words(halves(self.words), halves(later.words)))

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
        high, low = on_host(self.words)
        return np.asarray((high.astype(np.uint64) << np.uint64(32)) | low.astype(np.uint64))

    def partition_specs(self, spec_of: SpecOf) -> Any:
        """The count, with a `PartitionSpec` in place of its array."""
        return specs_behind(1, spec_of, self)

    def _add_few(self, added: Scattered, axis_name: AxisName | None) -> "Count":
        added = added.gathered(axis_name)
        # Only the entries that are added to are read or written. A carry can happen only where the
        # low word is at least half full, and is looked for only there.
        values = added.values.astype(jnp.uint32)
        high, low = (in_row(word, added.at) for word in range(2))
        may_wrap = take(self.words, low) >= _HALF

        def only(where: Array, at: At) -> At:
            return tuple(jnp.where(where, index, max(2, *added.shape)) for index in at)

        words = scatter_add(self.words, only(~may_wrap, low), values)

        def carry(words: Array) -> Array:
            words = scatter_add(words, only(may_wrap, low), values)
            wrapped = may_wrap & (take(words, low) < _HALF)
            return scatter_set(words, only(wrapped, high), take(words, high) + jnp.uint32(1))

        words = lax.cond(jnp.any(may_wrap), carry, lambda words: words, words)
        return eqx.tree_at(lambda count: count.words, self, words)


def _sum_of_words(one: tuple[Array, Array], other: tuple[Array, Array]) -> tuple[Array, Array]:
    high, low = _plus(one, other[1])
    return high + other[0], low


def _plus(one: tuple[Array, Array], more: Array) -> tuple[Array, Array]:
    low = one[1] + more
    return one[0] + (low < more).astype(jnp.uint32), low


def _psum_words(
    words: UInt32[Array, "*shape"], axis_name: AxisName
) -> tuple[UInt32[Array, "*shape"], UInt32[Array, "*shape"]]:
    """The 64-bit sum of 32-bit words over devices, as (high, low)."""
    # A plain psum wraps at 2^32; sums of the 16-bit halves cannot, for up to 65536 devices.
    upper, lower = lax.psum((words >> _HALF_BITS, words & _LOW_HALF), axis_name)
    upper = upper + (lower >> _HALF_BITS)
    return upper >> _HALF_BITS, (upper << _HALF_BITS) | (lower & _LOW_HALF)
