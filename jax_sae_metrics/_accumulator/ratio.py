"""Division as IEEE has it."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float32


def ratio(
    numerator: Float32[Array, "*shape"], denominator: Float32[Array, "*#shape"]
) -> Float32[Array, "*shape"]:
    """The correctly rounded quotient: n / n is 1, and 0 / 0 is NaN.

    Where one value divides many, XLA would multiply by its reciprocal instead, and 41 / 41 would
    be 0.99999994.
    """
    return numerator / lax.optimization_barrier(jnp.broadcast_to(denominator, numerator.shape))
