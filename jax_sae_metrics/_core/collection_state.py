"""The state of a collection, in few arrays."""

import collections
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import equinox as eqx
import jax

from .._accumulator import AbstractAccumulator, RatioOfSums, Stacked
from .state import State


class Place(eqx.Module):
    """Where an accumulator of a metric is kept: in which pool, and as which of its accumulators."""

    pool: str = eqx.field(static=True)
    index: int = eqx.field(static=True)


class CollectionState(eqx.Module, Mapping[str, Any]):  # type: ignore[misc] # `__eq__`
    """The state of a collection: a dictionary of its metrics' states that cannot be changed.

    All means and ratios of sums are kept side by side in the same arrays, since every further array
    costs some microseconds at each step. `state["l0"]` takes the state of one metric out of them.
    A plain dictionary of states serves as well wherever a collection takes its state, such as
    `state | {"l0": other}`, with another state in the place of one.
    """

    states: dict[str, Any]  # with a `Place` for each accumulator that is in a pool
    pools: dict[str, Stacked]

    @classmethod
    def of(cls, states: Mapping[str, Any]) -> "CollectionState":
        """Put the means and ratios of nested dictionaries of states into pools."""
        pooled: dict[str, list[AbstractAccumulator]] = collections.defaultdict(list)

        def placed(node: Any) -> Any:
            if not isinstance(node, RatioOfSums):
                return node
            name = "_".join(map(str, ("ratios", *node.numbers.shape[2:])))
            pooled[name].append(node)
            return Place(name, len(pooled[name]) - 1)

        in_place = jax.tree.map(placed, dict(states), is_leaf=_is_accumulator)
        return cls(
            in_place, {name: Stacked.of(accumulators) for name, accumulators in pooled.items()}
        )

    def __getitem__(self, name: str) -> Any:
        return self._filled(self.states[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.states)

    def __len__(self) -> int:
        return len(self.states)

    def __or__(self, others: Mapping[str, Any]) -> dict[str, Any]:
        return {**self, **others}

    def __ror__(self, others: Mapping[str, Any]) -> dict[str, Any]:
        return {**others, **self}

    def __repr__(self) -> str:
        states = ",\n".join(f"{name!r}: {state}" for name, state in self.items())
        return f"CollectionState({{\n{textwrap.indent(states, '  ')}\n}})"

    def unpacked(self) -> dict[str, Any]:
        """The states of all metrics, each with arrays of its own."""
        return self._filled(self.states)

    def _filled(self, states: Any) -> Any:
        """States with the accumulators that are in pools."""

        def fill(node: Any) -> Any:
            return self.pools[node.pool][node.index] if isinstance(node, Place) else node

        # A collection inside of a wrapper has pools of its own.
        is_leaf = lambda node: isinstance(node, Place | CollectionState)  # noqa: E731
        return jax.tree.map(fill, states, is_leaf=is_leaf)


def packed(states: Any) -> Any:
    """A dictionary of states in few arrays; another state as it is."""
    is_plain = isinstance(states, Mapping) and not isinstance(states, CollectionState)
    return CollectionState.of({n: unpacked(s) for n, s in states.items()}) if is_plain else states


def unpacked(state: Any) -> Any:
    """The state of a collection as nested dictionaries of states; another state as it is."""
    if isinstance(state, CollectionState):
        return state.unpacked()
    return {n: unpacked(s) for n, s in state.items()} if isinstance(state, Mapping) else state


def accumulators_of(state: Any) -> Any:
    """The part of a state that the metric's own functions see."""
    return state.accumulators if isinstance(state, State) else unpacked(state)


def _is_accumulator(node: Any) -> bool:
    return isinstance(node, AbstractAccumulator)
