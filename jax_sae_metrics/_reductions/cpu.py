"""Sums block by block, with running sums that stay in the cache: the form for CPU."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from .plain import reduce_at_once
from .reduction import Reduction, Vectors
from .runs import scan_in_runs
from .values import flatten_items, is_small, joined, lowest, reduce_together, values_of

# XLA:CPU fuses a sum over up to about 16 items with its inputs. With more, it writes them out.
_GROUP = 16
# Running sums of 2^17 entries stay in the cache of a core.
_CACHED_SUMS = 2**17
_MAX_GROUPS = 8
# With fewer items per group, running sums would need much memory beside the activations.
_ITEMS_PER_GROUP = 256
# A vector is cut into 8 equal parts, which are added to each other, until 32 entries are left. XLA
# makes several kernels of the sum of more.
_FOLD = 8
_MAX_DIRECT = 32
# Four counts of a group share the bytes of one integer: there are few registers.
_BITS, _COUNTS_PER_INTEGER, _BYTE = 8, 4, 0xFF


def reduce_in_blocks(
    reductions: tuple[Reduction, ...], vectors: Vectors, num_item_axes: int
) -> list[Array]:
    """Reduce blocks of a few groups of items, one block after the other."""
    over_items = [reduction for reduction in reductions if not reduction.is_per_vector]
    over_features = [reduction for reduction in reductions if reduction.is_per_vector]
    are_maxima = [reduction.is_maximum for reduction in over_items]
    if not over_items and len(over_features) == 1 and len(vectors.arrays) > 1:
        # XLA:CPU by itself does well for a single sum of several arrays. In a train step it also
        # chooses a better moment: what a loop reads is held until after the loop.
        return reduce_at_once(reductions, vectors, num_item_axes)
    shape = vectors.shape
    if is_small(shape):
        return reduce_at_once(reductions, vectors, num_item_axes)
    item_shape, inner_shape = shape[:num_item_axes], shape[num_item_axes:]
    width = math.prod(inner_shape)
    flat = jax.tree.map(lambda x: flatten_items(x, num_item_axes), vectors)

    def reduce_groups(block: Vectors) -> list[Array]:
        values = [values_of(reduction, block) for reduction in over_items]
        return _reduce_items([v.reshape(*v.shape[:2], width) for v in values], are_maxima)

    def sum_features(block: Vectors) -> list[Array]:
        return _sum_features([values_of(reduction, block) for reduction in over_features])

    num_items = len(flat.arrays[0])
    most_groups = max(1, min(_MAX_GROUPS, _CACHED_SUMS // width, num_items // _ITEMS_PER_GROUP))
    start, parts = 0, []
    for num_groups in sorted({most_groups, 1}, reverse=True):
        if num_blocks := (num_items - start) // (num_groups * _GROUP):
            blocks = _Blocks(start, num_groups, num_blocks, num_items)
            parts.append(_scan(blocks, flat, reduce_groups, sum_features, are_maxima))
            start = blocks.stop
    if start < num_items or not parts:
        rest = jax.tree.map(lambda x: x[None, start:], flat)
        parts.append((reduce_groups(rest), [flatten_items(v, 2) for v in sum_features(rest)]))

    per_group, per_item = zip(*parts, strict=True)
    reduced = (
        _as_float32(_combined(groups, is_maximum)).reshape(inner_shape)
        for *groups, is_maximum in zip(*per_group, are_maxima, strict=True)
    )
    summed = (
        _as_float32(_concatenate(sums)).reshape(*item_shape, *inner_shape[:-1])
        for sums in zip(*per_item, strict=True)
    )
    return [next(summed if reduction.is_per_vector else reduced) for reduction in reductions]


class _Blocks(NamedTuple):
    """Items from `start` on, cut into blocks of `num_groups` groups of 16 items."""

    start: int
    num_groups: int
    num_blocks: int
    num_items: int

    @property
    def shape(self) -> tuple[int, int]:
        """The leading axes of a block: `(group, item)`."""
        return self.num_groups, _GROUP

    @property
    def stop(self) -> int:
        """The first item after the blocks."""
        return self.start + math.prod(self.shape) * self.num_blocks

    @property
    def are_all(self) -> bool:
        """Whether the blocks cover all items.

        If so, a block takes one item in every `num_blocks`: where a batch is sharded, each device
        then has its own groups. If not, the items of a block are neighbours, which need no copy.
        """
        return (self.start, self.stop) == (0, self.num_items)

    def take(self, vectors: PyTree[Array], index: Array | int) -> PyTree[Array]:
        """The block at an index: `[group, item, *component, feature]`."""

        def take(x: Array) -> Array:
            if self.are_all:
                blocks = x.reshape(*self.shape, self.num_blocks, *x.shape[1:])
                return lax.dynamic_index_in_dim(blocks, index, 2, keepdims=False)
            size = math.prod(self.shape)
            block = lax.dynamic_slice_in_dim(x, self.start + index * size, size)
            return block.reshape(*self.shape, *x.shape[1:])

        return jax.tree.map(take, vectors)

    def in_order(self, values: Array) -> Array:
        """All items in order, `[item, *component]`, from `[block, group, item, *component]`."""
        return flatten_items(jnp.moveaxis(values, 0, 2) if self.are_all else values, 3)


def _scan(
    blocks: _Blocks,
    vectors: Vectors,
    reduce_groups: Callable[[Vectors], list[Array]],
    sum_features: Callable[[Vectors], list[Array]],
    are_maxima: list[bool],
) -> tuple[list[Array], list[Array]]:
    """Go through all blocks; return reductions over items, per group, and sums of each item."""

    def step(running: list[Array], index: Array) -> tuple[list[Array], list[Array]]:
        # The first barrier stops XLA from converting the whole array to float32 before the loop.
        # The second stops XLA from storing a converted block for both of its readers.
        whole, index = lax.optimization_barrier((vectors, index))
        groups = reduce_groups(blocks.take(whole, index))
        whole, index, groups = lax.optimization_barrier((whole, index, groups))
        reduced = [joined(*each) for each in zip(running, groups, are_maxima, strict=True)]
        return reduced, sum_features(blocks.take(whole, index))

    # A reduction of no items, not a constant: it varies over devices exactly as the items do.
    empty = reduce_groups(jax.tree.map(lambda x: x[:, :0], blocks.take(vectors, 0)))
    reduced, summed = scan_in_runs(step, empty, blocks.num_blocks, are_maxima)
    return reduced, [blocks.in_order(values) for values in summed]


def _reduce_items(values: list[Array], are_maxima: list[bool]) -> list[Array]:
    """The sum, count or maximum of each group of `[group, item, column]`, at most 16 items."""
    counted = [i for i, each in enumerate(values) if each.dtype == bool]
    packs = [
        counted[i : i + _COUNTS_PER_INTEGER] for i in range(0, len(counted), _COUNTS_PER_INTEGER)
    ]
    packed = [
        functools.reduce(
            lax.bitwise_or,
            (values[i].astype(jnp.int32) << (_BITS * byte) for byte, i in enumerate(pack)),
        )
        for pack in packs
    ]
    others = [i for i in range(len(values)) if i not in counted]
    # XLA:CPU calls no library for sums of integers.
    reduce = _reduce_together if others else reduce_together
    reduced = reduce(
        [*packed, *(values[i] for i in others)],
        [*(False for _ in packed), *(are_maxima[i] for i in others)],
        axis=1,
    )
    found = dict(zip(others, reduced[len(packed) :], strict=True))
    for pack, integer in zip(packs, reduced, strict=False):
        for byte, i in enumerate(pack):
            found[i] = (integer >> (_BITS * byte)) & _BYTE
    return [found[i] for i in range(len(values))]


def _sum_features(values: list[Array]) -> list[Array]:
    """The sum, or the count, over the last axis."""
    values = [each.astype(jnp.int32) if each.dtype == bool else each for each in values]
    if not values or values[0].shape[-1] <= _MAX_DIRECT:
        return _sum_together(values, axis=-1)
    *leading, size = values[0].shape
    folded = size // _FOLD * _FOLD
    parts = [lax.slice_in_dim(each, 0, folded, axis=-1) for each in values]
    parts = [part.reshape(*leading, _FOLD, size // _FOLD) for part in parts]
    # Without the barrier, XLA would merge the levels into one.
    sums = _sum_features(lax.optimization_barrier(_sum_together(parts, axis=-2)))
    if folded == size:
        return sums
    rest = _sum_together([each[..., folded:] for each in values], axis=-1)
    return [total + more for total, more in zip(sums, rest, strict=True)]


def _sum_together(arrays: list[Array], axis: int) -> list[Array]:
    return _reduce_together(arrays, [False] * len(arrays), axis)


def _reduce_together(arrays: list[Array], are_maxima: list[bool], axis: int) -> list[Array]:
    """The sum or maximum of each array over an axis, as one reduction of at least two arrays."""
    if are_maxima != [False]:
        return reduce_together(arrays, are_maxima, axis)
    # XLA:CPU leaves the sum of a single array to a library, which reads it from memory. It computes
    # two sums itself, fused with their inputs, so a second sum, over zeros, goes along.
    zeros = jnp.zeros(arrays[0].shape, jnp.uint8)
    total, zero = reduce_together([*arrays, zeros], [False, False], axis)
    return [total + zero.astype(total.dtype)]


def _combined(parts: list[Array], is_maximum: bool) -> Array:
    """The sum or maximum over all groups of parts `[group, column]`."""
    if is_maximum:
        maxima = (jnp.max(part, 0, initial=lowest(part.dtype)) for part in parts)
        return functools.reduce(jnp.maximum, maxima)
    return functools.reduce(jnp.add, (jnp.sum(part, 0, part.dtype) for part in parts))


def _concatenate(parts: tuple[Array, ...]) -> Array:
    # A single part stays where it is on its devices.
    return jnp.concatenate(parts) if len(parts) > 1 else parts[0]


def _as_float32(sums: Array) -> Array:
    return sums.astype(jnp.float32) if jnp.issubdtype(sums.dtype, jnp.floating) else sums
