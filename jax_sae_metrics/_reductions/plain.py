"""Plain reductions: the form for TPU, for explicitly sharded arrays, and for unknown platforms."""

import math

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from .._arrays import Size, is_static
from .reduction import Reduction, Vectors
from .values import lowest, values_of

# Beyond this, float32 cannot count in steps of one.
_MAX_FLOAT_COUNT = 2**24


def reduce_at_once(
    reductions: tuple[Reduction, ...], vectors: Vectors, num_item_axes: int
) -> list[Array]:
    """Reduce each by itself. XLA:TPU merges them into one pass if all are float32."""
    *batch, num_features = vectors.shape
    items, num_items = tuple(range(num_item_axes)), math.prod(batch[:num_item_axes])

    def reduce(index: int, reduction: Reduction) -> Array:
        # Maxima alone get arrays of their own. XLA:TPU merges equal parts of sums into one pass
        # anyway, while a maximum with an input that it can merge costs a second read.
        values = values_of(reduction, vectors, index if reduction.is_maximum else None)
        if reduction.is_per_vector:
            return plain_sum(values, (-1,), num_features)
        return plain_reduce(values, reduction.is_maximum, items, num_items)

    return [reduce(index, reduction) for index, reduction in enumerate(reductions)]


def plain_reduce(values: Array, is_maximum: bool, axes: tuple[int, ...], highest: Size) -> Array:
    """The sum or the maximum; integers are at most `highest`."""
    if not is_maximum:
        return plain_sum(values, axes, highest)
    dtype = jnp.int32 if values.dtype == jnp.int32 else jnp.float32
    initial = lowest(values.dtype).item()  # 0 for positions, as int32 and as float32
    if dtype == jnp.int32 and _is_exact(highest):
        values = values.astype(jnp.float32)
    return jnp.max(values, axes, initial=initial).astype(dtype)


def plain_sum(values: Array, axes: tuple[int, ...], highest: Size) -> Array:
    """The sum of floats as float32, or the sum of integers or count of booleans as int32.

    Counts, at most `highest`, are added as float32 wherever that is exact: sums of one dtype become
    one pass and, over devices, one all-reduce.
    """
    axes = tuple(axis % values.ndim for axis in axes)
    if jnp.issubdtype(values.dtype, jnp.floating):
        return lax.reduce_sum(values, axes).astype(jnp.float32)
    is_count = values.dtype != jnp.int32
    dtype = jnp.float32 if is_count and _is_exact(highest) else jnp.int32
    return lax.reduce_sum(values.astype(dtype), axes).astype(jnp.int32)


def _is_exact(highest: Size) -> bool:
    return is_static(highest) and highest <= _MAX_FLOAT_COUNT
