"""Many reductions of the same arrays, in the form that is fast on the platform."""

import functools
from typing import Any

import jax
from jax import lax
from jaxtyping import Array, Bool, Float

from .._arrays import AxisName
from .centre import near_mean
from .cpu import reduce_in_blocks
from .gpu import reduce_in_tiles
from .plain import reduce_at_once
from .positions import item_positions
from .reduction import Reduction, Vectors

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
    found: dict[Any, Array] = {
        key: near_mean(centre.function, arrays, mask, num_item_axes, axis_name)
        for key, centre in centres.items()
    }
    others = [reduction for reduction in reductions if reduction.kind != "centre"]
    ready = tuple(Reduction(r.kind, r.function, _constants(r, found)) for r in others)
    results = _in_one_read(ready, arrays, mask, num_item_axes)
    found |= {reduction.key: result for reduction, result in zip(others, results, strict=True)}
    return [found[reduction.key] for reduction in reductions]


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
    # Explicitly sharded axes cannot be cut into blocks or tiles.
    if jax.typeof(arrays[0]).sharding.mesh.explicit_axes:
        return reduce_at_once(reductions, vectors, num_item_axes)
    forms = {p: functools.partial(f, num_item_axes=num_item_axes) for p, f in _FORMS.items()}
    return lax.platform_dependent(reductions, vectors, **forms)
