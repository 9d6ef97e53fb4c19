"""Sums of many numbers at few indices that do not drift."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float32, Int32

from .._arrays import Size, is_static
from .at_indices import At, scatter_add, scatter_max, take

# Numbers are scaled to 4 at most: their whole parts are exact in float32, and added up in int32.
_BITS_OF_ONE, _BITS_OF_ALL = 22, 28


def sum_at_indices(
    at: At,
    values: Int32[Array, " entry"] | Float32[Array, " entry"],
    shape: tuple[Size, ...],
) -> Int32[Array, "..."] | Float32[Array, "..."]:
    """The sum of the values at each place of an array of this shape.

    A float32 sum of 2^22 equal values would be off by 4%. Most of a float is therefore added as
    integers, in units that suit the largest value at its place. What they leave is added as floats.
    """
    zeros = jnp.zeros(shape, values.dtype)
    (num_values,) = values.shape
    # How many bits there are for one number follows from how many numbers there are.
    if values.dtype == jnp.int32 or not is_static(num_values):
        return scatter_add(zeros, at, values)
    sizes = jnp.where(jnp.isfinite(values), jnp.abs(values), jnp.zeros_like(values))
    _, exponent = jnp.frexp(scatter_max(zeros, at, sizes))
    exponent = jnp.clip(exponent, -125, 126)
    unit, inverse = (jnp.ldexp(jnp.ones_like(zeros), power) for power in (exponent, -exponent))
    rest = values * take(inverse, at)
    bits_of_number = num_values.bit_length()
    bits = max(1, min(_BITS_OF_ALL - bits_of_number, _BITS_OF_ONE))
    parts = []
    for place in range(1, 2 + (bits_of_number + 3) // bits):
        scale = 2.0 ** (place * bits)
        whole = jnp.where(jnp.isfinite(rest), lax.round(rest * scale), jnp.zeros_like(rest))
        rest = rest - whole / scale  # exact
        counted = scatter_add(zeros.astype(jnp.int32), at, whole.astype(jnp.int32))
        parts.append(counted.astype(jnp.float32) / scale)
    total = scatter_add(zeros, at, rest)
    for part in reversed(parts):
        total = total + part
    return total * unit
