"""Accumulators of one kind and shape, kept as one."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._arrays import AxisName
from .accumulator import AbstractAccumulator, SpecOf


class Stacked(AbstractAccumulator):
    """Accumulators of the same kind and shape, side by side in the arrays of one.

    What a program costs that does little is the number of its arrays and kernels. To add, merge or
    reduce many of them stacked takes as many kernels as for one. A batch adds one record for each.
    """

    # Its arrays have a leading axis.
    stacked: AbstractAccumulator

    @classmethod
    def of(cls, accumulators: Sequence[AbstractAccumulator]) -> "Stacked":
        """Stack accumulators, in order."""
        return cls(jax.tree.map(lambda *leaves: jnp.stack(leaves), *accumulators))

    def __getitem__(self, index: int) -> Any:
        """One of the accumulators."""

        def one(leaf: Any) -> Any:
            if isinstance(leaf, jax.ShapeDtypeStruct):
                return jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)
            return leaf[index]

        return jax.tree.map(one, self.stacked)

    def _check(self, added: Any) -> None:
        one = jax.eval_shape(lambda: self)[0]
        for record in added:
            one._check(record)

    def _add(self, added: Any, axis_name: AxisName | None) -> "Stacked":
        records = jax.tree.map(lambda *leaves: jnp.stack(leaves), *added)
        return self._of_each(lambda one, record: one._add(record, axis_name), records)

    def _merge(self, later: "Stacked") -> "Stacked":
        return self._of_each(lambda one, other: one._merge(other), later.stacked)

    def all_reduce(self, axis_name: AxisName) -> "Stacked":
        """Combine each accumulator with those in its place on all devices."""
        return self._of_each(lambda one: one.all_reduce(axis_name))

    def to_numpy(self) -> list[Any]:
        """The value of each accumulator, on the host."""
        num_stacked = len(jax.tree.leaves(self.stacked)[0])
        return [self[index].to_numpy() for index in range(num_stacked)]

    def partition_specs(self, spec_of: SpecOf) -> Any:
        """The accumulators, with a `PartitionSpec` in place of each array."""
        specs = jax.eval_shape(lambda: self)[0].partition_specs(spec_of)
        specs = jax.tree.map(lambda spec: type(spec)(None, *spec), specs)
        return eqx.tree_at(lambda stacked: stacked.stacked, self, specs)

    def _of_each(self, function: Any, *others: Any) -> "Stacked":
        return Stacked(jax.vmap(function)(self.stacked, *others))
