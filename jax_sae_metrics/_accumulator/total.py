"""Float sums that do not drift."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float32

from .accumulator import AbstractAccumulator, AxisName
from .check import checked_observation
from .gather import merge_devices
from .scattered import Scattered, scatter_set, take


class Total(AbstractAccumulator):
    r"""A float sum kept as an unevaluated pair of float32, $\text{high} + \text{low}$.

    Each addition is Knuth's two-sum followed by a renormalisation (Dekker's double-float), which
    keeps about 48 bits: after adding 0.1 3e7 times, a plain float32 sum is off by 30% and this one
    by less than 1e-8 of its value.

    An observation is one float32 array of the same shape.

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

    def add(self, observation: Any, axis_name: AxisName | None = None) -> "Total":
        """Add a float32 observation, summed over `axis_name` first where it is given."""
        if isinstance(observation, Scattered):
            if observation.is_few(axis_name):
                return self._plus_scattered(observation.gathered(axis_name).combined())
            observation = observation.dense()
        observation = checked_observation(observation, "Total", self.high.shape, jnp.float32)
        if axis_name is not None:
            observation = lax.psum(observation, axis_name)
        return self._plus(observation, jnp.zeros_like(observation))

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
        """The value with both halves, as NumPy float64, on the host."""
        return np.asarray(np.float64(self.high) + np.float64(self.low))

    def _plus(self, high: Float32[Array, "*shape"], low: Float32[Array, "*shape"]) -> "Total":
        total = _as_written(self.high + high)
        # The part of either summand that the rounded sum lost (two-sum).
        mine = _as_written(total - high)
        lost = (self.high - mine) + (high - (total - mine))
        rest = lost + (self.low + low)
        renormalised = _as_written(total + rest)
        rest = rest - (renormalised - total)
        # Beyond the finite there is nothing to compensate: inf stays inf instead of inf - inf.
        finite = jnp.isfinite(renormalised)
        return Total(
            high=jnp.where(finite, renormalised, total),
            low=jnp.where(finite, rest, jnp.zeros_like(rest)),
        )

    def _plus_scattered(self, added: Scattered) -> "Total":
        old = Total(take(self.high, added.indices), take(self.low, added.indices))
        new = old._plus(added.values, jnp.zeros_like(added.values))
        return Total(
            high=scatter_set(self.high, added.indices, new.high),
            low=scatter_set(self.low, added.indices, new.low),
        )


def _as_written(rounded: Float32[Array, "*shape"]) -> Float32[Array, "*shape"]:
    # With --xla_cpu_enable_fast_math, the compiler would take (a + b) - a for b: nothing was lost.
    return lax.optimization_barrier(rounded)
