"""Plain sums: the form for TPU, and for explicitly sharded arrays."""

import math

import jax.numpy as jnp
from jaxtyping import Array

from .functions import Functions, Sums, apply

# Beyond it, float32 cannot count one by one.
_MAX_FLOAT_COUNT = 2**24


def sum_at_once(
    arrays: tuple[Array, ...], mask: Array | None, functions: Functions, num_item_axes: int
) -> Sums:
    """Each sum by itself. XLA:TPU makes sums of one dtype a single pass over the arrays."""
    items = tuple(range(num_item_axes))
    num_items = math.prod(arrays[0].shape[:num_item_axes])
    columns = apply(functions.per_feature, arrays, mask)
    rows = apply(functions.per_vector, arrays)
    return Sums(
        per_feature=tuple(plain_sum(column, items, num_items) for column in columns),
        per_vector=tuple(plain_sum(row, (-1,), row.shape[-1]) for row in rows),
    )


def plain_sum(values: Array, axes: tuple[int, ...], highest: int) -> Array:
    """The sum of floats as float32, or the count (at most `highest`) of booleans as int32.

    Counts are added up as float32 wherever that is exact: sums of one dtype become one pass and,
    over devices, one all-reduce.
    """
    if jnp.issubdtype(values.dtype, jnp.floating):
        return jnp.sum(values, axes).astype(jnp.float32)
    dtype = jnp.float32 if highest <= _MAX_FLOAT_COUNT else jnp.int32
    return jnp.sum(values, axes, dtype=dtype).astype(jnp.int32)
