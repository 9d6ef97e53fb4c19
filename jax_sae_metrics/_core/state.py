"""States and observations: trees of accumulators, and trees of what one batch adds to each."""

import abc
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import equinox as eqx
import jax
from jax import lax

from .._accumulator import AbstractAccumulator
from .._arrays import AxisName, nodes_of, varying_over

Accumulators = TypeVar("Accumulators")


class _Tree(eqx.Module):
    """A tree of a metric, and the configuration that it was counted under."""

    counted_by: str = eqx.field(static=True)

    @property
    @abc.abstractmethod
    def _parts(self) -> Any: ...

    def __getattr__(self, name: str) -> Any:
        # An object that is being unpickled has no fields yet.
        if not name.startswith("_") and "counted_by" in vars(self):
            parts = self._parts
            return parts[name] if isinstance(parts, Mapping) else getattr(parts, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __getitem__(self, name: Any) -> Any:
        return self._parts[name]


class State(_Tree, Generic[Accumulators]):
    """The accumulators of a metric, and the configuration that they were counted under.

    Its accumulators are its attributes: `state.num_fired` is `state.accumulators.num_fired`. The
    state of a collection is a dictionary of its metrics' states.

    Put states together with `merge` and `all_reduce` alone. Nothing refuses a `+` or a `psum` of
    their leaves, which are parts of numbers, and the result would be wrong.
    """

    accumulators: Accumulators

    @property
    def _parts(self) -> Any:
        return self.accumulators


class Observation(_Tree):
    """What one batch adds to the state of a metric: an array or record for each accumulator.

    The parts have the names of the accumulators. `metric.combine` makes one observation of two. If
    all parts are arrays, that is the sum of both.
    """

    parts: Any

    @property
    def _parts(self) -> Any:
        return self.parts


class MismatchError(ValueError):
    """An observation does not fit the state that it is added to."""


def is_of_states(tree: Any) -> bool:
    """Whether a tree is made of states or observations, which name their configurations already."""
    if isinstance(tree, Mapping):
        return all(is_of_states(node) for node in tree.values())
    return isinstance(tree, State | Observation)


def difference_of_states(state: Any, expected: Any) -> str | None:
    """In a sentence, by which configuration a state was counted instead of the expected one."""
    if isinstance(expected, Mapping):
        is_alike = isinstance(state, Mapping) and state.keys() == expected.keys()
        parts = [(state[name], expected[name]) for name in expected] if is_alike else []
        return next(filter(None, (difference_of_states(*pair) for pair in parts)), None)
    if isinstance(state, Mapping):
        return f"It is a dictionary of {_listed(dict(state))}, of which one may be meant."
    if isinstance(state, State) and state.counted_by != expected.counted_by:
        return f"It was counted by {state.counted_by}, where {expected.counted_by} is expected."
    return None


def check_differs(state: Any, axis_name: AxisName) -> None:
    """Raise if JAX knows that a state, or one of a collection, is the same on all devices."""
    for axis in (axis_name,) if isinstance(axis_name, str) else axis_name:
        # Where JAX does not keep track, not even the number of the device varies.
        if not varying_over(lax.axis_index(axis), axis):
            continue
        for part in nodes_of(State, state):
            if not any(varying_over(leaf, axis) for leaf in jax.tree.leaves(part)):
                raise ValueError(
                    f"state: all devices of {axis!r} hold the same state of {part.counted_by}, and "
                    "all_reduce would count it once for each of them. It is the sum already if "
                    "`update` was given axis_name or all_reduce was called before: leave one of "
                    "them out. If every device did count a part of its own, mark the empty state "
                    f'with jax.lax.pcast(leaf, {axis!r}, to="varying").'
                )


def accumulators_of(state: Any) -> Any:
    """The part of a state that the metric's own functions see."""
    return state.accumulators if isinstance(state, State) else state


def add_observation(state: Any, observation: Any, add: Callable[[Any, Any], Any]) -> Any:
    """The state, with `add(accumulator, what is observed for it)` in place of each accumulator.

    Raises `MismatchError` if the observation does not fit the state.
    """
    if isinstance(state, AbstractAccumulator):
        return add(state, observation)
    if isinstance(state, State):
        if not isinstance(observation, Observation):
            raise MismatchError(
                f"in place of an observation there is a {type(observation).__name__}"
            )
        if observation.counted_by != state.counted_by:
            raise MismatchError(
                f"it was counted by {observation.counted_by}, and the state by {state.counted_by}"
            )
        try:
            return State(
                state.counted_by, add_observation(state.accumulators, observation.parts, add)
            )
        except ValueError as error:
            error.add_note(f"In the state of {state.counted_by}.")
            raise
    own, seen = _children(state), _children(observation)
    if own.keys() != seen.keys():
        raise MismatchError(f"it has {_listed(seen)} where the state has {_listed(own)}")
    return _rebuilt(state, {name: add_observation(own[name], seen[name], add) for name in own})


def _children(node: Any) -> dict[Any, Any]:
    """What a node of a tree holds, by name."""
    if isinstance(node, Mapping):
        return dict(node)
    if isinstance(node, tuple | list):
        return dict(enumerate(node))
    if dataclasses.is_dataclass(node):
        return {f.name: getattr(node, f.name) for f in dataclasses.fields(node)}
    return {}


def _rebuilt(node: Any, children: dict[Any, Any]) -> Any:
    """The node, with other children."""
    if isinstance(node, Mapping):
        return children
    if isinstance(node, tuple) and hasattr(node, "_fields"):
        return type(node)(*children.values())
    if isinstance(node, tuple | list):
        return type(node)(children.values())
    return dataclasses.replace(node, **children)


def _listed(children: dict[Any, Any]) -> str:
    return ", ".join(map(str, children)) or "nothing"
