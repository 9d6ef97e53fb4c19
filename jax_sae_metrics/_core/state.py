"""States and observations: trees of accumulators, and trees of what one batch adds to each."""

import abc
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

import equinox as eqx
import jax
import numpy as np
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

    def __repr__(self) -> str:
        if not all(map(_is_at_hand, jax.tree.leaves(self))):
            return super().__repr__()
        has_value = lambda node: hasattr(node, "to_numpy")  # noqa: E731
        named = jax.tree.leaves_with_path(self.accumulators, is_leaf=has_value)
        # While a program is traced, values of arrays at hand would become part of it.
        with jax.ensure_compile_time_eval(), np.printoptions(threshold=12, precision=6):
            lines = [f"  {dotted(path) or 'value'}={_value(node)},\n" for path, node in named]
        return f"State(\n  {self.counted_by},\n{''.join(lines)})"


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


def difference_of_states(state: Any, expected: Any, where: str = "") -> str | None:
    """In a sentence, what makes a state another than the expected one; None if nothing does."""
    this = f"state{where}" if where else "It"
    if isinstance(expected, Mapping):
        if type(state) is not type(expected):
            return f"{this} is {described(state)}, not a dictionary of {_listed(expected)}."
        if lacking := [name for name in expected if name not in state]:
            return f"{this} has no part {lacking[0]!r}."
        if unknown := [name for name in state if name not in expected]:
            return f"{this} has a part {unknown[0]!r} too many."
        parts = ((state[name], expected[name], f"{where}[{name!r}]") for name in expected)
        return next(filter(None, (difference_of_states(*part) for part in parts)), None)
    if isinstance(state, Mapping) and state and is_of_states(state):
        return f"{this} is a dictionary of {_listed(state)}, of which one may be meant."
    if not isinstance(state, State):
        return f"{this} is {described(state)}, not a State."
    if state.counted_by != expected.counted_by:
        return f"{this} was counted by {state.counted_by}, not by {expected.counted_by}."
    return _difference_of_leaves(state, expected, where)


def _difference_of_leaves(state: State[Any], expected: State[Any], where: str) -> str | None:
    """The first leaf that is not of the expected shape and dtype."""
    (leaves, tree), (wanted, wanted_tree) = _flat(state), _flat(expected)
    if tree == wanted_tree and all(map(_fits, leaves, wanted)):
        return None
    got, want = _by_path(state), _by_path(expected)
    for path in [*got, *want]:
        at = f"state{where}{path}"
        if path not in want:
            return f"{at}: expected nothing here, got {described(got[path])}. {_LOAD}"
        if path not in got:
            return f"{at}: expected {_kind(want[path])}, got nothing here. {_LOAD}"
        if not _fits(got[path], want[path]):
            expected_here, got_here = _kind(want[path]), described(got[path])
            return f"{at}: expected {expected_here}, got {got_here}. {_hint(got[path], want[path])}"
    return f"state{where} has other classes of nodes. {_LOAD}"


_LOAD = "Load saved arrays into the tree of `init()`, with its dtypes."


def _hint(leaf: Any, wanted: Any) -> str:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return "It has no values: call under `jax.eval_shape`."
    if getattr(leaf, "shape", wanted.shape) != wanted.shape:
        return "Call under `jax.vmap` if it has an axis of models or devices."
    return _LOAD


def _fits(leaf: Any, wanted: Any) -> bool:
    is_same = (getattr(leaf, n, None) == getattr(wanted, n) for n in ("shape", "dtype"))
    return all(is_same) and not isinstance(leaf, jax.ShapeDtypeStruct)


def _flat(tree: Any) -> tuple[list[Any], Any]:
    return jax.tree.flatten(tree)


def dotted(path: Any) -> str:
    """The path of a node in a tree, such as `num_fired.high`."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _by_path(tree: Any) -> dict[str, Any]:
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def _is_at_hand(leaf: Any) -> bool:
    """Whether a leaf is an array whose values this process can show."""
    if not isinstance(leaf, jax.Array) or isinstance(leaf, jax.core.Tracer):
        return isinstance(leaf, np.ndarray | np.generic)
    return leaf.is_fully_addressable and not leaf.is_deleted()


def _value(node: Any) -> Any:
    """The value of an accumulator, or the array itself."""
    return node.to_numpy() if hasattr(node, "to_numpy") else np.asarray(node)


def _kind(value: Any) -> str | None:
    """The dtype and shape, such as `float32[8]`; None for what has none."""
    if not (hasattr(value, "shape") and hasattr(value, "dtype")):
        return None
    return f"{value.dtype}[{','.join(map(str, value.shape))}]"


def described(value: Any) -> str:
    """What something is, such as `an array float32[8]`."""
    name = "array" if isinstance(value, jax.Array) else type(value).__name__
    name = f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"
    if isinstance(value, Mapping):
        return f"{name} of {_listed(value)}"
    if isinstance(value, _Tree):
        return f"{name} counted by {value.counted_by}"
    return f"{name} {_kind(value) or ''}".rstrip()


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


def _listed(children: Iterable[Any]) -> str:
    """Names in a row, at most eight of them."""
    names = [str(name) for name in children]
    shown = names[:8] + ["..."] * (len(names) > 8)
    return ", ".join(shown) or "nothing"
