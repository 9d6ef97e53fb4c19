"""A ratio of two sums, and how far chance may have moved it."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float32, Int32

from .._arrays import AxisName, halves, on_host, ratio, unsharded
from .accumulator import AbstractAccumulator, SpecOf
from .added import AbstractRecord, check_array, check_record
from .count import Count
from .gather import merge_devices
from .total import plus, sum_of_pairs

# The number of rows before the products.
_FIRST_PRODUCT = 4
# The least mean square of numbers whose error is known: a millionth of them has a normal square.
_SMALLEST_SQUARE = 2.0**-86


class RatioOfSumsRecord(AbstractRecord):
    r"""What one batch adds to `RatioOfSums`: sums over its units.

    A unit $u$ has a numerator $a_{ui}$ and a denominator $b_{ui}$ for each component $i$, both 0
    where it is masked out. With a reference $\rho_i$ near $\sum_u a_{ui} / \sum_u b_{ui}$, its
    residual is $r_{ui} = a_{ui} - \rho_i b_{ui}$. `sums` are $\sum_u a_{ui}$, $\sum_u b_{ui}$ and
    $\sum_u r_{ui}$. `products` are $\sum_u r_{ui} r_{uj}$, $\sum_u r_{ui} b_{uj}$ and
    $\sum_u b_{ui} b_{uj}$.
    """

    num_units: Int32[Array, "*component"]
    reference: Float32[Array, "*component"]
    sums: Float32[Array, "sum=3 *component"]
    products: Float32[Array, "product=3 *component_and_component"]

    def combine(self, later: "RatioOfSumsRecord") -> "RatioOfSumsRecord":
        """The units of both batches, about a reference near the ratio of all."""
        reference = _slope_of_both(self.reference, self.products, later.reference, later.products)
        mine, theirs = self._about(reference), later._about(reference)
        return RatioOfSumsRecord(
            num_units=self.num_units + later.num_units,
            reference=reference,
            sums=mine.sums + theirs.sums,
            products=mine.products + theirs.products,
        )

    def _about(self, reference: Float32[Array, "*component"]) -> "RatioOfSumsRecord":
        """The same units, about another reference."""
        sums, products = _changes(self.sums, self.products, reference - self.reference)
        return RatioOfSumsRecord(
            self.num_units, reference, self.sums + sums, self.products + products
        )


class RatioOfSums(AbstractAccumulator):
    r"""The ratio of two sums over units, and how the units scatter about it, per component.

    $$R_i = \frac{\sum_u a_{ui}}{\sum_u b_{ui}} \qquad \text{Cov}(R_i, R_j) = \frac{G}{G - 1}
    \frac{\sum_u (a_{ui} - R_i b_{ui}) (a_{uj} - R_j b_{uj})}{\sum_u b_{ui} \sum_u b_{uj}}$$

    over $G$ units. A mean is the ratio with $b_{ui} = 1$. Products are kept of residuals about a
    reference near the ratio, which moves as units are added: no difference of large sums is taken,
    and a spread of a millionth of the mean is resolved.

    A batch adds a `RatioOfSumsRecord`.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> record = jsm.RatioOfSumsRecord(  # the mean of 999 and 1001
        ...     num_units=jnp.asarray(2, jnp.int32),
        ...     reference=jnp.asarray(1000.0),
        ...     sums=jnp.array([2000.0, 2.0, 0.0]),
        ...     products=jnp.array([2.0, 0.0, 2.0]),
        ... )
        >>> mean = jsm.RatioOfSums.zeros(()).add(record)
        >>> print(mean.value(), mean.covariance())
        1000.0 1.0

    ??? cite "Reference"

        W. G. Cochran, Sampling Techniques, 3rd edition, 1977, chapter 6. T. F. Chan, G. H. Golub,
        R. J. LeVeque, Updating formulae and a pairwise algorithm for computing sample variances,
        1979, for the update of a mean; here it is weighted and of several components.
    """

    num_units: Count
    # Pairs as in `Total`: a row of references, three of sums, and the products.
    numbers: Float32[Array, "half=2 row *component"]

    @classmethod
    def zeros(cls, shape: tuple[int, ...]) -> "RatioOfSums":
        """No units seen, for the given shape `[component?]`."""
        num_rows = _FIRST_PRODUCT + 3 * math.prod(shape)
        return cls(Count.zeros(shape), jnp.zeros((2, num_rows, *shape), jnp.float32))

    def _check(self, added: Any) -> None:
        shape = self.num_units.words.shape[1:]
        check_record(added, "RatioOfSums", RatioOfSumsRecord)
        check_array(added.num_units, "RatioOfSums", shape, jnp.int32)
        check_array(added.reference, "RatioOfSums", shape, jnp.float32)
        check_array(added.sums, "RatioOfSums", (3, *shape), jnp.float32)
        check_array(added.products, "RatioOfSums", (3, *shape, *shape), jnp.float32)

    def _add(self, added: Any, axis_name: AxisName | None) -> "RatioOfSums":
        num_units = Count.of(added.num_units)
        high = _in_rows(added.reference, added.sums, added.products)
        batch = RatioOfSums(num_units, jnp.stack([high, lax.full_like(high, 0)]))
        return self._merge(batch if axis_name is None else batch.all_reduce(axis_name))

    def _merge(self, later: "RatioOfSums") -> "RatioOfSums":
        return _merged(self, later)

    def all_reduce(self, axis_name: AxisName) -> "RatioOfSums":
        """The units of all devices together."""
        return merge_devices(self, axis_name)

    def value(self) -> Float32[Array, "*component"]:
        """The ratio of the sums; NaN where no units were seen."""
        _, (numerator, denominator, _), _ = _from_rows(self.numbers[0])
        return ratio(numerator, denominator)

    def covariance(self) -> Float32[Array, "*component_and_component"]:
        """The covariance of the ratios of any two components, by the delta method.

        It is NaN for components that never saw a unit together, for fewer than two units, and where
        float32 cannot hold the squares of the numbers: beyond 1e19, and below 1e-13.
        """
        _, sums, products = _from_rows(self.numbers[0])
        numerator, denominator, residual = sums
        # About the ratio itself. It is known from the reference to more digits than float32 has.
        of_residuals, _, of_denominators = (
            products + _changes(sums, products, residual / denominator)[1]
        )
        num_units = self.num_units.to_float()
        squared_denominators = _diagonal(of_denominators)
        squared_numerators = (
            _diagonal(of_residuals) + squared_denominators * (numerator / denominator) ** 2
        )
        smallest = num_units * _SMALLEST_SQUARE
        is_known = (squared_numerators >= smallest) | (numerator == 0)
        is_known &= (squared_denominators >= smallest) & jnp.isfinite(denominator)
        # A single unit has no spread.
        is_known &= num_units > 1
        divisor = denominator * jnp.sqrt(1 - 1 / num_units)
        divisor = jnp.where(is_known, divisor, jnp.float32(jnp.nan))
        of_one = jnp.multiply.outer(divisor, jnp.ones_like(divisor))
        # XLA would divide by the product of both, which may be larger than float32.
        covariance = lax.optimization_barrier(of_residuals / of_one) / of_one.T
        return jnp.where(of_denominators == 0, jnp.float32(jnp.nan), covariance)

    def denominator(self) -> Float32[Array, "*component"]:
        """The sum of the denominators."""
        return _from_rows(self.numbers[0])[1][1]

    def partition_specs(self, spec_of: SpecOf) -> Any:
        """The ratio, with a `PartitionSpec` in place of each array: few numbers, on all devices."""
        del spec_of
        return jax.tree.map(lambda leaf: PartitionSpec(), self)

    def to_numpy(self) -> np.ndarray:
        """The ratio, as NumPy float64, on the host."""
        high, low = on_host(self.numbers).astype(np.float64)[:, 1:3]
        numerator, denominator = high + low
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(numerator / denominator)


def _merged(earlier: RatioOfSums, later: RatioOfSums) -> RatioOfSums:
    pairs = halves(earlier.numbers), halves(later.numbers)
    both = mine, theirs = [_from_rows(high) for high, _ in pairs]
    reference = _slope_of_both(mine[0], mine[2], theirs[0], theirs[2])
    pair = sum_of_pairs(*pairs)
    for old, sums, products in both:
        pair = plus(pair, _in_rows(reference, *_changes(sums, products, reference - old)))
    # A reference is no sum: it is a float32 number, not half of a pair.
    numbers = [
        jnp.concatenate([first[None], rows[1:]])
        for first, rows in zip((reference, lax.full_like(reference, 0)), pair, strict=True)
    ]
    return RatioOfSums(earlier.num_units._merge(later.num_units), jnp.stack(numbers))


def _in_rows(
    reference: Float32[Array, "*component"],
    sums: Float32[Array, "sum=3 *component"],
    products: Float32[Array, "product=3 *component_and_component"],
) -> Float32[Array, "row ..."]:
    """References, sums and products below each other."""
    rows = map(unsharded, (reference[None], sums, products.reshape(-1, *reference.shape)))
    return jnp.concatenate([*rows])


def _from_rows(
    rows: Float32[Array, "row ..."],
) -> tuple[
    Float32[Array, "*component"],
    Float32[Array, "sum=3 *component"],
    Float32[Array, "product=3 *component_and_component"],
]:
    """References, sums and products."""
    shape = rows.shape[1:]
    products = rows[_FIRST_PRODUCT:].reshape(3, *shape, *shape)
    return rows[0], rows[1:_FIRST_PRODUCT], products


def _slope_of_both(
    one: Float32[Array, "*component"],
    products: Float32[Array, "product=3 *component_and_component"],
    other: Float32[Array, "*component"],
    other_products: Float32[Array, "product=3 *component_and_component"],
) -> Float32[Array, "*component"]:
    """The slope of numerators over denominators by least squares: residuals are least there."""
    weight, other_weight = _diagonal(products[2]), _diagonal(other_products[2])
    moment = _diagonal(products[1]) + _diagonal(other_products[1]) + (other - one) * other_weight
    both = one + least_squares_slope(moment, weight + other_weight)
    # What saw nothing moves nothing, not even by a rounding.
    return jnp.where(other_weight == 0, one, jnp.where(weight == 0, other, both))


def least_squares_slope(
    moment: Float32[Array, "*ratio"], weight: Float32[Array, "*ratio"]
) -> Float32[Array, "*ratio"]:
    r"""$\sum_u a_u b_u / \sum_u b_u^2$ from its two sums; 0 where no denominator was seen."""
    is_any = weight > 0
    return jnp.where(is_any, moment / jnp.where(is_any, weight, 1), 0)


def _changes(
    sums: Float32[Array, "sum=3 *component"],
    products: Float32[Array, "product=3 *component_and_component"],
    shift: Float32[Array, "*component"],
) -> tuple[
    Float32[Array, "sum=3 *component"], Float32[Array, "product=3 *component_and_component"]
]:
    """What a shift of the reference adds to the sums and to the products."""
    of_one = jnp.multiply.outer(shift, jnp.ones_like(shift))
    of_other, (_, mixed, of_denominators) = of_one.T, products
    of_residuals = of_one * of_other * of_denominators - of_other * mixed - of_one * mixed.T
    zeros = jnp.zeros_like(shift)
    return (
        jnp.stack([zeros, zeros, -shift * sums[1]]),
        jnp.stack([of_residuals, -of_one * of_denominators, jnp.zeros_like(of_denominators)]),
    )


def _diagonal(
    products: Float32[Array, "*component_and_component"],
) -> Float32[Array, "*component"]:
    """The products of each component with itself."""
    return jnp.diagonal(products) if products.ndim else products
