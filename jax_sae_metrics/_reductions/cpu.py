"""Sums block by block, with running sums that stay in the cache: the form for CPU."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, PyTree

from .functions import Functions, Sums, apply, flatten_items

# XLA:CPU fuses a sum with what it reads up to about so many rows; of more, it writes that out.
_GROUP = 16
# Running sums of so many entries stay in the cache of a core.
_CACHED_SUMS = 2**17
_MAX_GROUPS = 8
# So many features of a row are added at a time, as vectors along the rest of the row.
_FOLD = 8
# The counts of a group go into the bytes of an integer: there are few registers.
_BITS, _COUNTS_PER_INTEGER, _BYTE = 8, 4, 0xFF


def sum_in_blocks(
    arrays: tuple[Array, ...], mask: Array | None, functions: Functions, num_item_axes: int
) -> Sums:
    """Sum over blocks of a few groups of rows, one block after the other."""
    item_shape, inner_shape = arrays[0].shape[:num_item_axes], arrays[0].shape[num_item_axes:]
    width = math.prod(inner_shape)

    def sum_groups(block: PyTree[Array]) -> list[Array]:
        columns = apply(functions.per_feature, *block)
        return _sum_rows([c.reshape(*c.shape[:2], width) for c in columns])

    def sum_vectors(block: PyTree[Array]) -> list[Array]:
        return _sum_features(apply(functions.per_vector, block[0]))

    rows = jax.tree.map(lambda x: flatten_items(x, num_item_axes), (arrays, mask))
    num_items = len(rows[0][0])
    most_groups = min(max(_CACHED_SUMS // width, 1), _MAX_GROUPS)
    start, parts = 0, []
    for num_groups in sorted({most_groups, 1}, reverse=True):
        num_blocks = (num_items - start) // (num_groups * _GROUP)
        if num_blocks == 0:
            continue
        shape, stop = (num_groups, _GROUP, num_blocks), start + num_groups * _GROUP * num_blocks
        # A block takes one row in every `num_blocks`: a batch that is sharded over devices then
        # has its groups on one device each.
        blocks = jax.tree.map(lambda x: x[start:stop].reshape(*shape, *x.shape[1:]), rows)  # noqa: B023
        parts.append(_scan_blocks(sum_groups, sum_vectors, blocks))
        start = stop
    rest = jax.tree.map(lambda x: x[None, start:], rows)
    parts.append((sum_groups(rest), sum_vectors(rest)))

    per_group, per_row = zip(*parts, strict=True)
    return Sums(
        per_feature=tuple(
            _as_float32(jnp.sum(jnp.concatenate(groups), 0, groups[0].dtype)).reshape(inner_shape)
            for groups in zip(*per_group, strict=True)
        ),
        per_vector=tuple(
            _as_float32(jnp.concatenate([flatten_items(row, 2) for row in rows])).reshape(
                *item_shape, *inner_shape[:-1]
            )
            for rows in zip(*per_row, strict=True)
        ),
    )


def _scan_blocks(
    sum_groups: Callable[[PyTree[Array]], list[Array]],
    sum_vectors: Callable[[PyTree[Array]], list[Array]],
    blocks: PyTree[Array],
) -> tuple[list[Array], list[Array]]:
    """Of `[group, row, block, *component, feature]`: `[group, column]` and `[group, rows, ...]`."""

    def step(totals: list[Array], index: Array) -> tuple[list[Array], list[Array]]:
        # Tied to the counter, arrays of bf16 are not made float32 as a whole before the loop.
        whole, index = lax.optimization_barrier((blocks, index))
        block = jax.tree.map(lambda x: lax.dynamic_index_in_dim(x, index, 2, keepdims=False), whole)
        added = [total + sums for total, sums in zip(totals, sum_groups(block), strict=True)]
        return added, sum_vectors(block)

    num_groups, _, num_blocks = jax.tree.leaves(blocks)[0].shape[:3]
    # Sums of no rows, rather than zeros: they vary over devices exactly as the rows do.
    empty = sum_groups(jax.tree.map(lambda x: x[:, :0, 0], blocks))
    totals, vectors = lax.scan(step, empty, jnp.arange(num_blocks, dtype=jnp.int32))
    in_order = [jnp.moveaxis(values, 0, 2) for values in vectors]
    return totals, [
        values.reshape(num_groups, _GROUP * num_blocks, *values.shape[3:]) for values in in_order
    ]


def _sum_rows(columns: list[Array]) -> list[Array]:
    """Of `[group, row, column]`, with at most 16 rows: the sum, or the count, per group."""
    counted = [i for i, values in enumerate(columns) if values.dtype == bool]
    packs = [
        counted[i : i + _COUNTS_PER_INTEGER] for i in range(0, len(counted), _COUNTS_PER_INTEGER)
    ]
    packed = [
        functools.reduce(
            jnp.bitwise_or,
            (columns[i].astype(jnp.int32) << (_BITS * byte) for byte, i in enumerate(pack)),
        )
        for pack in packs
    ]
    summed = [i for i in range(len(columns)) if i not in counted]
    (*sums,) = _reduce([*packed, *(columns[i] for i in summed)], axis=1)
    results = dict(zip(summed, sums[len(packed) :], strict=True))
    for pack, integer in zip(packs, sums, strict=False):
        for byte, i in enumerate(pack):
            results[i] = (integer >> (_BITS * byte)) & _BYTE
    return [results[i] for i in range(len(columns))]


def _sum_features(rows: list[Array]) -> list[Array]:
    """The sum, or the count, over the last axis."""
    rows = [values.astype(jnp.int32) if values.dtype == bool else values for values in rows]
    if not rows or rows[0].shape[-1] <= _FOLD:
        return _reduce(rows, axis=-1)
    *leading, size = rows[0].shape
    folded = size // _FOLD * _FOLD
    vectors = [values[..., :folded].reshape(*leading, _FOLD, size // _FOLD) for values in rows]
    # Without the barrier, XLA would merge the levels into one again.
    sums = _sum_features(lax.optimization_barrier(_reduce(vectors, axis=-2)))
    rest = _reduce([values[..., folded:] for values in rows], axis=-1)
    return [total + more for total, more in zip(sums, rest, strict=True)]


def _reduce(arrays: list[Array], axis: int) -> list[Array]:
    """The sums of all arrays over an axis, as one reduction."""
    if not arrays:
        return []
    if len(arrays) == 1 and jnp.issubdtype(arrays[0].dtype, jnp.floating):
        # XLA:CPU leaves the sum of a single array of floats to a library, which reads it from
        # memory. Two sums it makes itself, fused with what they read: the second is of zeros.
        total, zero = _reduce([arrays[0], jnp.zeros(arrays[0].shape, jnp.uint8)], axis)
        return [total + zero.astype(total.dtype)]

    def add(totals: list[Array], values: list[Array]) -> list[Array]:
        return [total + value for total, value in zip(totals, values, strict=True)]

    zeros = [np.zeros((), array.dtype) for array in arrays]
    return lax.reduce(arrays, zeros, add, (axis % arrays[0].ndim,))


def _as_float32(sums: Array) -> Array:
    return sums.astype(jnp.float32) if jnp.issubdtype(sums.dtype, jnp.floating) else sums
