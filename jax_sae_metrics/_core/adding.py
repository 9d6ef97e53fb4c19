"""An observation added to a state."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from .._accumulator import AbstractAccumulator
from .collection_state import Place, PooledStates
from .mismatch import MismatchError, listed
from .state import Observation, State


def add_observation(state: Any, observation: Any, add: Callable[[Any, Any], Any]) -> Any:
    """The state, with `add(accumulator, what is observed for it)` in place of each accumulator.

    Raises `MismatchError` if the observation does not fit the state.
    """
    if isinstance(state, AbstractAccumulator | Place):
        return add(state, observation)
    if isinstance(state, PooledStates):
        return _add_to_pooled(state, observation, add)
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
        raise MismatchError(f"it has {listed(seen)} where the state has {listed(own)}")
    return _rebuilt(state, {name: add_observation(own[name], seen[name], add) for name in own})


def _add_to_pooled(
    state: PooledStates, observation: Any, add: Callable[[Any, Any], Any]
) -> PooledStates:
    seen: dict[str, dict[int, Any]] = {name: {} for name in state.pools}

    def add_or_gather(node: Any, observed: Any) -> Any:
        if not isinstance(node, Place):
            return add(node, observed)
        seen[node.pool][node.index] = observed
        return node

    states = add_observation(state.states, observation, add_or_gather)
    in_order = {name: [of_pool[i] for i in range(len(of_pool))] for name, of_pool in seen.items()}
    pools = {name: add(pool, in_order[name]) for name, pool in state.pools.items()}
    return PooledStates(states, pools)


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
    # Not by its constructor, whose types say nothing of places.
    rebuilt = object.__new__(type(node))
    for name, child in children.items():
        object.__setattr__(rebuilt, name, child)
    return rebuilt
