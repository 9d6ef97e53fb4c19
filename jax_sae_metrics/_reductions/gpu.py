"""Reductions of tiles first, for features and for vectors alike: the form for GPU."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from .plain import plain_reduce, plain_sum, reduce_at_once
from .reduction import Reduction, Vectors
from .values import flatten_items, reduce_together, values_of

# XLA:GPU reduces 16 entries in a plain loop, which may have any number of results. Before that, 32
# entries are combined in pairs, so that each partial result is a 32nd of the activations.
_HALF = 16
_TILE = 2 * _HALF
# At most 16 neighbouring entries of a vector are read side by side for its sum.
_MAX_LANES = 16
# A reduction over all items takes shared memory: one pass has enough for two.
_MAX_AT_ONCE = 2
# Axes of tiled arrays, `[group, item, component, column, step, lane]`.
_ITEM_AXIS, _STEP_AXIS = 1, 4


def reduce_in_tiles(
    reductions: tuple[Reduction, ...], vectors: Vectors, num_item_axes: int
) -> list[Array]:
    """Reduce tiles of 32 items and 32 features in one pass, then reduce the results.

    Left to itself, XLA:GPU reads the activations once for reductions over items and once more for
    reductions over features. A loop over tiles has results of both kinds, equally many of each.
    """
    flat = jax.tree.map(lambda x: flatten_items(x, num_item_axes), vectors)
    num_items, *_, num_features = flat.shape
    num_over_items = sum(not reduction.is_per_vector for reduction in reductions)
    is_one_kind = num_over_items in (0, len(reductions))
    # Where a centre is subtracted, XLA:GPU would write out the difference.
    has_constants = any(reduction.constants for reduction in reductions)
    is_left_to_xla = is_one_kind and num_over_items <= _MAX_AT_ONCE and not has_constants
    if is_left_to_xla or num_items < _TILE or num_features % _TILE != 0:
        return reduce_at_once(reductions, vectors, num_item_axes)
    num_tiled = num_items // _TILE * _TILE
    found = _reduce_tiles(reductions, jax.tree.map(lambda x: x[:num_tiled], flat))
    if num_tiled < num_items:
        rest = reduce_at_once(reductions, jax.tree.map(lambda x: x[num_tiled:], flat), 1)
        found = [_joined(*parts) for parts in zip(reductions, found, rest, strict=True)]
    shape = vectors.shape[:-1]
    return [
        result.reshape(shape) if reduction.is_per_vector else result
        for reduction, result in zip(reductions, found, strict=True)
    ]


def _joined(reduction: Reduction, head: Array, rest: Array) -> Array:
    if reduction.is_per_vector:
        return jnp.concatenate([head, rest])
    return jnp.maximum(head, rest) if reduction.is_maximum else head + rest


def _reduce_tiles(reductions: tuple[Reduction, ...], vectors: Vectors) -> list[Array]:
    num_items, *components, num_features = vectors.shape
    lanes = math.gcd(num_features // _TILE, _MAX_LANES)
    inner = (math.prod(components), num_features // (_TILE * lanes), _TILE, lanes)
    num_groups = num_items // _TILE
    mask = vectors.mask
    tiles = Vectors(
        arrays=tuple(x.reshape(num_groups, _TILE, -1, *inner[1:]) for x in vectors.arrays),
        mask=None if mask is None else mask.reshape(num_groups, _TILE, inner[0], 1, 1),
    )
    tiled = jax.tree.map(lambda constant: constant.reshape(1, 1, *inner), reductions)
    halved = [_halved(index, reduction, tiles) for index, reduction in enumerate(tiled)]
    # In this shape, results come in the order of the tiles, even where axes were swapped.
    halved = [values.reshape(num_groups, _HALF, -1) for values in halved]
    are_maxima = [reduction.is_maximum for reduction in reductions]
    # Without the barrier, XLA would merge both levels into one.
    parts = lax.optimization_barrier(reduce_together(halved, are_maxima, axis=1))
    per_feature = (num_groups, *components, num_features)
    per_vector = (num_groups, inner[0], inner[1], _TILE, lanes)

    def over_tiles(reduction: Reduction, part: Array) -> Array:
        if reduction.is_per_vector:
            sums = plain_sum(part.reshape(per_vector), (2, 4), num_features)
            return jnp.swapaxes(sums, 1, 2).reshape(num_items, *components)
        if reduction.kind == "last_per_feature":
            return _position(part.reshape(per_feature), vectors)
        return plain_reduce(part.reshape(per_feature), reduction.is_maximum, (0,), num_items)

    return [over_tiles(*each) for each in zip(reductions, parts, strict=True)]


def _halved(index: int, reduction: Reduction, tiles: Vectors) -> Array:
    """Both halves of the reduced axis, combined entry by entry."""
    values = values_of(reduction, tiles, index)
    axis = _STEP_AXIS if reduction.is_per_vector else _ITEM_AXIS
    first, second = (
        lax.slice_in_dim(values, start, start + _HALF, axis=axis) for start in (0, _HALF)
    )
    if reduction.kind == "last_per_feature":
        # The number of the item in its tile (the first is 1); 0 if there is none.
        item = lax.broadcasted_iota(jnp.uint8, first.shape, _ITEM_AXIS) + np.uint8(1)
        nowhere = jnp.zeros((), jnp.uint8)
        return jnp.where(second, item + np.uint8(_HALF), jnp.where(first, item, nowhere))
    if reduction.is_maximum:
        return lax.max(first, second)
    both = lax.add(_in_few_bytes(first), _in_few_bytes(second))
    # Items and steps are swapped, so that one reduction serves both kinds.
    return jnp.swapaxes(both, _ITEM_AXIS, _STEP_AXIS) if reduction.is_per_vector else both


def _in_few_bytes(values: Array) -> Array:
    # A byte holds the count of a tile. Small partial results cost little to write and read again.
    return values.astype(jnp.uint8) if values.dtype == bool else values


def _position(item_in_tile: Array, vectors: Vectors) -> Array:
    """The position in the batch of the last item. Tiles are `[group, *component, feature]`."""
    item = item_in_tile.astype(jnp.int32)
    before = lax.broadcasted_iota(jnp.int32, item.shape, 0) * _TILE
    item = jnp.max(jnp.where(item > 0, before + item, 0), 0, initial=0)
    if vectors.mask is None or vectors.positions is None:
        return item
    positions = vectors.positions[..., None]
    position = jnp.take_along_axis(positions, item[None] - 1, axis=0, mode="clip")
    return jnp.where(item > 0, position[0], 0)
