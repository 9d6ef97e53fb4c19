"""Sums of many numbers at few indices that do not drift."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float32, Int32

from .._arrays import is_static
from .at_indices import scatter_add, scatter_max, take

# Numbers are scaled to 4 at most: their whole parts are exact in float32, and added up in int32.
_BITS_OF_ONE, _BITS_OF_ALL = 22, 28


def sum_at_indices(
    indices: Int32[Array, "*component entry"],
    values: Int32[Array, "*component entry"] | Float32[Array, "*component entry"],
    size: int,
) -> Int32[Array, "*component feature"] | Float32[Array, "*component feature"]:
    """The sum of the values at each index along the last axis.

    A float32 sum of 2^22 equal values would be off by 4%. Most of a float is therefore added as
    integers, in units that suit the largest value at its index. What they leave is added as floats.
    """
    zeros = jnp.zeros((*indices.shape[:-1], size), values.dtype)
    # How many bits there are for one number follows from how many numbers there are.
    if values.dtype == jnp.int32 or not is_static(indices.shape[-1]):
        return scatter_add(zeros, indices, values)
    sizes = jnp.where(jnp.isfinite(values), jnp.abs(values), jnp.zeros_like(values))
    _, exponent = jnp.frexp(scatter_max(zeros, indices, sizes))
    exponent = jnp.clip(exponent, -125, 126)
    unit, inverse = (jnp.ldexp(jnp.ones_like(zeros), power) for power in (exponent, -exponent))
    rest = values * take(inverse, indices)
    bits_of_number = indices.shape[-1].bit_length()
    bits = max(1, min(_BITS_OF_ALL - bits_of_number, _BITS_OF_ONE))
    parts = []
    for place in range(1, 2 + (bits_of_number + 3) // bits):
        scale = 2.0 ** (place * bits)
        whole = jnp.where(jnp.isfinite(rest), lax.round(rest * scale), jnp.zeros_like(rest))
        rest = rest - whole / scale  # exact
        counted = scatter_add(zeros.astype(jnp.int32), indices, whole.astype(jnp.int32))
        parts.append(counted.astype(jnp.float32) / scale)
    total = scatter_add(zeros, indices, rest)
    for part in reversed(parts):
        total = total + part
    return total * unit
