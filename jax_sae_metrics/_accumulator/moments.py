"""Mean and variance without the cancellation of E[x^2] - E[x]^2."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Int32

from .accumulator import AbstractAccumulator, AxisName
from .count import Count
from .gather import merge_devices
from .total import Total


class MomentsRecord(eqx.Module):
    """What one batch adds to `Moments`: how many items, their mean, and their spread about it.

    Records combine by the law of `Moments`, not by addition.
    """

    count: Int32[Array, "*component"]
    mean: Float32[Array, "*component feature"]
    mean_rest: Float32[Array, "*component feature"]
    sum_of_squares: Float32[Array, "*component feature"]

    @classmethod
    def around(
        cls,
        centre: Float32[Array, "*component feature"],
        deviations: Float32[Array, "*component feature"],
        squared_deviations: Float32[Array, "*component feature"],
        count: Int32[Array, "*component"],
    ) -> "MomentsRecord":
        """From the sums of deviations from a centre near the mean, and of their squares."""
        rest = deviations / jnp.maximum(count, 1).astype(jnp.float32)[..., None]
        return cls(
            count=count,
            mean=centre,
            mean_rest=rest,
            sum_of_squares=jnp.maximum(squared_deviations - rest * deviations, 0),
        )


class Moments(AbstractAccumulator):
    r"""Mean and sum of squared deviations from it, per feature, for a number of items.

    $$\bar x = \frac{1}{N} \sum_n x_n \qquad M_2 = \sum_n (x_n - \bar x)^2$$

    Two of them are combined by Chan's rule, in float32 pairs as in `Total`. In float32, the
    difference of $E[x^2]$ and $E[x]^2$ is off by 20% where the mean is 1000 and the standard
    deviation 1; this is right to about 1e-6.

    An observation is a `MomentsRecord`. It takes the place of the items themselves: records are
    merged, never summed.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> record = jsm.MomentsRecord(
        ...     count=jnp.asarray(2, jnp.int32),
        ...     mean=jnp.array([1000.0]),
        ...     mean_rest=jnp.array([0.5]),
        ...     sum_of_squares=jnp.array([0.5]),
        ... )
        >>> moments = jsm.Moments.zeros((1,)).add(record)
        >>> print(moments.mean.to_float(), moments.variance())
        [1000.5] [0.25]

    ??? cite "Reference"

        T. F. Chan, G. H. Golub, R. J. LeVeque, Updating formulae and a pairwise algorithm for
        computing sample variances, 1979.
    """

    count: Count
    mean: Total
    sum_of_squares: Total

    @classmethod
    def zeros(cls, shape: tuple[int, ...]) -> "Moments":
        """Of nothing, for the given shape `[component?, feature]`."""
        return cls(
            count=Count.zeros(shape[:-1]),
            mean=Total.zeros(shape),
            sum_of_squares=Total.zeros(shape),
        )

    def add(self, observation: Any, axis_name: AxisName | None = None) -> "Moments":
        """Combine with the items of one batch, on all devices of `axis_name` where it is given."""
        if not isinstance(observation, MomentsRecord):
            raise ValueError(
                f"observation: Moments expect a MomentsRecord, got {type(observation).__name__}. "
                "Pass what `observe` of the same metric returned."
            )
        zeros = jnp.zeros_like(observation.mean)
        added = Moments(
            count=Count.zeros(observation.count.shape).add(observation.count),
            mean=Total(observation.mean, zeros).add(observation.mean_rest),
            sum_of_squares=Total(observation.sum_of_squares, zeros),
        )
        return self.merge(added if axis_name is None else added.all_reduce(axis_name))

    def merge(self, later: "Moments") -> "Moments":
        """The moments of both sets of items together."""
        mine, theirs = self._float_count(), later._float_count()
        share = theirs / jnp.maximum(mine + theirs, 1)
        # The part behind the comma of the means is all that is left of the difference, if they
        # are large and close.
        difference = (later.mean.high - self.mean.high) + (later.mean.low - self.mean.low)
        between = jnp.square(difference) * (mine * share)
        merged = Moments(
            count=self.count.merge(later.count),
            mean=self.mean.add(difference * share),
            sum_of_squares=self.sum_of_squares.merge(later.sum_of_squares).add(between),
        )
        # Where there was nothing before, the difference has lost the last bits of the new mean.
        is_first = mine == 0
        return Moments(
            count=merged.count,
            mean=_select(is_first, later.mean, merged.mean),
            sum_of_squares=_select(is_first, later.sum_of_squares, merged.sum_of_squares),
        )

    def all_reduce(self, axis_name: AxisName) -> "Moments":
        """The moments of the items of all devices together."""
        return merge_devices(self, axis_name)

    def variance(self) -> Float32[Array, "*component feature"]:
        """Mean squared deviation; NaN of nothing."""
        return self.sum_of_squares.to_float() / self._float_count()

    def to_numpy(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance with both halves, as NumPy float64, on the host."""
        with np.errstate(invalid="ignore", divide="ignore"):
            count = self.count.to_numpy().astype(np.float64)[..., None]
            return self.mean.to_numpy(), self.sum_of_squares.to_numpy() / count

    def _float_count(self) -> Float32[Array, "*component 1"]:
        return self.count.to_float()[..., None]


def _select(condition: Bool[Array, "*component 1"], one: Total, other: Total) -> Total:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)
