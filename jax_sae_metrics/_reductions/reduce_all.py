"""Many reductions of the same arrays, in the form that is fast on the platform."""

import functools
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Float32, Int32

from .._arrays import AxisName, is_static
from .centre import Deviation, is_of_all, near_mean
from .cpu import reduce_in_blocks
from .gpu import reduce_in_tiles
from .plain import reduce_at_once
from .positions import item_positions, num_unmasked
from .reduction import Kind, Reduction, Vectors

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

    Centres, which some reductions take as constants, are found first, and then offsets, which take
    a read of their own; with `axis_name`, both from all devices together. All other results are for
    this device alone.
    """
    asked = list(_with_constants(reductions))
    shape = Vectors(arrays, mask).shape
    found: dict[Any, Array] = {}

    def of_kind(kind: Kind) -> dict[Any, Reduction]:
        return {reduction.key: reduction for reduction in asked if reduction.kind == kind}

    def find(wanted: Iterable[Reduction]) -> None:
        missing = [reduction for reduction in wanted if reduction.key not in found]
        ready = tuple(Reduction(r.kind, r.function, _constants(r, found)) for r in missing)
        results = _in_one_read(ready, arrays, mask, num_item_axes)
        found.update((r.key, result) for r, result in zip(missing, results, strict=True))

    def find_means(sums: dict[Any, Reduction]) -> None:
        find(sums.values())
        num_items = num_unmasked(shape[:num_item_axes], shape[num_item_axes:-1], mask)
        found.update((k, _mean(found[s.key], num_items, axis_name)) for k, s in sums.items())

    centres, offsets = of_kind("centre"), of_kind("offset")
    lost: dict[Any, Array] = {}
    if _can_be_cut(arrays[0]):
        for key, centre in centres.items():
            near = near_mean(centre.function, arrays, mask, num_item_axes, axis_name)
            found[key], lost[key] = near
    elif centres:
        find_means({k: Reduction("sum_per_feature", c.function) for k, c in centres.items()})
    if lost and is_of_all(shape, num_item_axes):
        found |= {key: lost[offset.constants[0].key] for key, offset in offsets.items()}
    elif offsets:
        find_means({key: _deviation_of(offset) for key, offset in offsets.items()})
    find(reductions)
    return [found[reduction.key] for reduction in reductions]


def _with_constants(reductions: Iterable[Any]) -> Iterator[Reduction]:
    """The reductions, and those that they take as constants."""
    for reduction in reductions:
        if isinstance(reduction, Reduction):
            yield reduction
            yield from _with_constants(reduction.constants)


def _deviation_of(offset: Reduction) -> Reduction:
    """The sum of deviations from the centre, of which an offset is the mean."""
    return Reduction("sum_per_feature", Deviation(offset.function), offset.constants)


def _can_be_cut(array: Float[Array, "..."]) -> bool:
    """Whether rows, blocks and tiles can be taken: axes are not explicitly sharded, sizes known."""
    return is_static(*array.shape) and not jax.typeof(array).sharding.mesh.explicit_axes


def _mean(
    deviations: Float32[Array, "*component feature"],
    num_items: Int32[Array, "*component"],
    axis_name: AxisName | None,
) -> Float32[Array, "*component feature"]:
    count = num_items.astype(jnp.float32)
    if axis_name is not None:
        deviations, count = lax.psum((deviations, count), axis_name)
    return deviations / jnp.maximum(count, 1)[..., None]


def _constants(reduction: Reduction, found: dict[Any, Array]) -> tuple[Array, ...]:
    return tuple(found[c.key] if isinstance(c, Reduction) else c for c in reduction.constants)


@functools.partial(jax.jit, static_argnames="num_item_axes")
def _in_one_read(
    reductions: tuple[Reduction, ...],
    arrays: tuple[Float[Array, "..."], ...],
    mask: Bool[Array, "*item_and_component"] | None,
    num_item_axes: int,
) -> list[Array]:
    positions, shape = None, Vectors(arrays, mask).shape
    if any(reduction.kind == "last_per_feature" for reduction in reductions):
        positions = item_positions(shape[:num_item_axes], shape[num_item_axes:-1], mask)
    vectors = Vectors(arrays, mask, positions)
    if not _can_be_cut(arrays[0]):
        return reduce_at_once(reductions, vectors, num_item_axes)
    forms = {p: functools.partial(f, num_item_axes=num_item_axes) for p, f in _FORMS.items()}
    return lax.platform_dependent(reductions, vectors, **forms)
