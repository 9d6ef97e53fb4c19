"""Where the arrays of a state are placed."""

from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec


def fitting(spec: PartitionSpec, shape: tuple[int, ...], axes: tuple[int, ...]) -> PartitionSpec:
    """The spec of an array with these axes, cut to those of them that `shape` begins with."""
    num_common = max(n for n in range(len(axes) + 1) if shape[:n] == axes[:n])
    return type(spec)(*spec[:num_common])


def placed(state: Any, sharding: NamedSharding, specs: Any) -> Any:
    """The state on the devices of a sharding, each leaf by its spec."""

    def place(leaf: Any, spec: PartitionSpec) -> Any:
        return jax.device_put(
            leaf, NamedSharding(sharding.mesh, spec, memory_kind=sharding.memory_kind)
        )

    return jax.tree.map(place, state, specs)
