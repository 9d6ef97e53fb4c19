"""Sums over the items of a batch, in the form that is fast on the platform at hand."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array

# XLA:CPU fuses a reduction with what it reads only up to 32 elements.
_GROUP = 32


def sum_over_items(values: Array, num_item_axes: int, dtype: DTypeLike) -> Array:
    """The sum over the leading axes of `values`, accumulated in `dtype`.

    XLA:CPU writes out what a long reduction reads: for a count of active features, an int32 array
    as large as the activations. There, groups of items are summed first, which fuses with the
    comparison, and then the groups, window by window. Elsewhere XLA does well by itself.
    """
    in_one = functools.partial(_in_one, num_item_axes=num_item_axes, dtype=dtype)
    in_groups = functools.partial(_in_groups, num_item_axes=num_item_axes, dtype=dtype)
    num_items = math.prod(values.shape[:num_item_axes])
    # Explicitly sharded axes cannot be split into groups.
    if num_items <= _GROUP or jax.typeof(values).sharding.mesh.explicit_axes:
        return in_one(values)
    return lax.platform_dependent(values, cpu=in_groups, default=in_one)


def _in_one(values: Array, num_item_axes: int, dtype: DTypeLike) -> Array:
    return jnp.sum(values, axis=tuple(range(num_item_axes)), dtype=dtype)


def _in_groups(values: Array, num_item_axes: int, dtype: DTypeLike) -> Array:
    shape = values.shape[num_item_axes:]
    rows = values.reshape(-1, math.prod(shape))
    num_grouped = len(rows) // _GROUP * _GROUP
    grouped, rest = rows[:num_grouped], rows[num_grouped:]
    sums = jnp.sum(grouped.reshape(-1, _GROUP, rows.shape[1]), axis=1, dtype=dtype)
    # Without the barrier, XLA would merge both levels into one again.
    sums = lax.optimization_barrier(sums)
    while len(sums) > 1:
        window, padding = (_GROUP, 1), ((0, -len(sums) % _GROUP), (0, 0))
        zero = np.zeros((), sums.dtype)
        sums = lax.reduce_window(sums, zero, lax.add, window, window, padding)
    return (sums[0] + jnp.sum(rest, axis=0, dtype=dtype)).reshape(shape)
