"""All that is asked of the same activations, in the form that is fast on the platform."""

import functools

import jax
from jax import lax
from jaxtyping import Array, Bool, Float

from .cpu import reduce_in_blocks
from .functions import Kinds, Rows
from .gpu import reduce_in_tiles
from .plain import reduce_at_once
from .positions import item_positions


@functools.partial(jax.jit, static_argnames=("terms", "num_item_axes"))
def reduce_functions(
    terms: Kinds,
    constants: Kinds,
    arrays: tuple[Float[Array, "..."], ...],
    mask: Bool[Array, "*item_and_component"] | None,
    num_item_axes: int,
) -> Kinds:
    """Reduce elementwise functions of the arrays, which are read once, whatever is asked for.

    The arrays are `[*item, *component, feature]`, the constants `[*component, feature]`. What is
    masked out adds nothing to a reduction over items; sums over features are those of all vectors.
    """
    item_shape, inner_shape = arrays[0].shape[:num_item_axes], arrays[0].shape[num_item_axes:-1]
    positions = item_positions(item_shape, inner_shape, mask) if terms.last else None
    rows = Rows(arrays, mask, positions)
    # Explicitly sharded axes cannot be taken apart.
    if jax.typeof(arrays[0]).sharding.mesh.explicit_axes:
        return reduce_at_once(rows, constants, terms, num_item_axes)
    forms = {"cpu": reduce_in_blocks, "tpu": reduce_at_once, "default": reduce_in_tiles}
    bound = {
        platform: functools.partial(form, terms=terms, num_item_axes=num_item_axes)
        for platform, form in forms.items()
    }
    return lax.platform_dependent(rows, constants, **bound)
