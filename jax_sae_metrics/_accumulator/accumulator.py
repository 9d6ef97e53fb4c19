"""What every accumulator can do."""

import abc
import functools
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import equinox as eqx
import jax
from jax.sharding import PartitionSpec

from .._arrays import AxisName, as_jax
from .added import intact
from .scattered import dense, is_few

Accumulator = TypeVar("Accumulator", bound="AbstractAccumulator")
# The spec of an array `[component?, feature?]` of some shape.
SpecOf: TypeAlias = Callable[[tuple[int, ...]], PartitionSpec]


class AbstractAccumulator(eqx.Module):
    """An immutable quantity gathered over batches, in time and over devices.

    A metric's state is a pytree of accumulators. An accumulator knows nothing about metrics. It
    knows three laws: how one batch adds to it (`add`), how two accumulators merge in time
    (`merge`), and how the accumulators of all devices become one (`all_reduce`). What a batch adds
    is a plain array if it is a sum, and else an `AbstractRecord`.
    """

    def add(self: Accumulator, added: Any, axis_name: AxisName | None = None) -> Accumulator:
        """Add what one batch adds; with `axis_name`, what it adds on all devices together."""
        self._check(added)
        return _added(self, intact(added), axis_name)

    def merge(self: Accumulator, later: Accumulator) -> Accumulator:
        """Combine with an accumulator of the same shape that covers later batches."""
        return _merged(self, later)

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
    def _merge(self, later: Any) -> "AbstractAccumulator":
        """`merge`, operation by operation."""

    @abc.abstractmethod
    def all_reduce(self, axis_name: AxisName) -> "AbstractAccumulator":
        """Combine the accumulators that the devices of `axis_name` hold, one each."""

    def partition_specs(self, spec_of: SpecOf) -> Any:
        """The accumulator, with a `PartitionSpec` in place of each array.

        Arrays of its own are taken to have no axes before those of components and features.
        """

        def specs(node: Any) -> Any:
            if isinstance(node, AbstractAccumulator):
                return node.partition_specs(spec_of)
            return spec_of(node.shape)

        is_inner = lambda node: isinstance(node, AbstractAccumulator) and node is not self  # noqa: E731
        return jax.tree.map(specs, self, is_leaf=is_inner)


# One program outside of `jit`; inside, traced once for all accumulators of a kind and shape.
@functools.partial(jax.jit, static_argnums=2)
def _added(accumulator: Any, added: Any, axis_name: AxisName | None) -> Any:
    add = accumulator._add_few if is_few(added, axis_name) else accumulator._add_dense
    return add(added, axis_name)


@jax.jit
def _merged(earlier: Any, later: Any) -> Any:
    return earlier._merge(later)


def specs_behind(num_axes: int, spec_of: SpecOf, tree: Any) -> Any:
    """The tree with a `PartitionSpec` in place of each array, which has axes before the usual."""

    def spec(leaf: Any) -> PartitionSpec:
        return PartitionSpec(*(None,) * num_axes, *spec_of(leaf.shape[num_axes:]))

    return jax.tree.map(spec, tree)
