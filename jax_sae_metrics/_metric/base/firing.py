"""What fires: the one rule of all metrics of firing."""

import abc
from typing import TypeVar

from ..._configuration import check_between, check_flag
from ..._core import AbstractMetric
from ..._reductions import Function
from .functions_of_entries import Above, AbsoluteAbove

Accumulators = TypeVar("Accumulators")


class AbstractFiring(AbstractMetric[Accumulators]):
    """A metric in which a feature fires where its activation is greater than a threshold.

    No array of absolute values is made, and no array of what fires.
    """

    @property
    @abc.abstractmethod
    def threshold(self) -> float:
        """A feature fires where its activation is greater than this."""

    @property
    @abc.abstractmethod
    def absolute(self) -> bool:
        """Whether its absolute value is compared."""

    def __check_init__(self) -> None:
        check_between("threshold", self.threshold, 0.0)
        check_flag("absolute", self.absolute)

    @property
    def _fires(self) -> Function:
        """Whether an activation fires."""
        return AbsoluteAbove(self.threshold) if self.absolute else Above(self.threshold)
