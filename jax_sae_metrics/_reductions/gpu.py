"""Reductions of tiles first, for features and for vectors alike: the form for GPU."""

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, PyTree

from .functions import Column, Kinds, Rows, Term, apply, flatten_items, reduce_together
from .plain import plain_reduce, plain_sum, reduce_at_once

# XLA:GPU reduces so many entries in a plain loop, which may have any number of results. Twice as
# many are combined in pairs before, so that partial results are a 32nd of the activations each.
_HALF = 16
_TILE = 2 * _HALF
# So many neighbours along a row are read side by side for the sum of their row.
_MAX_LANES = 16
# A reduction over all rows takes shared memory: one pass has enough for two.
_MAX_AT_ONCE = 2
# Of tiled arrays, `[group, row, component, column, step, lane]`.
_ROW_AXIS, _STEP_AXIS = 1, 4


def reduce_in_tiles(rows: Rows, constants: Kinds, terms: Kinds, num_item_axes: int) -> Kinds:
    """Reduce tiles of 32 rows and 32 entries of each row in one pass, then what comes of them.

    Left to itself, XLA:GPU reads the activations once for sums over items and once more for sums
    over features. A loop over tiles has results of both kinds: as many of each as of the other.
    """
    flat = jax.tree.map(lambda x: flatten_items(x, num_item_axes), rows)
    num_items, *_, num_features = flat.arrays[0].shape
    num_columns = len(terms.per_feature + terms.largest + terms.last)
    is_one_kind = not (num_columns and terms.per_vector)
    is_left_to_xla = is_one_kind and num_columns <= _MAX_AT_ONCE
    if is_left_to_xla or num_items < _TILE or num_features % _TILE != 0:
        return reduce_at_once(rows, constants, terms, num_item_axes)
    num_tiled = num_items // _TILE * _TILE
    found = _reduce_tiles(jax.tree.map(lambda x: x[:num_tiled], flat), constants, terms)
    if num_tiled < num_items:
        rest = jax.tree.map(lambda x: x[num_tiled:], flat)
        found = _joined(found, reduce_at_once(rest, constants, terms, 1))
    shape = rows.arrays[0].shape[:-1]
    return found._replace(per_vector=tuple(sums.reshape(shape) for sums in found.per_vector))


def _joined(head: Kinds, rest: Kinds) -> Kinds:
    def join(kind: str, first: Array, second: Array) -> Array:
        if kind == "per_vector":
            return jnp.concatenate([first, second])
        return first + second if kind == "per_feature" else jnp.maximum(first, second)

    return Kinds(
        **{
            kind: tuple(
                join(kind, *parts)
                for parts in zip(getattr(head, kind), getattr(rest, kind), strict=True)
            )
            for kind in Kinds._fields
        }
    )


def _reduce_tiles(rows: Rows, constants: Kinds, terms: Kinds) -> Kinds:
    num_items, *components, num_features = rows.arrays[0].shape
    lanes = math.gcd(num_features // _TILE, _MAX_LANES)
    inner = (math.prod(components), num_features // (_TILE * lanes), _TILE, lanes)
    num_groups = num_items // _TILE
    mask = rows.mask
    tiles = _Tiles(
        arrays=tuple(x.reshape(num_groups, _TILE, *inner) for x in rows.arrays),
        mask=None if mask is None else mask.reshape(num_groups, _TILE, inner[0], 1, 1),
        numbers=itertools.count(1),
    )
    constants = jax.tree.map(lambda x: x.reshape(1, 1, *inner), constants)
    values = [
        [tiles.sum_rows(*given) for given in zip(terms[0], constants[0], strict=True)],
        [tiles.sum_steps(*given) for given in zip(terms[1], constants[1], strict=True)],
        [tiles.largest(term) for term in terms.largest],
        [tiles.last_row(term) for term in terms.last],
    ]
    given = [
        # In this shape the results come in the order of the tiles, whatever was swapped.
        Column(value.reshape(num_groups, _HALF, -1), is_maximum)
        for of_kind, is_maximum in zip(values, (False, False, True, True), strict=True)
        for value in of_kind
    ]
    # Without the barrier, XLA would merge both levels into one again.
    reduced = iter(lax.optimization_barrier(reduce_together(given, axis=1)))
    parts = Kinds(*(tuple(next(reduced) for _ in of_kind) for of_kind in values))

    per_feature = (num_groups, *components, num_features)
    per_vector = (num_groups, inner[0], inner[1], _TILE, lanes)

    def over_groups(part: Array, is_maximum: bool) -> Array:
        return plain_reduce(Column(part.reshape(per_feature), is_maximum), (0,), num_items)

    def of_rows(part: Array) -> Array:
        sums = plain_sum(part.reshape(per_vector), (2, 4), num_features)
        return jnp.swapaxes(sums, 1, 2).reshape(num_items, *components)

    return Kinds(
        per_feature=tuple(over_groups(part, is_maximum=False) for part in parts.per_feature),
        per_vector=tuple(of_rows(part) for part in parts.per_vector),
        largest=tuple(over_groups(part, is_maximum=True) for part in parts.largest),
        last=tuple(_position(part.reshape(per_feature), rows) for part in parts.last),
    )


class _Tiles(NamedTuple):
    """What each tile adds to its features and to its vectors, half of the way reduced."""

    arrays: tuple[Array, ...]
    mask: Array | None
    numbers: Iterator[int]

    def sum_rows(self, term: Term, constants: tuple[Array, ...]) -> Array:
        first, second = self._halves(_ROW_AXIS, term, constants)
        return _in_few_bytes(first) + _in_few_bytes(second)

    def sum_steps(self, term: Term, constants: tuple[Array, ...]) -> Array:
        first, second = self._halves(_STEP_AXIS, term, constants)
        # The rows change places with the steps along them: then all is reduced alike.
        return jnp.swapaxes(_in_few_bytes(first) + _in_few_bytes(second), _ROW_AXIS, _STEP_AXIS)

    def largest(self, term: Term) -> Array:
        first, second = self._halves(_ROW_AXIS, term, (), -math.inf)
        return jnp.maximum(first, second)

    def last_row(self, term: Term) -> Array:
        """From 1 on within the tile; 0 for none."""
        first, second = self._halves(_ROW_AXIS, term, ())
        row = lax.broadcasted_iota(jnp.uint8, first.shape, _ROW_AXIS) + np.uint8(1)
        nowhere = jnp.zeros((), jnp.uint8)
        return jnp.where(second, row + np.uint8(_HALF), jnp.where(first, row, nowhere))

    def _halves(
        self, axis: int, term: Term, constants: tuple[Array, ...], masked: float = 0.0
    ) -> list[Array]:
        """The function's values for both halves of an axis."""
        mask = self.mask if axis == _ROW_AXIS else None
        number = next(self.numbers)
        halves = []
        for start in (0, _HALF):
            own, arrays, kept = _cut((constants, self.arrays, mask), axis, start)
            halves += apply((term,), (own,), arrays, kept, masked, iter([number]))
        return halves


def _cut(tree: PyTree[Array], axis: int, start: int) -> PyTree[Array]:
    """Half of an axis; all of it where it is the same for both."""

    def cut(x: Array) -> Array:
        is_whole = x.shape[axis] == 1
        return x if is_whole else lax.slice_in_dim(x, start, start + _HALF, axis=axis)

    return jax.tree.map(cut, tree)


def _in_few_bytes(values: Array) -> Array:
    # A byte holds the count of a tile; what is written of it is read again.
    return values.astype(jnp.uint8) if values.dtype == bool else values


def _position(row_in_tile: Array, rows: Rows) -> Array:
    """Of `[group, *component, feature]`, the last row in each tile: its position in the batch."""
    row = row_in_tile.astype(jnp.int32)
    before = lax.broadcasted_iota(jnp.int32, row.shape, 0) * _TILE
    row = jnp.max(jnp.where(row > 0, before + row, 0), 0, initial=0)
    if rows.mask is None or rows.positions is None:
        return row
    position = jnp.take_along_axis(rows.positions[..., None], row[None] - 1, axis=0, mode="clip")
    return jnp.where(row > 0, position[0], 0)
