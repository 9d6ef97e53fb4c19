"""The values of a function at all entries, and their reduction."""

import math

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from .._arrays import Size, at_least_float32, is_static, repeated, sharded_as
from .function import at_every_entry
from .reduction import Reduction, Vectors


def values_of(reduction: Reduction, vectors: Vectors, index: int | None = None) -> Array:
    """The function's value for every entry; masked entries get one that changes no result.

    With an index, XLA does not see that the function shares its inputs: see `_as_its_own`. For
    `last_per_feature`, positions stand in place of True, if there are positions.
    """
    arrays = vectors.arrays
    if index is not None:
        arrays = tuple(_as_its_own(array, index) for array in arrays)
    wide = [at_least_float32(array) for array in arrays]
    # What is the same for all components gets an entry for each.
    wide = [repeated(array, vectors.shape) for array in wide]
    wide += [_spread(constant, wide[0]) for constant in reduction.constants]
    values = at_every_entry(reduction.function, wide)
    if vectors.mask is not None and not reduction.is_per_vector:
        masked = -math.inf if reduction.kind == "max_per_feature" else 0
        # Select, never multiply: NaN * 0 is NaN.
        values = jnp.where(vectors.mask[..., None], values, jnp.asarray(masked, values.dtype))
    if reduction.kind == "last_per_feature" and vectors.positions is not None:
        # Not `where`: for no items, its result would come from the positions alone, which are the
        # same on all devices. A scan over each device's own items must not begin with such a value.
        values = vectors.positions[..., None] * values.astype(vectors.positions.dtype)
    return values


def _spread(constant: Array, array: Array) -> Array:
    """The constant of each feature, in the shape, dtype and sharding of the array."""
    return jnp.broadcast_to(constant.astype(array.dtype), array.shape, **sharded_as(array))


def _as_its_own(array: Array, index: int) -> Array:
    """Hide from XLA that two functions share their inputs.

    Functions may have a part in common, such as `x > 0`. XLA would compute that part first, in a
    separate pass that writes it out for all of them. XLA does not see that `always` holds
    everywhere.
    """
    shape, sharded = array.shape, sharded_as(array)
    row, column = (lax.broadcasted_iota(jnp.int32, shape, axis, **sharded) for axis in (1, 0))
    always = lax.lt(row, lax.add(column, lax.full_like(column, shape[1] + index)))
    return lax.select(always, array, lax.full_like(array, 0))


def lowest(dtype: jnp.dtype) -> np.ndarray:
    """The identity of a maximum: minus infinity, or 0 for positions."""
    is_float = jnp.issubdtype(dtype, jnp.floating)
    return np.asarray(-np.inf if is_float else 0, dtype)


def joined(one: Array, other: Array, is_maximum: bool) -> Array:
    """The larger of both, or their sum."""
    return lax.max(one, other) if is_maximum else lax.add(one, other)


def reduce_together(arrays: list[Array], are_maxima: list[bool], axis: int) -> list[Array]:
    """The sum or maximum of each array over an axis, all as one reduction."""
    if not arrays:
        return []
    start = [
        lowest(values.dtype) if is_maximum else np.zeros((), values.dtype)
        for values, is_maximum in zip(arrays, are_maxima, strict=True)
    ]

    def combine(one: list[Array], other: list[Array]) -> list[Array]:
        return [joined(*each) for each in zip(one, other, are_maxima, strict=True)]

    return lax.reduce(arrays, start, combine, (axis % arrays[0].ndim,))


# Arrays of so many entries stay in the cache of a core, where further reads of them cost little.
_NUM_CACHED = 2**16


def is_small(shape: tuple[Size, ...]) -> bool:
    """Whether kernels cost more than reads of arrays of this shape."""
    return is_static(*shape) and math.prod(shape) <= _NUM_CACHED


def flatten_items(array: Array, num_item_axes: int) -> Array:
    """Merge the axes of items into one."""
    num_items = math.prod(array.shape[:num_item_axes])
    return array.reshape(num_items, *array.shape[num_item_axes:])
