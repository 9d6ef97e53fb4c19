"""States and observations of one metric: accumulators, and what one batch adds to each."""

import abc
import contextlib
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import equinox as eqx
import jax
import numpy as np
from jax import lax

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
    state of a collection is a `CollectionState`.

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


def _is_at_hand(leaf: Any) -> bool:
    """Whether a leaf is an array whose values this process can show."""
    if not isinstance(leaf, jax.Array) or isinstance(leaf, jax.core.Tracer):
        return isinstance(leaf, np.ndarray | np.generic)
    return leaf.is_fully_addressable and not leaf.is_deleted()


def _value(node: Any) -> Any:
    """The value of an accumulator, or the array itself."""
    if not hasattr(node, "to_numpy"):
        return np.asarray(node)
    # A state that is stacked over models or devices has an axis in front, and so no single value.
    with contextlib.suppress(ValueError, KeyError, IndexError):
        return node.to_numpy()
    return jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", node)


def dotted(path: Any) -> str:
    """The path of a node in a tree, such as `num_fired.high`."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


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
