"""The base of metrics that are a ratio of two sums over items."""

from typing import Any

from jaxtyping import Array, Float32

from ..._accumulator import NumbersOfUnits, RatioOfSums
from .error_bars import AbstractErrorBars


class AbstractRatio(AbstractErrorBars[RatioOfSums]):
    """A metric that is a ratio of two sums over items.

    `_observe` returns the items, and the numerator and the denominator of each, or questions about
    them. Value, error bars and state are defined here.
    """

    def _init(self) -> RatioOfSums:
        return RatioOfSums.zeros(self._shape())

    def _finish(self, found: Any) -> NumbersOfUnits:
        return self._ratio(*found)

    def _compute(self, state: RatioOfSums) -> Float32[Array, "*component"]:
        return state.value()

    def _covariance(self, state: RatioOfSums) -> Float32[Array, "*component_and_component"]:
        return state.covariance()
