"""All sums that are asked of the same activations, in the form that is fast on the platform."""

import functools

import jax
from jax import lax
from jaxtyping import Array, Bool, Float

from .cpu import sum_in_blocks
from .functions import Functions, Sums
from .gpu import sum_in_groups
from .plain import sum_at_once


@functools.partial(jax.jit, static_argnames=("functions", "num_item_axes"))
def sum_functions(
    functions: Functions,
    arrays: tuple[Float[Array, "..."], ...],
    mask: Bool[Array, "*item_and_component"] | None,
    num_item_axes: int,
) -> Sums:
    """Sum elementwise functions of the arrays, which are read once, whatever is asked for.

    The arrays are `[*item, *component, feature]`. What is masked out adds nothing to a sum over
    items; sums over features are those of all vectors.
    """
    # Explicitly sharded axes cannot be taken apart.
    if jax.typeof(arrays[0]).sharding.mesh.explicit_axes:
        return sum_at_once(arrays, mask, functions, num_item_axes)
    forms = {"cpu": sum_in_blocks, "tpu": sum_at_once, "default": sum_in_groups}
    bound = {
        platform: functools.partial(form, functions=functions, num_item_axes=num_item_axes)
        for platform, form in forms.items()
    }
    return lax.platform_dependent(arrays, mask, **bound)
