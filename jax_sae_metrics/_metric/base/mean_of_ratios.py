"""The base of metrics that are the mean over vectors of a ratio, where it is defined."""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float32, Int

from ..._accumulator import Count, RatioOfSums
from ..._arrays import ratio
from ..._core import State
from .error_bars import AbstractErrorBars
from .mean import items_and_numbers


class MeanOfRatios(eqx.Module):
    """The mean over items of a ratio, and the number of items without a ratio.

    In other tools, one vector of zeros makes the mean of a whole run NaN.
    """

    of_defined: RatioOfSums
    num_skipped: Count


class AbstractMeanOfRatios(AbstractErrorBars[MeanOfRatios]):
    """A metric that is the mean over items of a ratio. Items with a zero denominator are skipped.

    `_observe` returns the items, then numbers of each item or questions about them. `_of_each`
    turns these into the numerator and the denominator of each item.
    """

    @abc.abstractmethod
    def _of_each(
        self, *numbers: Any
    ) -> tuple[Float32[Array, "*item_and_component"], Float32[Array, "*item_and_component"]]:
        """Return the numerator and the denominator of each item.

        The arguments are what `_observe` returned after the items.
        """

    def num_skipped(self, state: State[MeanOfRatios]) -> Int[Array, "*component"]:
        """Return how many vectors were skipped because their denominator is zero."""
        self._check(state)
        return state.accumulators.num_skipped.to_int()

    def _init(self) -> MeanOfRatios:
        components = self._shape()
        return MeanOfRatios(
            of_defined=RatioOfSums.zeros(components), num_skipped=Count.zeros(components)
        )

    def _finish(self, found: Any) -> dict[str, Any]:
        items, numbers = items_and_numbers(found)
        numerators, denominators = self._of_each(*numbers)
        # An item with NaN as numerator or denominator is not skipped: it must show.
        is_undefined = (denominators == 0) & ~jnp.isnan(numerators)
        return {
            "of_defined": self._mean(items.only(~is_undefined), ratio(numerators, denominators)),
            "num_skipped": items.only(is_undefined).count(),
        }

    def _compute(self, state: MeanOfRatios) -> Float32[Array, "*component"]:
        return state.of_defined.value()

    def _covariance(self, state: MeanOfRatios) -> Float32[Array, "*component_and_component"]:
        return state.of_defined.covariance()
