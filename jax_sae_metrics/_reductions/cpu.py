"""Sums block by block, with running sums that stay in the cache: the form for CPU."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from .functions import (
    Column,
    Kinds,
    Rows,
    columns,
    flatten_items,
    lowest,
    reduce_together,
    results,
    vectors,
)
from .plain import reduce_at_once

# XLA:CPU fuses a sum with what it reads up to about so many rows; of more, it writes that out.
_GROUP = 16
# Running sums of so many entries stay in the cache of a core.
_CACHED_SUMS = 2**17
_MAX_GROUPS = 8
# Of fewer rows in all, more groups would take memory that counts beside the activations.
_ROWS_PER_GROUP = 256
# So many features of a row are added at a time, as vectors along the rest of the row.
_FOLD = 8
# The counts of a group go into the bytes of an integer: there are few registers.
_BITS, _COUNTS_PER_INTEGER, _BYTE = 8, 4, 0xFF


def reduce_in_blocks(rows: Rows, constants: Kinds, terms: Kinds, num_item_axes: int) -> Kinds:
    """Reduce blocks of a few groups of rows, one block after the other."""
    are_maxima = [False] * len(terms.per_feature) + [True] * len(terms.largest + terms.last)
    if not are_maxima and len(terms.per_vector) == 1 and len(rows.arrays) > 1:
        # Of several arrays, XLA:CPU makes a single sum well by itself. In a train step it also has
        # a better time for it: what a loop reads is held until after the loop.
        return reduce_at_once(rows, constants, terms, num_item_axes)
    shape = rows.arrays[0].shape
    item_shape, inner_shape = shape[:num_item_axes], shape[num_item_axes:]
    width = math.prod(inner_shape)
    flat = jax.tree.map(lambda x: flatten_items(x, num_item_axes), rows)

    def reduce_groups(block: Rows) -> list[Array]:
        return _reduce_rows(
            [
                column._replace(values=column.values.reshape(*column.values.shape[:2], width))
                for column in columns(terms, constants, block)
            ]
        )

    def sum_vectors(block: Rows) -> list[Array]:
        return _sum_features(vectors(terms, constants, block))

    num_items = len(flat.arrays[0])
    most_groups = max(1, min(_MAX_GROUPS, _CACHED_SUMS // width, num_items // _ROWS_PER_GROUP))
    start, parts = 0, []
    for num_groups in sorted({most_groups, 1}, reverse=True):
        if num_blocks := (num_items - start) // (num_groups * _GROUP):
            blocks = _Blocks(start, num_groups, num_blocks, num_items)
            parts.append(_scan(blocks, flat, reduce_groups, sum_vectors, are_maxima))
            start = blocks.stop
    if start < num_items or not parts:
        rest = jax.tree.map(lambda x: x[None, start:], flat)
        parts.append((reduce_groups(rest), [flatten_items(v, 2) for v in sum_vectors(rest)]))

    per_group, per_row = zip(*parts, strict=True)
    reduced = [
        _as_float32(_combined(column, is_maximum)).reshape(inner_shape)
        for *column, is_maximum in zip(*per_group, are_maxima, strict=True)
    ]
    summed = [
        _as_float32(_concatenate(row)).reshape(*item_shape, *inner_shape[:-1])
        for row in zip(*per_row, strict=True)
    ]
    return results(terms, reduced, summed)


class _Blocks(NamedTuple):
    """The rows from `start` on as blocks of some groups of 16 rows."""

    start: int
    num_groups: int
    num_blocks: int
    num_items: int

    @property
    def shape(self) -> tuple[int, int]:
        """Of a block: `(group, row)`."""
        return self.num_groups, _GROUP

    @property
    def stop(self) -> int:
        """The first row behind the blocks."""
        return self.start + math.prod(self.shape) * self.num_blocks

    @property
    def are_all(self) -> bool:
        """Whether the blocks are all rows.

        Then each takes one row in every `num_blocks`: where a batch is sharded over devices, they
        have groups of their own. Otherwise its rows are neighbours, which need no copy.
        """
        return (self.start, self.stop) == (0, self.num_items)

    def take(self, rows: PyTree[Array], index: Array | int) -> PyTree[Array]:
        """The block at an index: `[group, row, *component, feature]`."""

        def take(x: Array) -> Array:
            if self.are_all:
                blocks = x.reshape(*self.shape, self.num_blocks, *x.shape[1:])
                return lax.dynamic_index_in_dim(blocks, index, 2, keepdims=False)
            size = math.prod(self.shape)
            block = lax.dynamic_slice_in_dim(x, self.start + index * size, size)
            return block.reshape(*self.shape, *x.shape[1:])

        return jax.tree.map(take, rows)

    def in_order(self, values: Array) -> Array:
        """Of `[block, group, row, *component]`: all rows, `[row, *component]`."""
        return flatten_items(jnp.moveaxis(values, 0, 2) if self.are_all else values, 3)


def _scan(
    blocks: _Blocks,
    rows: Rows,
    reduce_groups: Callable[[Rows], list[Array]],
    sum_vectors: Callable[[Rows], list[Array]],
    are_maxima: list[bool],
) -> tuple[list[Array], list[Array]]:
    """All blocks' columns per group, and the sums of each row."""

    def step(running: list[Array], index: Array) -> tuple[list[Array], list[Array]]:
        # Tied to the counter, arrays of bf16 are not made float32 as a whole before the loop; tied
        # to the first results, a block is not, to be read by both.
        whole, index = lax.optimization_barrier((rows, index))
        groups = reduce_groups(blocks.take(whole, index))
        whole, index, groups = lax.optimization_barrier((whole, index, groups))
        reduced = [
            jnp.maximum(a, b) if is_maximum else a + b
            for a, b, is_maximum in zip(running, groups, are_maxima, strict=True)
        ]
        return reduced, sum_vectors(blocks.take(whole, index))

    # Of no rows, rather than constants: they vary over devices exactly as the rows do.
    empty = reduce_groups(jax.tree.map(lambda x: x[:, :0], blocks.take(rows, 0)))
    reduced, summed = lax.scan(step, empty, jnp.arange(blocks.num_blocks, dtype=jnp.int32))
    return reduced, [blocks.in_order(values) for values in summed]


def _reduce_rows(given: list[Column]) -> list[Array]:
    """Of `[group, row, column]`, with at most 16 rows: the sum, count or maximum per group."""
    counted = [i for i, column in enumerate(given) if column.values.dtype == bool]
    packs = [
        counted[i : i + _COUNTS_PER_INTEGER] for i in range(0, len(counted), _COUNTS_PER_INTEGER)
    ]
    packed = [
        functools.reduce(
            jnp.bitwise_or,
            (given[i].values.astype(jnp.int32) << (_BITS * byte) for byte, i in enumerate(pack)),
        )
        for pack in packs
    ]
    others = [i for i in range(len(given)) if i not in counted]
    together = [Column(integers, is_maximum=False) for integers in packed]
    # Integers over rows are no such sum as XLA:CPU leaves to a library.
    reduce_all = _reduce_together if others else reduce_together
    reduced = reduce_all([*together, *(given[i] for i in others)], axis=1)
    found = dict(zip(others, reduced[len(packed) :], strict=True))
    for pack, integer in zip(packs, reduced, strict=False):
        for byte, i in enumerate(pack):
            found[i] = (integer >> (_BITS * byte)) & _BYTE
    return [found[i] for i in range(len(given))]


def _sum_features(rows: list[Array]) -> list[Array]:
    """The sum, or the count, over the last axis."""
    rows = [values.astype(jnp.int32) if values.dtype == bool else values for values in rows]
    if not rows or rows[0].shape[-1] <= _FOLD:
        return _sum_together(rows, axis=-1)
    *leading, size = rows[0].shape
    folded = size // _FOLD * _FOLD
    parts = [values[..., :folded].reshape(*leading, _FOLD, size // _FOLD) for values in rows]
    # Without the barrier, XLA would merge the levels into one again.
    sums = _sum_features(lax.optimization_barrier(_sum_together(parts, axis=-2)))
    rest = _sum_together([values[..., folded:] for values in rows], axis=-1)
    return [total + more for total, more in zip(sums, rest, strict=True)]


def _sum_together(arrays: list[Array], axis: int) -> list[Array]:
    return _reduce_together([Column(values, is_maximum=False) for values in arrays], axis)


def _reduce_together(given: list[Column], axis: int) -> list[Array]:
    """All columns over an axis, as one reduction of at least two."""
    if len(given) != 1 or given[0].is_maximum:
        return reduce_together(given, axis)
    # XLA:CPU leaves the sum of a single array to a library, which reads it from memory. Two sums it
    # makes itself, fused with what they read: the second is of zeros.
    zeros = Column(jnp.zeros(given[0].values.shape, jnp.uint8), is_maximum=False)
    total, zero = reduce_together([*given, zeros], axis)
    return [total + zero.astype(total.dtype)]


def _combined(parts: list[Array], is_maximum: bool) -> Array:
    """Of `[group, column]`: the sum or maximum of all groups."""
    if is_maximum:
        maxima = (jnp.max(part, 0, initial=lowest(part.dtype)) for part in parts)
        return functools.reduce(jnp.maximum, maxima)
    return functools.reduce(jnp.add, (jnp.sum(part, 0, part.dtype) for part in parts))


def _concatenate(parts: tuple[Array, ...]) -> Array:
    # One part alone stays where it is on its devices.
    return jnp.concatenate(parts) if len(parts) > 1 else parts[0]


def _as_float32(sums: Array) -> Array:
    return sums.astype(jnp.float32) if jnp.issubdtype(sums.dtype, jnp.floating) else sums
