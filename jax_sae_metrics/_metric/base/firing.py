"""What fires: the one rule of all metrics of firing."""

from typing import TypeVar

import equinox as eqx

from ..._configuration import check_between, check_flag
from ..._core import AbstractMetric
from ..._reductions import Function
from .functions_of_entries import AbsoluteAbove, Above

Accumulators = TypeVar("Accumulators")


class AbstractFiring(AbstractMetric[Accumulators]):
    """A metric in which a feature fires where its activation is greater than a threshold.

    With `absolute`, its absolute value is compared. No array of absolute values is made.
    """

    threshold: eqx.AbstractVar[float]
    absolute: eqx.AbstractVar[bool]

    def __check_init__(self) -> None:
        check_between("threshold", self.threshold, 0.0)
        check_flag("absolute", self.absolute)

    @property
    def _fires(self) -> Function:
        """Whether an activation fires."""
        return AbsoluteAbove(self.threshold) if self.absolute else Above(self.threshold)
