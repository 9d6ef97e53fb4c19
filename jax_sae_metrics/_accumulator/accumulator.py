"""What every accumulator can do."""

import abc
from typing import Any, TypeAlias

import equinox as eqx

AxisName: TypeAlias = str | tuple[str, ...]


class AbstractAccumulator(eqx.Module):
    """An immutable quantity gathered over batches, in time and over devices.

    A metric's state is a pytree of accumulators. An accumulator knows three laws and nothing of
    metrics: how one batch adds to it (`add`), how two of it combine in time (`merge`), and how
    those of all devices combine (`all_reduce`).
    """

    @abc.abstractmethod
    def add(self, observation: Any, axis_name: AxisName | None = None) -> "AbstractAccumulator":
        """Add what one batch observed, on all devices of `axis_name` together where it is given."""

    @abc.abstractmethod
    def merge(self, later: Any) -> "AbstractAccumulator":
        """Combine with an accumulator of the same shape that covers later batches."""

    @abc.abstractmethod
    def all_reduce(self, axis_name: AxisName) -> "AbstractAccumulator":
        """Combine the accumulators that the devices of `axis_name` hold, one each."""
