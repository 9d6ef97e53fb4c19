"""Float sums that do not drift."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float32

from .._arrays import AxisName, as_written, halves, on_host, two_sum
from .accumulator import AbstractAccumulator, SpecOf, specs_behind
from .added import check_array
from .at_indices import in_row, scatter_set, take
from .gather import merge_devices
from .scattered import Scattered


class Total(AbstractAccumulator):
    r"""A float sum kept as an unevaluated pair of float32, $\text{high} + \text{low}$.

    Each addition is Knuth's two-sum followed by a renormalisation (Dekker's double-float), which
    keeps about 48 bits: after 3e7 additions of 0.1, a plain float32 sum is off by 30% and this one
    by less than 1e-8 of its value.

    A batch adds one float32 array of the same shape.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> total = jsm.Total.zeros(()).add(jnp.float32(2**24)).add(jnp.float32(1))
        >>> float(total.to_numpy()) - 2**24  # float32 alone gives 0.0
        1.0

    ??? cite "Reference"

        T. J. Dekker, A floating-point technique for extending the available precision, 1971.
    """

    # In one array: what a program costs that does little is the number of its results.
    halves: Float32[Array, "half=2 *shape"]

    def __init__(self, high: Float32[Array, "*shape"], low: Float32[Array, "*shape"]) -> None:
        self.halves = jnp.stack([high, low])

    @classmethod
    def zeros(cls, shape: tuple[int, ...]) -> "Total":
        """An empty total of the given shape."""
        return cls(high=jnp.zeros(shape, jnp.float32), low=jnp.zeros(shape, jnp.float32))

    @property
    def high(self) -> Float32[Array, "*shape"]:
        """The value rounded to float32."""
        return self.halves[0]

    @property
    def low(self) -> Float32[Array, "*shape"]:
        """What rounding has lost."""
        return self.halves[1]

    def _check(self, added: Any) -> None:
        check_array(added, "Total", self.halves.shape[1:], jnp.float32)

    def _add(self, added: Any, axis_name: AxisName | None) -> "Total":
        if axis_name is not None:
            added = lax.psum(added, axis_name)
        return Total(*plus(halves(self.halves), added))

    def _merge(self, later: "Total") -> "Total":
        return Total(*sum_of_pairs(halves(self.halves), halves(later.halves)))

    def all_reduce(self, axis_name: AxisName) -> "Total":
        """The sum of the totals of all devices, added in pairs so that no low half is lost."""
        return merge_devices(self, axis_name)

    def to_float(self) -> Float32[Array, "*shape"]:
        """The value rounded to float32."""
        return self.high

    def to_numpy(self) -> np.ndarray:
        """The value from both halves, as NumPy float64, on the host."""
        high, low = on_host(self.halves).astype(np.float64)
        return np.asarray(high + low)

    def partition_specs(self, spec_of: SpecOf) -> Any:
        """The total, with a `PartitionSpec` in place of its array."""
        return specs_behind(1, spec_of, self)

    def _add_few(self, added: Scattered, axis_name: AxisName | None) -> "Total":
        added = added.gathered(axis_name).at_different_places()
        at_halves = [in_row(half, added.at) for half in range(2)]
        high, low = (take(self.halves, at) for at in at_halves)
        new = plus((high, low), added.values)
        halves = self.halves
        for at, half in zip(at_halves, new, strict=True):
            halves = scatter_set(halves, at, half)
        return eqx.tree_at(lambda total: total.halves, self, halves)


def sum_of_pairs(one: tuple[Array, Array], other: tuple[Array, Array]) -> tuple[Array, Array]:
    """The sum of two unevaluated pairs of float32."""
    total, lost = two_sum(one[0], other[0])
    return _renormalised(total, lost + (one[1] + other[1]))


def plus(one: tuple[Array, Array], more: Array) -> tuple[Array, Array]:
    """The sum of an unevaluated pair and a float32 number."""
    total, lost = two_sum(one[0], more)
    return _renormalised(total, lost + one[1])


def _renormalised(total: Array, rest: Array) -> tuple[Array, Array]:
    renormalised = as_written(total + rest)
    rest = rest - (renormalised - total)
    # Infinity needs no compensation: inf must not become inf - inf.
    finite = lax.is_finite(renormalised)
    return lax.select(finite, renormalised, total), lax.select(finite, rest, lax.full_like(rest, 0))
