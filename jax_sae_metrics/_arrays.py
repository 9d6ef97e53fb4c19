"""Helpers that all other files share: dtypes, axis names, sharding, trees, arithmetic."""

import contextlib
import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, PyTree, Shaped

Size: TypeAlias = Any  # an int, or a symbol of `jax.export`
AxisName: TypeAlias = str | tuple[str, ...]


def as_array(name: str, value: Any, expected: str = "an array") -> Array:
    """The input as an array; raise unless it is an array or a number."""
    if is_array(value):
        # NumPy has dtypes that JAX has not, such as objects and strings.
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            return jnp.asarray(value)
    raise not_an_array(name, value, expected)


def is_array(value: Any) -> bool:
    """Whether JAX would take this for an array, or a number, and lose nothing of it."""
    if isinstance(value, np.ma.MaskedArray):
        return False
    if isinstance(value, jax.Array | np.ndarray | np.generic | bool | int | float | complex):
        return True
    # Arrays of other libraries with a dtype of NumPy: pandas, h5py, xarray.
    is_like_numpy = isinstance(getattr(value, "dtype", None), np.dtype)
    return hasattr(value, "__jax_array__") or (is_like_numpy and hasattr(value, "__array__"))


def not_an_array(name: str, value: Any, expected: str) -> TypeError:
    """The error for an input that is no array, with what to pass instead."""
    given = f"a {type(value).__name__}"
    if isinstance(value, np.ndarray):
        given += f" of dtype {value.dtype}"
    return TypeError(f"{name}: expected {expected}, got {given}. {_instead(name, value)}".rstrip())


def _instead(name: str, value: Any) -> str:
    """What to pass in place of something that is no array."""
    if isinstance(value, jax.ShapeDtypeStruct):
        return "It has no values: call under `jax.eval_shape`."
    if isinstance(value, np.ma.MaskedArray):
        return f"Pass its data, {name}.data, and True where an item counts as mask=."
    if isinstance(value, np.ndarray):
        return "JAX has no such dtype: cast it to numbers or booleans."
    if isinstance(value, tuple | list) and len(value) == 2 and hasattr(value[1], "dtype"):
        return (
            "Pass what jax.lax.top_k returned as TopKActivations(values, indices, "
            "num_learned_features), and flat codes as SparseActivations; metrics take these as "
            "learned_activations alone."
        )
    if isinstance(value, tuple | list):
        return f"Make one of it: jnp.asarray({name})."
    if hasattr(value, "toarray") or hasattr(value, "todense"):
        dense = "toarray" if hasattr(value, "toarray") else "todense"
        few = "SparseActivations(values, vector_indices, feature_indices, shape)"
        return f"Pass all of its entries, {name}.{dense}(), or as learned_activations {few}."
    if type(value).__module__.partition(".")[0] == "torch" or hasattr(value, "__dlpack__"):
        return f"Convert it: jnp.from_dlpack({name})."
    if isinstance(value, Mapping):
        return f"Pass one of its values, each by its own keyword: {', '.join(map(str, value))}."
    return ""


def as_floating(name: str, value: Any) -> Float[Array, "..."]:
    """The input as an array; raise unless it is floating point."""
    array = as_array(name, value, "an array of floating-point dtype")
    if not jnp.issubdtype(array.dtype, jnp.floating):
        cast = f"{name}.astype(jnp.float32)" if hasattr(value, "astype") else f"float({name})"
        raise TypeError(
            f"{name}: expected a floating-point dtype, got {array.dtype} of shape {array.shape}. "
            f"Cast it, for example with {cast}."
        )
    return array


def as_boolean(name: str, value: Any, means: str) -> Bool[Array, "..."]:
    """The mask as an array; raise unless it is boolean."""
    array = as_array(name, value, f"an array of dtype bool (True {means})")
    if array.dtype != bool:
        raise TypeError(
            f"{name}: expected dtype bool (True {means}), got {array.dtype} of shape "
            f"{array.shape}. Compare it, for example with {name} != 0."
        )
    return array


def as_jax(leaf: Any) -> Any:
    """The leaf, as a JAX array if it is one of NumPy: saved, or left by `jax.checkpoint`."""
    return jnp.asarray(leaf) if isinstance(leaf, np.ndarray | np.generic) else leaf


def on_host(tree: PyTree) -> PyTree:
    """The tree, of NumPy arrays; raise if other processes hold parts of it."""
    try:
        return jax.tree.map(np.asarray, jax.device_get(tree))
    except RuntimeError as error:
        if "non-addressable" not in str(error):
            raise
        raise RuntimeError(
            "Other processes hold parts of this state: its arrays are spread over their devices. "
            "Give all of it to every device first, in all processes: state = jax.device_put(state, "
            "NamedSharding(mesh, PartitionSpec()))."
        ) from None


def at_least_float32(array: Array) -> Array:
    """The array in a dtype in which it may be subtracted, squared and summed."""
    return array.astype(jnp.float32) if array.dtype.itemsize < 4 else array


def computable(name: str, value: Any) -> Float[Array, "..."]:
    """The input in a dtype in which it may be subtracted, squared and summed."""
    return at_least_float32(as_floating(name, value))


def is_static(*sizes: Size) -> bool:
    """Whether all sizes are numbers, and none is a symbol of `jax.export`."""
    return all(isinstance(size, int) for size in sizes)


def sharded_as(array: Array) -> dict[str, Any]:
    """The argument that gives a result the sharding of an array, on explicit meshes."""
    sharding = jax.typeof(array).sharding
    return {"out_sharding": sharding} if sharding.mesh.explicit_axes else {}


def sharded_whole(array: Array) -> dict[str, Any]:
    """The argument that gives a result whole to every device, on explicit meshes."""
    mesh = jax.typeof(array).sharding.mesh
    return {"out_sharding": NamedSharding(mesh, PartitionSpec())} if mesh.explicit_axes else {}


def repeated(array: Array, shape: tuple[Size, ...]) -> Array:
    """The array in a larger shape, sharded as it is on explicit meshes."""
    if array.shape == shape:
        return array
    return jnp.broadcast_to(array, shape, **sharded_as(array))


def on_mesh_of(other: Array, array: Array) -> Array:
    """The array; if it is on no mesh, whole on the explicit one that another array is on."""
    mesh = jax.typeof(other).sharding.mesh
    if not mesh.explicit_axes or jax.typeof(array).sharding.mesh.explicit_axes:
        return array
    return jax.sharding.reshard(array, NamedSharding(mesh, PartitionSpec()))


def resharded_as(other: Array, array: Array) -> Array:
    """The array, on an explicit mesh sharded as another one of as many axes."""
    sharding = jax.typeof(other).sharding
    return jax.sharding.reshard(array, sharding) if sharding.mesh.explicit_axes else array


def unsharded(array: Array) -> Array:
    """The whole array on every device of an explicit mesh; without one, the array as it is."""
    mesh = jax.typeof(array).sharding.mesh
    whole = NamedSharding(mesh, PartitionSpec())
    return jax.sharding.reshard(array, whole) if mesh.explicit_axes else array


def varying_over(array: Any, axis_name: str) -> bool:
    """Whether JAX knows, under `shard_map`, that devices along an axis may hold other values."""
    kind = jax.typeof(array)
    # JAX 0.9 calls it `vma`.
    manual = getattr(kind, "manual_axis_type", None)
    return axis_name in (manual.varying if manual else getattr(kind, "vma", ()))


def map_nodes(kind: type[Any], function: Callable[..., Any], *trees: PyTree) -> PyTree:
    """The first tree, with `function` of each node of a kind, and of that node in the others."""

    def of_node(node: Any, *others: Any) -> Any:
        return function(node, *others) if isinstance(node, kind) else node

    return jax.tree.map(of_node, *trees, is_leaf=lambda node: isinstance(node, kind))


def nodes_of(kind: type[Any], tree: PyTree) -> list[Any]:
    """All nodes of a kind."""
    leaves = jax.tree.leaves(tree, is_leaf=lambda node: isinstance(node, kind))
    return [leaf for leaf in leaves if isinstance(leaf, kind)]


def halves(pair: Shaped[Array, "half=2 *shape"]) -> tuple[Array, Array]:
    """Both halves of a pair that is kept in one array."""
    # `lax` is traced in half the time of `pair[0]`.
    one, other = (lax.index_in_dim(pair, half, keepdims=False) for half in range(2))
    return one, other


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


# Compiled also outside of `jit`, where `jax_debug_nans` would stop at the constant.
@functools.partial(jax.jit, inline=True)
def ratio(
    numerator: Float[Array, "*shape"], denominator: Float[Array, "*#shape"]
) -> Float[Array, "*shape"]:
    """The correctly rounded quotient: n / n is 1, and 0 / 0 is NaN.

    It is NaN over a sum that overflowed, which would make it 0. Where one value divides many, XLA
    would multiply by its reciprocal instead, and 41 / 41 would be 0.99999994.
    """
    denominator = jnp.where(
        jnp.isinf(denominator), jnp.full_like(denominator, jnp.nan), denominator
    )
    return numerator / lax.optimization_barrier(jnp.broadcast_to(denominator, numerator.shape))
