"""Mean and variance without the cancellation of E[x^2] - E[x]^2."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Int32

from .._arrays import AxisName
from .accumulator import AbstractAccumulator
from .added import AbstractRecord, check_array, check_record
from .count import Count
from .gather import merge_devices
from .total import Total


class MomentsRecord(AbstractRecord):
    """What one batch adds to `Moments`: sums over its items, about a centre near their mean."""

    count: Int32[Array, "*component"]
    centre: Float32[Array, "*component feature"]
    deviations: Float32[Array, "*component feature"]
    squared_deviations: Float32[Array, "*component feature"]

    def combine(self, later: "MomentsRecord") -> "MomentsRecord":
        """The items of both batches, about a centre near the mean of all."""
        count = self.count + later.count
        share = later._float_count() / jnp.maximum(count, 1).astype(jnp.float32)[..., None]
        centre = self.centre + share * (later.centre - self.centre)
        # The centre of a batch without items means nothing.
        centre = jnp.where(self._float_count() == 0, later.centre, centre)
        mine, theirs = self._about(centre), later._about(centre)
        return MomentsRecord(
            count=count,
            centre=centre,
            deviations=mine.deviations + theirs.deviations,
            squared_deviations=mine.squared_deviations + theirs.squared_deviations,
        )

    def _about(self, centre: Float32[Array, "*component feature"]) -> "MomentsRecord":
        """The same items, about another centre."""
        distance, count = self.centre - centre, self._float_count()
        return MomentsRecord(
            count=self.count,
            centre=centre,
            deviations=self.deviations + count * distance,
            squared_deviations=self.squared_deviations
            + 2 * distance * self.deviations
            + count * jnp.square(distance),
        )

    def _float_count(self) -> Float32[Array, "*component 1"]:
        return self.count.astype(jnp.float32)[..., None]


class Moments(AbstractAccumulator):
    r"""Mean of a number of items per feature, and sum of squared deviations from the mean.

    $$\bar x = \frac{1}{N} \sum_n x_n \qquad M_2 = \sum_n (x_n - \bar x)^2$$

    Chan's rule combines two of them, in float32 pairs as in `Total`. Where the mean is 1000 and the
    standard deviation 1, the difference of $E[x^2]$ and $E[x]^2$ is off by 20% in float32;
    `Moments` is right to about 1e-6.

    A batch adds a `MomentsRecord`.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> record = jsm.MomentsRecord(
        ...     count=jnp.asarray(2, jnp.int32),
        ...     centre=jnp.array([1000.0]),
        ...     deviations=jnp.array([1.0]),
        ...     squared_deviations=jnp.array([1.0]),
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
        """No items seen, for the given shape `[component?, feature]`."""
        return cls(
            count=Count.zeros(shape[:-1]),
            mean=Total.zeros(shape),
            sum_of_squares=Total.zeros(shape),
        )

    def _check(self, added: Any) -> None:
        check_record(added, "Moments", MomentsRecord)
        check_array(added.count, "Moments", self.count.low.shape, jnp.int32)
        for sums in (added.centre, added.deviations, added.squared_deviations):
            check_array(sums, "Moments", self.mean.high.shape, jnp.float32)

    def _add(self, added: Any, axis_name: AxisName | None) -> "Moments":
        rest = added.deviations / jnp.maximum(added._float_count(), 1)
        squares = jnp.maximum(added.squared_deviations - rest * added.deviations, 0)
        zeros = jnp.zeros_like(added.centre)
        batch = Moments(
            count=Count.zeros(added.count.shape).add(added.count),
            mean=Total(added.centre, zeros).add(rest),
            sum_of_squares=Total(squares, zeros),
        )
        return self.merge(batch if axis_name is None else batch.all_reduce(axis_name))

    def merge(self, later: "Moments") -> "Moments":
        """The moments of both sets of items together."""
        return _merged(self, later)

    def all_reduce(self, axis_name: AxisName) -> "Moments":
        """The moments of the items of all devices together."""
        return merge_devices(self, axis_name)

    def variance(self) -> Float32[Array, "*component feature"]:
        """Mean squared deviation; NaN where no items were seen."""
        return self.sum_of_squares.to_float() / self._float_count()

    def to_numpy(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance from both halves, as NumPy float64, on the host."""
        with np.errstate(invalid="ignore", divide="ignore"):
            count = self.count.to_numpy().astype(np.float64)[..., None]
            return self.mean.to_numpy(), self.sum_of_squares.to_numpy() / count

    def _float_count(self) -> Float32[Array, "*component 1"]:
        return self.count.to_float()[..., None]


# Traced once for all moments of the same shape.
@jax.jit
def _merged(earlier: Moments, later: Moments) -> Moments:
    mine, theirs = earlier._float_count(), later._float_count()
    share = theirs / jnp.maximum(mine + theirs, 1)
    # If the means are large and close, only the fractional part is left in their difference.
    difference = (later.mean.high - earlier.mean.high) + (later.mean.low - earlier.mean.low)
    between = jnp.square(difference) * (mine * share)
    merged = Moments(
        count=earlier.count.merge(later.count),
        mean=earlier.mean.add(difference * share),
        sum_of_squares=earlier.sum_of_squares.merge(later.sum_of_squares).add(between),
    )
    # If no items were seen before, the difference has lost the last bits of the new mean.
    is_first = mine == 0
    return Moments(
        count=merged.count,
        mean=_select(is_first, later.mean, merged.mean),
        sum_of_squares=_select(is_first, later.sum_of_squares, merged.sum_of_squares),
    )


def _select(condition: Bool[Array, "*component 1"], one: Total, other: Total) -> Total:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)
