"""Helpers that all other files share: dtypes, axis names, sharding, trees, arithmetic."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Float32, PyTree

AxisName: TypeAlias = str | tuple[str, ...]


def as_floating(name: str, value: Any) -> Float[Array, "..."]:
    """The input as an array; raise unless it is floating point."""
    if not (hasattr(value, "dtype") or np.isscalar(value)):
        raise TypeError(
            f"{name}: expected an array of floating-point dtype, got a {type(value).__name__}. "
            "Pass what jax.lax.top_k returned as TopKActivations(values, indices, "
            "num_learned_features); metrics take that as learned_activations alone."
        )
    array = jnp.asarray(value)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(
            f"{name}: expected a floating-point dtype, got {array.dtype} of shape {array.shape}. "
            f"Cast it, for example with {name}.astype(jnp.float32)."
        )
    return array


def at_least_float32(array: Array) -> Array:
    """The array in a dtype in which it may be subtracted, squared and summed."""
    return array.astype(jnp.float32) if array.dtype.itemsize < 4 else array


def computable(name: str, value: Any) -> Float[Array, "..."]:
    """The input in a dtype in which it may be subtracted, squared and summed."""
    return at_least_float32(as_floating(name, value))


def sharded_as(array: Array) -> dict[str, Any]:
    """The argument that gives a result the sharding of an array, on explicit meshes."""
    sharding = jax.typeof(array).sharding
    return {"out_sharding": sharding} if sharding.mesh.explicit_axes else {}


def unsharded(array: Array) -> Array:
    """The whole array on every device of an explicit mesh; without one, the array as it is."""
    mesh = jax.typeof(array).sharding.mesh
    whole = NamedSharding(mesh, PartitionSpec())
    return jax.sharding.reshard(array, whole) if mesh.explicit_axes else array


def map_nodes(kind: type[Any], function: Callable[..., Any], *trees: PyTree) -> PyTree:
    """The first tree, with `function` of each node of a kind, and of that node in the others."""

    def of_node(node: Any, *others: Any) -> Any:
        return function(node, *others) if isinstance(node, kind) else node

    return jax.tree.map(of_node, *trees, is_leaf=lambda node: isinstance(node, kind))


def nodes_of(kind: type[Any], tree: PyTree) -> list[Any]:
    """All nodes of a kind."""
    leaves = jax.tree.leaves(tree, is_leaf=lambda node: isinstance(node, kind))
    return [leaf for leaf in leaves if isinstance(leaf, kind)]


def two_sum(
    one: Float[Array, "*shape"], other: Float[Array, "*shape"]
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """The rounded sum, and exactly what rounding lost (Knuth's two-sum)."""
    total = as_written(one + other)
    mine = as_written(total - other)
    return total, (one - mine) + (other - (total - mine))


def as_written(rounded: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The number, as it was rounded.

    With --xla_cpu_enable_fast_math, the compiler would simplify (a + b) - a to b.
    """
    return lax.optimization_barrier(rounded)


def ratio(
    numerator: Float32[Array, "*shape"], denominator: Float32[Array, "*#shape"]
) -> Float32[Array, "*shape"]:
    """The correctly rounded quotient: n / n is 1, and 0 / 0 is NaN.

    Where one value divides many, XLA would multiply by its reciprocal instead, and 41 / 41 would
    be 0.99999994.
    """
    return numerator / lax.optimization_barrier(jnp.broadcast_to(denominator, numerator.shape))
