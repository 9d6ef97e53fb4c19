"""What is summed, and what comes out."""

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

Function: TypeAlias = Callable[..., Array]


class Sums(NamedTuple):
    """One array a function: an int32 count where it returns booleans, else a float32 sum."""

    per_feature: tuple[Array, ...]  # [*component, feature]: over items
    per_vector: tuple[Array, ...]  # [*item, *component]: over features


class Functions(NamedTuple):
    """The elementwise functions of some arrays that are summed over items or over features."""

    per_feature: tuple[Function, ...] = ()
    per_vector: tuple[Function, ...] = ()


def apply(
    functions: tuple[Function, ...], arrays: tuple[Array, ...], mask: Array | None = None
) -> list[Array]:
    """The functions' values, of at least float32; 0 or False where masked out."""
    arrays = tuple(at_least_float32(array) for array in arrays)
    values = [_of_each_entry(function, arrays[0].ndim)(*arrays) for function in functions]
    if mask is None:
        return values
    # Select, never multiply: NaN * 0 is NaN.
    return [jnp.where(mask[..., None], value, jnp.zeros((), value.dtype)) for value in values]


def _of_each_entry(function: Function, ndim: int) -> Function:
    # A function sees single numbers: it cannot depend on how the arrays are cut into blocks.
    for _ in range(ndim):
        function = jax.vmap(function)
    return function


def check_function(function: Function, num_arrays: int) -> jnp.dtype:
    """The dtype of the function's sum; raise unless it makes one number of one from each array."""
    number = jax.ShapeDtypeStruct((), jnp.float32)
    rule = (
        f"{function!r}: expected a function of {num_arrays} number(s), one entry of each array, "
        "that returns a boolean or a float"
    )
    try:
        value = jax.eval_shape(function, *(number,) * num_arrays)
    except (TypeError, ValueError, IndexError) as error:
        raise TypeError(f"{rule}. It raised: {error}") from error
    dtype = getattr(value, "dtype", jnp.dtype(object))
    is_count = jnp.issubdtype(dtype, jnp.bool_)
    if getattr(value, "shape", None) != () or not (is_count or jnp.issubdtype(dtype, jnp.floating)):
        raise TypeError(
            f"{rule}, got {value}. It sees no other entries, of no other feature or vector; what "
            "differs from feature to feature, such as decoder norms, multiplies the sum afterwards."
        )
    return jnp.dtype(jnp.int32 if is_count else jnp.float32)


def at_least_float32(array: Array) -> Array:
    """The array in a dtype in which it may be subtracted, squared and summed."""
    return array.astype(jnp.float32) if array.dtype.itemsize < 4 else array


def flatten_items(array: Array, num_item_axes: int) -> Array:
    """One axis for all items."""
    num_items = math.prod(array.shape[:num_item_axes])
    return array.reshape(num_items, *array.shape[num_item_axes:])


def sum_together(arrays: list[Array], axis: int) -> list[Array]:
    """The sums of all arrays over an axis, as one reduction."""
    if not arrays:
        return []

    def add(totals: list[Array], values: list[Array]) -> list[Array]:
        return [total + value for total, value in zip(totals, values, strict=True)]

    zeros = [np.zeros((), array.dtype) for array in arrays]
    return lax.reduce(arrays, zeros, add, (axis % arrays[0].ndim,))
