"""Float sums that do not drift."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float32

from .._arrays import AxisName, as_written, two_sum
from .accumulator import AbstractAccumulator
from .added import check_array
from .at_indices import scatter_set, take
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

    high: Float32[Array, "*shape"]
    low: Float32[Array, "*shape"]

    @classmethod
    def zeros(cls, shape: tuple[int, ...]) -> "Total":
        """An empty total of the given shape."""
        return cls(high=jnp.zeros(shape, jnp.float32), low=jnp.zeros(shape, jnp.float32))

    def _check(self, added: Any) -> None:
        check_array(added, "Total", self.high.shape, jnp.float32)

    def _add(self, added: Any, axis_name: AxisName | None) -> "Total":
        if axis_name is not None:
            added = lax.psum(added, axis_name)
        return self._plus(added, jnp.zeros_like(added))

    def merge(self, later: "Total") -> "Total":
        """The sum of both totals."""
        return self._plus(later.high, later.low)

    def all_reduce(self, axis_name: AxisName) -> "Total":
        """The sum of the totals of all devices, added in pairs so that no low half is lost."""
        return merge_devices(self, axis_name)

    def to_float(self) -> Float32[Array, "*shape"]:
        """The value rounded to float32."""
        return self.high

    def to_numpy(self) -> np.ndarray:
        """The value from both halves, as NumPy float64, on the host."""
        return np.asarray(np.float64(self.high) + np.float64(self.low))

    def _plus(self, high: Float32[Array, "*shape"], low: Float32[Array, "*shape"]) -> "Total":
        return Total(*_sum_of_pairs((self.high, self.low), (high, low)))

    def _add_few(self, added: Scattered, axis_name: AxisName | None) -> "Total":
        added = added.gathered(axis_name).at_different_places()
        old = Total(take(self.high, added.at), take(self.low, added.at))
        new = old._plus(added.values, jnp.zeros_like(added.values))
        return Total(
            high=scatter_set(self.high, added.at, new.high),
            low=scatter_set(self.low, added.at, new.low),
        )


# Traced once for all totals of the same shape.
@jax.jit
def _sum_of_pairs(one: tuple[Array, Array], other: tuple[Array, Array]) -> tuple[Array, Array]:
    total, lost = two_sum(one[0], other[0])
    rest = lost + (one[1] + other[1])
    renormalised = as_written(total + rest)
    rest = rest - (renormalised - total)
    # Infinity needs no compensation: inf must not become inf - inf.
    finite = jnp.isfinite(renormalised)
    return jnp.where(finite, renormalised, total), jnp.where(finite, rest, jnp.zeros_like(rest))
