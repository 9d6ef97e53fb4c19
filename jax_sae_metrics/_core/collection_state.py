"""The state of a collection, in few arrays and few nodes."""

import collections
import functools
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import equinox as eqx
import jax

from .._accumulator import AbstractAccumulator, RatioOfSums, Stacked
from .state import State, dotted


class Place(eqx.Module):
    """Where an accumulator of a metric is kept: in which pool, and as which of its accumulators."""

    pool: str = eqx.field(static=True)
    index: int = eqx.field(static=True)


class PooledStates(eqx.Module):
    """The states of a collection, with all means and ratios of sums side by side in pools."""

    states: dict[str, Any]  # with a `Place` for each accumulator that is in a pool
    pools: dict[str, Stacked]

    @classmethod
    def of(cls, states: Mapping[str, Any]) -> "PooledStates":
        """Put the means and ratios of nested dictionaries of states into pools."""
        pooled: dict[str, list[AbstractAccumulator]] = collections.defaultdict(list)

        def placed(node: Any) -> Any:
            if not isinstance(node, RatioOfSums):
                return node
            name = "_".join(map(str, ("ratios", *node.numbers.shape[2:])))
            pooled[name].append(node)
            return Place(name, len(pooled[name]) - 1)

        is_accumulator = lambda node: isinstance(node, AbstractAccumulator)  # noqa: E731
        in_place = jax.tree.map(placed, dict(states), is_leaf=is_accumulator)
        return cls(in_place, {name: Stacked.of(of_pool) for name, of_pool in pooled.items()})

    def unpooled(self, states: Any) -> Any:
        """Some of the states, each with arrays of its own."""

        def fill(node: Any) -> Any:
            return self.pools[node.pool][node.index] if isinstance(node, Place) else node

        # A collection inside of a wrapper has pools of its own.
        is_leaf = lambda node: isinstance(node, Place | PooledStates)  # noqa: E731
        return jax.tree.map(fill, states, is_leaf=is_leaf)


class Layout:
    """What the arrays of a `CollectionState` are. There is one object for each layout."""

    def __init__(self, tree: Any) -> None:
        numbers = jax.tree.unflatten(tree, range(tree.num_leaves))
        self.tree = tree
        self.names = tuple(dotted(path) for path, _ in jax.tree.leaves_with_path(numbers))

    def __reduce__(self) -> tuple[Any, ...]:
        # JAX pickles no trees of other classes than its own.
        return _layout_like, (jax.tree.unflatten(self.tree, self.names),)


@functools.cache
def _layout(tree: Any) -> Layout:
    return Layout(tree)


def _layout_like(states: Any) -> Layout:
    return _layout(jax.tree.structure(states))


class CollectionState(eqx.Module, Mapping[str, Any]):  # type: ignore[misc] # `__eq__`
    """The state of a collection: a dictionary of its metrics' states that cannot be changed.

    Every array and every node of a tree costs some microseconds at each step. All means and ratios
    of sums are therefore side by side in the same arrays, and all arrays in one dictionary.
    `state["l0"]` takes the state of one metric out of them; `state | {"l0": other}` is the state
    with another one in its place. A plain dictionary of states serves as well wherever a collection
    takes its state.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metrics = jsm.MetricCollection({"l0": jsm.L0Norm(), "l1": jsm.L1AbsoluteLoss()})
        >>> state = metrics.update(metrics.init(), learned_activations=jnp.array([[1.0, 0.0, 3.0]]))
        >>> float(jsm.L1AbsoluteLoss().compute(state["l1"]))
        4.0
        >>> without_l0 = state | {"l0": jsm.L0Norm().init()}
        >>> {name: float(value) for name, value in metrics.compute(without_l0).items()}
        {'l0': nan, 'l1': 4.0}
    """

    arrays: dict[str, Any]  # or what stands in place of arrays, such as specs
    layout: Layout = eqx.field(static=True)

    def __getitem__(self, name: str) -> Any:
        pooled = opened(self)
        return pooled.unpooled(pooled.states[name])

    def __iter__(self) -> Iterator[str]:
        return iter(opened(self).states)

    def __len__(self) -> int:
        return len(opened(self).states)

    def __or__(self, others: Mapping[str, Any]) -> Any:
        mine = unpooled(self)
        states = {**mine, **others}
        is_alike = all(n in mine and _kind(other) == _kind(mine[n]) for n, other in others.items())
        # Whatever else it is, metrics that get it say what is wrong.
        return closed(states) if is_alike else states

    def __repr__(self) -> str:
        states = ",\n".join(f"{name!r}: {state}" for name, state in unpooled(self).items())
        return f"CollectionState({{\n{textwrap.indent(states, '  ')}\n}})"


def _kind(state: Any) -> Any:
    """The tree of a state, and the shapes and dtypes of its arrays."""
    leaves, tree = jax.tree.flatten(state)
    return tree, [(getattr(leaf, "shape", None), getattr(leaf, "dtype", None)) for leaf in leaves]


def opened(state: Any) -> Any:
    """The state of a collection as a tree of accumulators; another state as it is."""
    if isinstance(state, CollectionState):
        return jax.tree.unflatten(state.layout.tree, map(state.arrays.get, state.layout.names))
    is_plain = isinstance(state, Mapping)
    return PooledStates.of({n: unpooled(s) for n, s in state.items()}) if is_plain else state


def closed(state: Any) -> Any:
    """The state of a collection, as its users have it; another state as it is."""
    if isinstance(state, CollectionState | State):
        return state
    arrays, tree = jax.tree.flatten(opened(state))
    layout = _layout(tree)
    return CollectionState(dict(zip(layout.names, arrays, strict=True)), layout)


def unpooled(state: Any) -> Any:
    """The state of a collection as nested dictionaries of states; another state as it is."""
    if isinstance(state, CollectionState):
        state = opened(state)
    if isinstance(state, PooledStates):
        return state.unpooled(state.states)
    return {n: unpooled(s) for n, s in state.items()} if isinstance(state, Mapping) else state


def accumulators_of(state: Any) -> Any:
    """The part of a state that the metric's own functions see."""
    return state.accumulators if isinstance(state, State) else unpooled(state)
