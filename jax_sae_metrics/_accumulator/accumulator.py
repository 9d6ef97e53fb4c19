"""What every accumulator can do."""

import abc
from typing import Any, TypeVar

import equinox as eqx
import jax

from .._arrays import AxisName, as_jax
from .added import intact
from .scattered import dense, is_few

Accumulator = TypeVar("Accumulator", bound="AbstractAccumulator")


class AbstractAccumulator(eqx.Module):
    """An immutable quantity gathered over batches, in time and over devices.

    A metric's state is a pytree of accumulators. An accumulator knows nothing about metrics. It
    knows three laws: how one batch adds to it (`add`), how two accumulators merge in time
    (`merge`), and how the accumulators of all devices become one (`all_reduce`). What a batch adds
    is a plain array if it is a sum, and else an `AbstractRecord`.
    """

    def add(self: Accumulator, added: Any, axis_name: AxisName | None = None) -> Accumulator:
        """Add what one batch adds; with `axis_name`, on all its devices together."""
        self._check(added)
        added = intact(added)
        add = self._add_few if is_few(added, axis_name) else self._add_dense
        return add(added, axis_name)

    @abc.abstractmethod
    def _check(self, added: Any) -> None:
        """Raise unless what is added, dense or to few features, is of the right type and shape."""

    @abc.abstractmethod
    def _add(self: Accumulator, added: Any, axis_name: AxisName | None) -> Accumulator:
        """`add`, with an entry for every feature."""

    def _add_few(self: Accumulator, added: Any, axis_name: AxisName | None) -> Accumulator:
        """`add`, with entries for fewer features than there are, as `Scattered`."""
        return self._add_dense(added, axis_name)

    def _add_dense(self: Accumulator, added: Any, axis_name: AxisName | None) -> Accumulator:
        return self._add(jax.tree.map(as_jax, dense(added)), axis_name)

    @abc.abstractmethod
    def merge(self, later: Any) -> "AbstractAccumulator":
        """Combine with an accumulator of the same shape that covers later batches."""

    @abc.abstractmethod
    def all_reduce(self, axis_name: AxisName) -> "AbstractAccumulator":
        """Combine the accumulators that the devices of `axis_name` hold, one each."""
