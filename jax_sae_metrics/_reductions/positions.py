"""How many items there are, and their numbers in the order of the batch."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int32

from .._arrays import Size, unsharded
from .plain import plain_sum
from .values import flatten_items


def num_unmasked(
    item_shape: tuple[Size, ...],
    component_shape: tuple[int, ...],
    mask: Bool[Array, "*item_and_component"] | None,
) -> Int32[Array, "*component"]:
    """The number of unmasked items, per component."""
    size = math.prod(item_shape)
    if mask is None:
        return jnp.broadcast_to(jnp.asarray(size, jnp.int32), component_shape)
    return plain_sum(mask, tuple(range(len(item_shape))), size)


def item_positions(
    item_shape: tuple[Size, ...],
    component_shape: tuple[int, ...],
    mask: Bool[Array, "*item_and_component"] | None,
) -> Int32[Array, "*item_and_component"]:
    """The number of each unmasked item in its component (the first is 1); 0 where masked out."""
    shape = (*item_shape, *component_shape)
    if mask is None:
        numbers = jnp.arange(1, math.prod(item_shape) + 1, dtype=jnp.int32)
        numbers = numbers.reshape(*item_shape, *(1,) * len(component_shape))
        return jnp.broadcast_to(numbers, shape)
    mask = unsharded(mask)
    seen = jnp.cumsum(flatten_items(mask, len(item_shape)), axis=0, dtype=jnp.int32)
    return jnp.where(mask, seen.reshape(shape), jnp.zeros((), jnp.int32))
