"""Sums over groups of rows first: the form for GPU."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from .functions import Functions, Sums, apply, flatten_items, sum_together
from .plain import plain_sum, sum_at_once

# XLA:GPU sums so many rows in a plain loop, which may have any number of results.
_GROUP = 16
# A sum over all rows takes shared memory: one pass has enough for two.
_MAX_SUMS_AT_ONCE = 2


def sum_in_groups(
    arrays: tuple[Array, ...], mask: Array | None, functions: Functions, num_item_axes: int
) -> Sums:
    """Up to two sums over items at once; of more, those of small groups of rows in one pass."""
    rows, row_mask = jax.tree.map(lambda x: flatten_items(x, num_item_axes), (arrays, mask))
    num_items = len(rows[0])
    if len(functions.per_feature) <= _MAX_SUMS_AT_ONCE or num_items < _GROUP:
        return sum_at_once(arrays, mask, functions, num_item_axes)
    num_grouped = num_items // _GROUP * _GROUP
    grouped, rest = (
        apply(functions.per_feature, *jax.tree.map(lambda x, part=part: x[part], (rows, row_mask)))
        for part in (slice(num_grouped), slice(num_grouped, None))
    )
    # Without the barrier, XLA would merge both levels into one again.
    groups = lax.optimization_barrier(sum_together([_in_groups(c) for c in grouped], axis=1))
    only_rows = Functions(per_vector=functions.per_vector)
    return Sums(
        per_feature=tuple(
            plain_sum(group, (0,), num_items) + plain_sum(row, (0,), num_items)
            for group, row in zip(groups, rest, strict=True)
        ),
        per_vector=sum_at_once(arrays, mask, only_rows, num_item_axes).per_vector,
    )


def _in_groups(values: Array) -> Array:
    # A byte holds the count of a group; what is written of it is read again.
    values = values.astype(jnp.uint8) if values.dtype == bool else values
    return values.reshape(-1, _GROUP, *values.shape[1:])
