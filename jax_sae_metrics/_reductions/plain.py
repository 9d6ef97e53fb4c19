"""Plain reductions: the form for TPU, and for explicitly sharded arrays."""

import itertools
import math

import jax.numpy as jnp
from jaxtyping import Array

from .functions import Column, Kinds, Rows, columns, lowest, results, vectors

# Beyond it, float32 cannot count one by one.
_MAX_FLOAT_COUNT = 2**24


def reduce_at_once(rows: Rows, constants: Kinds, terms: Kinds, num_item_axes: int) -> Kinds:
    """Each by itself. XLA:TPU makes them a single pass over the arrays, if all are float32."""
    items = tuple(range(num_item_axes))
    num_items = math.prod(rows.arrays[0].shape[:num_item_axes])
    given = columns(terms, constants, rows, itertools.count(1))
    reduced = [plain_reduce(column, items, num_items) for column in given]
    summed = [plain_sum(v, (-1,), v.shape[-1]) for v in vectors(terms, constants, rows)]
    return results(terms, reduced, summed)


def plain_reduce(column: Column, axes: tuple[int, ...], highest: int) -> Array:
    """The sum of a column, or the maximum, where integers are at most `highest`."""
    values, is_maximum = column
    if not is_maximum:
        return plain_sum(values, axes, highest)
    dtype = jnp.int32 if values.dtype == jnp.int32 else jnp.float32
    if dtype == jnp.int32 and highest <= _MAX_FLOAT_COUNT:
        values = values.astype(jnp.float32)
    return jnp.max(values, axes, initial=lowest(values.dtype)).astype(dtype)


def plain_sum(values: Array, axes: tuple[int, ...], highest: int) -> Array:
    """The sum of floats as float32, the sum of integers, or the count of booleans as int32.

    Counts, at most `highest`, are added up as float32 wherever that is exact: what has one dtype
    becomes one pass and, over devices, one all-reduce.
    """
    if jnp.issubdtype(values.dtype, jnp.floating):
        return jnp.sum(values, axes).astype(jnp.float32)
    is_count = values.dtype != jnp.int32
    dtype = jnp.float32 if is_count and highest <= _MAX_FLOAT_COUNT else jnp.int32
    return jnp.sum(values, axes, dtype=dtype).astype(jnp.int32)
