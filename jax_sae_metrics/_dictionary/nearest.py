"""For each row of one dictionary, the row of another with the largest cosine."""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int32

from .._arrays import unsharded
from .rows import cosines, has_direction, unit_rows

# The cosines of one block of rows: 64 MiB of float32.
MAX_COSINES_AT_ONCE = 2**24


class Nearest(NamedTuple):
    """The largest cosine of each row, and the row that it is with."""

    cosines: Float[Array, " feature_a"]  # NaN where there is none
    indices: Int32[Array, " feature_a"]  # the number of rows of `b` where there is none


def nearest(
    a: Float[Array, "feature_a input_feature"],
    b: Float[Array, "feature_b input_feature"],
    *,
    absolute: bool = False,
    is_same: bool = False,
) -> Nearest:
    """Compare blocks of rows of `a` with the rows of `b` that are not zero.

    A zero row of `a` has no cosines. With `is_same`, `a` is `b` and no row is its own nearest.
    """
    a, b = unit_rows(unsharded(a)), unit_rows(unsharded(b))
    (num_a, num_input_features), num_b = a.shape, b.shape[0]
    num_blocks = math.ceil(num_a * num_b / MAX_COSINES_AT_ONCE)
    num_rows = math.ceil(num_a / num_blocks)
    num_blocks = math.ceil(num_a / num_rows)
    padded = jnp.pad(a, ((0, num_blocks * num_rows - num_a), (0, 0)))
    blocks = padded.reshape(num_blocks, num_rows, num_input_features)
    block_rows = jnp.arange(num_blocks * num_rows, dtype=jnp.int32).reshape(num_blocks, num_rows)
    is_candidate = has_direction(b)

    def search(
        block: tuple[Float[Array, "row input_feature"], Int32[Array, " row"]],
    ) -> tuple[Float[Array, " row"], Int32[Array, " row"]]:
        vectors, rows = block
        found = cosines(vectors, b)
        allowed = is_candidate[None]
        if is_same:
            allowed = allowed & (rows[:, None] != jnp.arange(num_b, dtype=jnp.int32)[None])
        found = jnp.where(allowed, jnp.abs(found) if absolute else found, -jnp.inf)
        return jnp.max(found, axis=-1), lax.argmax(found, 1, jnp.int32)

    largest, indices = (
        result.reshape(-1)[:num_a] for result in lax.map(search, (blocks, block_rows))
    )
    exists = has_direction(a) & (largest > -jnp.inf)
    return Nearest(
        cosines=jnp.where(exists, largest, jnp.nan),
        indices=jnp.where(exists, indices, jnp.int32(num_b)),
    )
