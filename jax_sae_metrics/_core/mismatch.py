"""What makes a state another than the expected one, in words."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax

from .state import Observation, State


class MismatchError(ValueError):
    """What is given does not fit the state of a metric."""


def is_of_states(tree: Any) -> bool:
    """Whether a tree is made of states or observations, which name their configurations already."""
    if isinstance(tree, Mapping):
        return all(is_of_states(node) for node in tree.values())
    return isinstance(tree, State | Observation)


def difference_of_states(state: Any, expected: Any, where: str = "") -> str | None:
    """In a sentence, what makes a state another than the expected one; None if nothing does."""
    this = f"state{where}" if where else "It"
    if _flat(state)[1] == _flat(expected)[1]:
        return _difference_of_leaves(state, expected, where)
    if isinstance(expected, Mapping):
        if not isinstance(state, Mapping):
            return f"{this} is {described(state)}, not a dictionary of {listed(expected)}."
        if lacking := [name for name in expected if name not in state]:
            return f"{this} has no part {lacking[0]!r}."
        if unknown := [name for name in state if name not in expected]:
            return f"{this} has a part {unknown[0]!r} too many."
        parts = ((state[name], expected[name], f"{where}[{name!r}]") for name in expected)
        return next(filter(None, (difference_of_states(*part) for part in parts)), None)
    if isinstance(state, Mapping) and state and is_of_states(state):
        return f"{this} is a dictionary of {listed(state)}, of which one may be meant."
    if not isinstance(state, State):
        return f"{this} is {described(state)}, not a State."
    if state.counted_by != expected.counted_by:
        return f"{this} was counted by {state.counted_by}, not by {expected.counted_by}."
    return _difference_of_leaves(state, expected, where)


def _difference_of_leaves(state: Any, expected: Any, where: str) -> str | None:
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


def _by_path(tree: Any) -> dict[str, Any]:
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


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
        return f"{name} of {listed(value)}"
    if isinstance(value, State | Observation):
        return f"{name} counted by {value.counted_by}"
    return f"{name} {_kind(value) or ''}".rstrip()


def listed(children: Iterable[Any]) -> str:
    """Names in a row, at most eight of them."""
    names = [str(name) for name in children]
    shown = names[:8] + ["..."] * (len(names) > 8)
    return ", ".join(shown) or "nothing"
