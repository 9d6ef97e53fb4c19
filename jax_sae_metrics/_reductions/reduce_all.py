"""Many reductions of the same arrays, in the form that is fast on the platform."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Float32

from .._arrays import AxisName, is_static
from .centre import near_mean
from .cpu import reduce_in_blocks
from .gpu import reduce_in_tiles
from .plain import reduce_at_once
from .positions import item_positions
from .reduction import Function, Reduction, Vectors
from .values import values_of

# A platform without a form of its own gets the plain one.
_FORMS = {"cpu": reduce_in_blocks, "cuda": reduce_in_tiles, "default": reduce_at_once}


def reduce_all(
    reductions: tuple[Reduction, ...],
    arrays: tuple[Float[Array, "..."], ...],
    mask: Bool[Array, "*item_and_component"] | None,
    num_item_axes: int,
    axis_name: AxisName | None,
) -> list[Array]:
    """The results, in order, from one read of the arrays `[*item, *component, feature]`.

    Centres, which some reductions take as constants, are found first; with `axis_name`, from all
    devices together. All other results are for this device alone.
    """
    asked = (r for reduction in reductions for r in (reduction, *reduction.constants))
    centres = {r.key: r for r in asked if isinstance(r, Reduction) and r.kind == "centre"}
    # Of an unknown number of items, none can be picked.
    centre_of = near_mean if is_static(*arrays[0].shape) else _mean
    found: dict[Any, Array] = {
        key: centre_of(centre.function, arrays, mask, num_item_axes, axis_name)
        for key, centre in centres.items()
    }
    others = [reduction for reduction in reductions if reduction.kind != "centre"]
    ready = tuple(Reduction(r.kind, r.function, _constants(r, found)) for r in others)
    results = _in_one_read(ready, arrays, mask, num_item_axes)
    found |= {reduction.key: result for reduction, result in zip(others, results, strict=True)}
    return [found[reduction.key] for reduction in reductions]


def _mean(
    function: Function,
    arrays: tuple[Float[Array, "..."], ...],
    mask: Bool[Array, "*item_and_component"] | None,
    num_item_axes: int,
    axis_name: AxisName | None,
) -> Float32[Array, "*component feature"]:
    """The mean of the function over all unmasked items, of all devices of `axis_name`."""
    items = tuple(range(num_item_axes))
    values = values_of(Reduction("sum_per_feature", function), Vectors(arrays, mask))
    counted = jnp.ones(values.shape[:-1], bool) if mask is None else mask
    sums = lax.reduce_sum(values, items), lax.reduce_sum(counted.astype(values.dtype), items)
    total, count = sums if axis_name is None else lax.psum(sums, axis_name)
    return (total / jnp.maximum(count, 1)[..., None]).astype(jnp.float32)


def _constants(reduction: Reduction, centres: dict[Any, Array]) -> tuple[Array, ...]:
    return tuple(centres[c.key] if isinstance(c, Reduction) else c for c in reduction.constants)


@functools.partial(jax.jit, static_argnames="num_item_axes")
def _in_one_read(
    reductions: tuple[Reduction, ...],
    arrays: tuple[Float[Array, "..."], ...],
    mask: Bool[Array, "*item_and_component"] | None,
    num_item_axes: int,
) -> list[Array]:
    positions = None
    if any(reduction.kind == "last_per_feature" for reduction in reductions):
        shape = arrays[0].shape
        positions = item_positions(shape[:num_item_axes], shape[num_item_axes:-1], mask)
    vectors = Vectors(arrays, mask, positions)
    # Explicitly sharded axes, and those of unknown size, cannot be cut into blocks or tiles.
    is_explicit = jax.typeof(arrays[0]).sharding.mesh.explicit_axes
    if is_explicit or not is_static(*arrays[0].shape):
        return reduce_at_once(reductions, vectors, num_item_axes)
    forms = {p: functools.partial(f, num_item_axes=num_item_axes) for p, f in _FORMS.items()}
    return lax.platform_dependent(reductions, vectors, **forms)
