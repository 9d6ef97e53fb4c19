"""How far chance may have moved a mean, or a ratio of sums."""

import jax.numpy as jnp
from jaxtyping import Array, Float32


def standard_error_of_mean(
    total: Float32[Array, "*shape"],
    total_of_squares: Float32[Array, "*shape"],
    count: Float32[Array, "*#shape"],
) -> Float32[Array, "*shape"]:
    """The standard error of a mean."""
    return standard_error(total, count, (total_of_squares, total, count), count)


def standard_error(
    numerator: Float32[Array, "*shape"],
    denominator: Float32[Array, "*#shape"],
    squares: tuple[Float32[Array, "*shape"], Float32[Array, "*#shape"], Float32[Array, "*#shape"]],
    count: Float32[Array, "*#shape"],
) -> Float32[Array, "*shape"]:
    r"""The standard error of $\sum a / \sum b$ by the delta method, for independent items.

    `squares` are $\sum a^2$, $\sum a b$ and $\sum b^2$. For a mean, all $b$ are 1.
    """
    value = numerator / denominator
    of_numerator, of_product, of_denominator = squares
    residual = of_numerator - 2 * value * of_product + jnp.square(value) * of_denominator
    # Rounding alone can make it negative; NaN stays NaN. A single item has no spread.
    variance = jnp.maximum(residual, 0) * jnp.where(count > 1, count / (count - 1), jnp.nan)
    return jnp.sqrt(variance) / jnp.abs(denominator)
