"""Mean and variance without the cancellation of E[x^2] - E[x]^2."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float32, Int32

from .._arrays import AxisName, halves
from .accumulator import AbstractAccumulator, SpecOf, specs_behind
from .added import AbstractRecord, check_array, check_record
from .count import Count
from .gather import merge_devices
from .total import Total, plus, sum_of_pairs


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
    # Pairs as in `Total`: means, and sums of squared deviations.
    numbers: Float32[Array, "half=2 moment=2 *component feature"]

    @classmethod
    def zeros(cls, shape: tuple[int, ...]) -> "Moments":
        """No items seen, for the given shape `[component?, feature]`."""
        return cls(Count.zeros(shape[:-1]), jnp.zeros((2, 2, *shape), jnp.float32))

    @property
    def mean(self) -> Total:
        """The mean."""
        return Total(*self.numbers[:, 0])

    @property
    def sum_of_squares(self) -> Total:
        """The sum of squared deviations from the mean."""
        return Total(*self.numbers[:, 1])

    def _check(self, added: Any) -> None:
        check_record(added, "Moments", MomentsRecord)
        shape = self.numbers.shape[2:]
        check_array(added.count, "Moments", shape[:-1], jnp.int32)
        for sums in (added.centre, added.deviations, added.squared_deviations):
            check_array(sums, "Moments", shape, jnp.float32)

    def _add(self, added: Any, axis_name: AxisName | None) -> "Moments":
        rest = added.deviations / jnp.maximum(added._float_count(), 1)
        squares = jnp.maximum(added.squared_deviations - rest * added.deviations, 0)
        zeros = lax.full_like(squares, 0)
        mean = plus((added.centre, zeros), rest)
        count = Count.of(added.count)
        batch = Moments(count, _stacked(mean, (squares, zeros)))
        return self._merge(batch if axis_name is None else batch.all_reduce(axis_name))

    def _merge(self, later: "Moments") -> "Moments":
        return _merged(self, later)

    def all_reduce(self, axis_name: AxisName) -> "Moments":
        """The moments of the items of all devices together."""
        return merge_devices(self, axis_name)

    def variance(self) -> Float32[Array, "*component feature"]:
        """Mean squared deviation; NaN where no items were seen."""
        return self.numbers[0, 1] / self._float_count()

    def partition_specs(self, spec_of: SpecOf) -> Any:
        """The moments, with a `PartitionSpec` in place of each array."""
        specs = self.count.partition_specs(spec_of), specs_behind(2, spec_of, self.numbers)
        return eqx.tree_at(lambda moments: (moments.count, moments.numbers), self, specs)

    def to_numpy(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance from both halves, as NumPy float64, on the host."""
        with np.errstate(invalid="ignore", divide="ignore"):
            count = self.count.to_numpy().astype(np.float64)[..., None]
            return self.mean.to_numpy(), self.sum_of_squares.to_numpy() / count

    def _float_count(self) -> Float32[Array, "*component 1"]:
        return self.count.to_float()[..., None]


def _merged(earlier: Moments, later: Moments) -> Moments:
    mine, theirs = earlier._float_count(), later._float_count()
    share = theirs / jnp.maximum(mine + theirs, 1)
    # If the means are large and close, only the fractional part is left in their difference.
    (mean, sum_of_squares), (later_mean, later_squares) = map(_pairs, (earlier, later))
    difference = (later_mean[0] - mean[0]) + (later_mean[1] - mean[1])
    mean = plus(mean, difference * share)
    between = lax.square(difference) * (mine * share)
    sum_of_squares = plus(sum_of_pairs(sum_of_squares, later_squares), between)
    # If no items were seen before, the difference has lost the last bits of the new mean.
    numbers = jnp.where(mine == 0, later.numbers, _stacked(mean, sum_of_squares))
    return Moments(earlier.count._merge(later.count), numbers)


def _pairs(moments: Moments) -> list[tuple[Array, Array]]:
    """The pairs of both moments."""
    high, low = map(halves, halves(moments.numbers))
    return [*zip(high, low, strict=True)]


def _stacked(mean: tuple[Array, Array], sum_of_squares: tuple[Array, Array]) -> Array:
    """The pairs of both moments in one array, `[half, moment, *component, feature]`."""
    return jnp.stack([jnp.stack(both) for both in zip(mean, sum_of_squares, strict=True)])
