"""Standard errors of means over the items in which one learned feature fires."""

import jax.numpy as jnp
from jaxtyping import Array, Float32

from ..._accumulator import Count

# The part of a float32 sum of squares below which rounding may have changed it.
_RESOLVED = 1e-6
# That part of it is still normal in float32.
_SMALLEST_SQUARE = 2.0**-100


def standard_error_of_portion(
    count: Count, of_all: Count
) -> Float32[Array, "*component learned_feature"]:
    r"""The standard error of a portion $p$ of $N$ items, $\sqrt{p (1 - p) / (N - 1)}$."""
    num_items = of_all.to_float()
    portion, rest = count.to_float() / num_items, of_all.minus(count).to_float() / num_items
    # A single item has no spread.
    others = jnp.where(num_items > 1, num_items - 1, jnp.float32(jnp.nan))
    return jnp.sqrt(portion * rest / others)


def standard_error_of_mean(
    total: Float32[Array, "*component learned_feature"],
    total_of_squares: Float32[Array, "*component learned_feature"],
    count: Float32[Array, "*component learned_feature"],
) -> Float32[Array, "*component learned_feature"]:
    """The standard error of a mean, from sums; NaN where rounding may have made the spread."""
    squares = total_of_squares / count
    variance = squares - jnp.square(total / count)
    is_resolved = (variance > _RESOLVED * squares) & (squares > _SMALLEST_SQUARE)
    variance = jnp.where(is_resolved, variance, jnp.float32(jnp.nan))
    return jnp.sqrt(variance) / jnp.sqrt(jnp.where(count > 1, count - 1, jnp.float32(jnp.nan)))
