"""States as nested dictionaries of NumPy arrays, which every format of files can hold."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._arrays import on_host
from .collection_state import unpooled
from .flatten import flatten
from .mismatch import MismatchError, described, difference_of_states
from .state import State, dotted

_SCHEMA_VERSION = 1


def to_state_dict(state: Any, metric: str) -> dict[str, Any]:
    """A state as nested dictionaries of NumPy arrays, with the call that makes its metric."""
    return {
        "schema_version": np.asarray(_SCHEMA_VERSION, np.int32),
        "metric": in_bytes(metric),
        "state": _to_arrays(unpooled(on_host(state))),
    }


def in_bytes(text: str) -> np.ndarray:
    """A text as an array, which every format can hold."""
    return np.frombuffer(text.encode(), np.uint8)


def in_text(array: Any) -> str:
    """The text that `in_bytes` made an array of."""
    return np.asarray(array).tobytes().decode(errors="replace")


def _to_arrays(state: Any) -> dict[str, Any]:
    if isinstance(state, Mapping):
        return {name: _to_arrays(part) for name, part in state.items()}
    # The arrays on the host may be those of the device, which the next step may overwrite.
    arrays = {name: np.array(leaf) for name, leaf in _named_leaves(state)}
    return {"configuration": in_bytes(state.counted_by), "arrays": arrays}


def from_state_dict(state_dict: Any, expected: Any, empty: Any | None) -> Any:
    """The state that a dictionary holds, of the tree of the expected one.

    The parts that it lacks are those of `empty`, if that is given. Raises `MismatchError`, with
    what is different, unless all else is as expected.
    """
    if not isinstance(state_dict, Mapping):
        raise MismatchError(f"It is {described(state_dict)}, not a dictionary.")
    rest = flatten(plain(state_dict))
    _check_version(rest.pop("schema_version", None))
    rest.pop("metric", None)  # what it was read by; what it was counted by is compared
    state = _from_arrays(rest, expected, empty, "state")
    if difference := difference_of_states(state, expected):
        raise MismatchError(difference)
    if rest:
        raise MismatchError(f"It has {next(iter(rest))!r} too many.")
    return jax.tree.map(jnp.array, state)


def _from_arrays(rest: dict[str, Any], expected: Any, empty: Any | None, where: str) -> Any:
    """The state, of what is taken away from a flat dictionary."""
    if isinstance(expected, Mapping):
        return {
            name: _from_arrays(rest, part, empty and empty[name], f"{where}/{name}")
            for name, part in expected.items()
        }
    configuration = rest.pop(f"{where}/configuration", None)
    if configuration is None:
        if empty is None:
            raise MismatchError(f"It has no {where!r}, which would be of {expected.counted_by}.")
        return empty
    # An array that is not there is None: a part of the tree that is missing.
    leaves = [rest.pop(f"{where}/arrays/{name}", None) for name, _ in _named_leaves(expected)]
    state = jax.tree.unflatten(jax.tree.structure(expected), leaves)
    return State(in_text(configuration), state.accumulators)


def _named_leaves(state: State[Any]) -> list[tuple[str, Any]]:
    leaves = jax.tree.leaves_with_path(state.accumulators)
    return [(dotted(path), leaf) for path, leaf in leaves]


def plain(value: Any) -> Any:
    """The dictionary, also of what `np.savez` made of its inner dictionaries."""
    if isinstance(value, np.ndarray) and value.dtype == object and value.ndim == 0:
        value = value.item()
    return {str(k): plain(v) for k, v in value.items()} if isinstance(value, Mapping) else value


def _check_version(version: Any) -> None:
    if version is None:
        raise MismatchError("It has no 'schema_version'.")
    if int(version) > _SCHEMA_VERSION:
        raise MismatchError(
            f"It is of schema version {int(version)}, and this release of jax_sae_metrics knows "
            f"those up to {_SCHEMA_VERSION}. Load it with a newer release."
        )
