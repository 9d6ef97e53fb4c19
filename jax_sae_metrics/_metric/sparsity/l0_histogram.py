"""How many learned features are active at once, as a histogram with quantiles."""

from fractions import Fraction
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Int32

from ..._accumulator import Count, Scattered
from ..._arrays import unsharded
from ..._configuration import ONLY_READS, as_tuple, check_between, check_in_order
from ..._core import AbstractMetric
from ..._inputs import Batch, Items
from ..base import is_nonzero

_DIGIT, _DIGIT_MASK = 16, 0xFFFF


class _L0HistogramState(eqx.Module):
    # Separate, so that the other counts are as many as the features and sharded like them.
    num_inactive: Count
    num_with_l0: Count


class L0Histogram(AbstractMetric[_L0HistogramState]):
    r"""How many activation vectors have each number of nonzero learned activations.

    $$h_l = \sum_{n=1}^{N} \mathbb{1}[L_n = l] \qquad L_n = \sum_i \mathbb{1}[f_{ni} \ne 0]$$

    over all $N$ unmasked vectors of all batches, and the quantiles of $L$: for a portion $q$, the
    smallest $l$ that at least $q N$ of the vectors do not exceed (the inverted distribution
    function: always a number that occurs, never one between two). Counts are exact to $2^{64} - 1$.
    An activation below the smallest normal float32, 1.2e-38, is zero.

    **Input** of `observe`, `update` and `forward`: `learned_activations`, floating point,
    `[*batch, component?, learned_feature]`, `TopKActivations` or `SparseActivations`.

    **Result:** a dictionary of

    - `"histogram"`: integer `[component?, num_learned_features + 1]`, the number of vectors with
        0, 1, ... nonzero activations (`bin_edges`): int64 under x64, else int32, saturating at its
        largest value. 0 where nothing was seen.
    - `"quantiles"`: float32 `[component?, quantile]`, in features; NaN where nothing was seen.

    **Arguments:**

    - `num_learned_features`: size of the last axis.
    - `num_components`: size of the component axis; `None` if there is none.
    - `quantiles`: portions from 0 to 1; 0 is the smallest number that occurs, 1 the largest.

    **Raises:** `ValueError` for sizes that are not positive integers or quantiles that are
    none, or not in an order, or outside [0, 1].

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.L0Histogram(num_learned_features=3, quantiles=(0.25, 0.5))
        >>> learned_activations = jnp.array(
        ...     [[0.0, 0.0, 0.0], [1.0, 0.0, 1.0], [0.0, -2.0, 3.0], [1.0, 1.0, 1.0]]
        ... )
        >>> state = metric.update(metric.init(), learned_activations=learned_activations)
        >>> value = metric.compute(state)
        >>> print(value["histogram"], value["quantiles"])
        [1 0 2 1] [0. 2.]

    ??? note "Differences from other tools"

        Nonzero activations count, not only positive ones, as in `L0Norm`, which is the mean of this
        histogram. Other tools report the mean alone, which hides that few vectors may have most of
        the activations. Quantiles are as in `numpy.quantile(..., method="inverted_cdf")`; NumPy's
        default goes between two numbers.
    """

    num_learned_features: int = eqx.field(static=True)
    num_components: int | None = eqx.field(static=True, default=None)
    quantiles: tuple[float, ...] = eqx.field(
        static=True,
        converter=as_tuple,
        default=(0.05, 0.25, 0.5, 0.75, 0.95),
        metadata={ONLY_READS: True},
    )

    _axes: ClassVar = {"histogram": ("bin",), "quantiles": ("quantiles",)}

    @property
    def bin_edges(self) -> np.ndarray:
        """0, 1, ..., one number more than there are bins: bin $l$ holds $l$ alone."""
        return np.arange(self.num_learned_features + 2, dtype=np.float32)

    def __check_init__(self) -> None:
        check_in_order("quantiles", self.quantiles)
        for quantile in self.quantiles:
            check_between("quantiles", quantile, 0.0, 1.0)

    def _init(self) -> _L0HistogramState:
        return _L0HistogramState(
            num_inactive=Count.zeros(self._shape()),
            num_with_l0=Count.zeros(self._shape("learned_feature")),
        )

    def _observe(self, batch: Batch) -> Any:
        learned = batch.learned_activations
        return learned.items, learned.sum_per_vector(is_nonzero)

    def _finish(self, found: Any) -> dict[str, Any]:
        items, l0 = found
        return {
            "num_inactive": items.sum(l0 == 0),
            "num_with_l0": _ones_at(l0, items, self.num_learned_features),
        }

    def _compute(self, state: _L0HistogramState) -> dict[str, Array]:
        # One bin more than there are features: they cannot be sharded alike.
        counts = jax.tree.map(
            lambda none, some: jnp.concatenate([none[..., None], unsharded(some)], axis=-1),
            state.num_inactive,
            state.num_with_l0,
        )
        return {"histogram": counts.to_int(), "quantiles": self._quantiles(counts)}

    def _quantiles(self, counts: Count) -> Array:
        num_up_to: Any = lax.associative_scan(Count.merge, counts, axis=-1)
        total = jax.tree.map(lambda words: words[..., -1:], num_up_to)
        reached = [_is_at_least(num_up_to, _rank(total, quantile)) for quantile in self.quantiles]
        quantiles = jnp.stack([jnp.argmax(one, axis=-1) for one in reached], axis=-1)
        quantiles = quantiles.astype(jnp.float32)
        return jnp.where(total.to_float() > 0, quantiles, jnp.float32(jnp.nan))


def _rank(total: Count, portion: float) -> Count:
    """A portion of a count, rounded up and at least 1, in exact integers.

    A portion such as 0.05 is 1/20, which no float is.
    """
    fraction = Fraction(portion).limit_denominator(2**_DIGIT - 1)
    quotient, remainder = [], jnp.zeros_like(total.low)
    # With digits of 16 bits, no step of a long division or multiplication needs more than 32.
    for word in (total.high, total.low):
        for digit in (word >> _DIGIT, word & _DIGIT_MASK):
            remainder = (remainder << _DIGIT) | digit
            quotient.append(remainder // fraction.denominator)
            remainder = remainder % fraction.denominator
    rest = remainder * fraction.numerator
    carry = (rest + (fraction.denominator - 1)) // fraction.denominator
    digits = []
    for digit in reversed(quotient):
        carry = digit * fraction.numerator + carry
        digits.append(carry & _DIGIT_MASK)
        carry = carry >> _DIGIT
    low, high = digits[0] | (digits[1] << _DIGIT), digits[2] | (digits[3] << _DIGIT)
    return Count(high=high, low=jnp.where((high | low) == 0, jnp.uint32(1), low))


def _is_at_least(one: Count, other: Count) -> Bool[Array, "*component bin"]:
    return (one.high > other.high) | ((one.high == other.high) & (one.low >= other.low))


def _ones_at(l0: Int32[Array, "*item_and_component"], items: Items, size: int) -> Scattered:
    """A 1 for each unmasked item that has active features, at the index `l0 - 1`."""
    is_counted = l0 > 0 if items.mask is None else (l0 > 0) & items.mask
    bins = unsharded(jnp.where(is_counted, l0 - 1, jnp.int32(size))).reshape(-1)
    at = (*items.component_numbers(), bins)
    return Scattered(at, jnp.ones_like(bins), (*items.component_shape, size))
