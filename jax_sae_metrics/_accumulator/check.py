"""Check of what is added to accumulators."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array


def checked_observation(
    observation: Any, accumulator: str, shape: tuple[int, ...], dtype: Any
) -> Array:
    """The observation as a JAX array; raise unless it has exactly this shape and dtype."""
    wanted = f"{jnp.dtype(dtype)}{list(shape)}"
    given = type(observation).__name__
    if hasattr(observation, "shape") and hasattr(observation, "dtype"):
        given = f"{observation.dtype}{list(observation.shape)}"
    if given != wanted:
        raise ValueError(
            f"observation: a {accumulator} of shape {shape} expects an array {wanted}, got {given}."
            " Pass what `observe` of the same metric returned, or a sum of such observations. In a "
            "metric's own `_observe`, counts (sums of comparisons) go to a Count, other sums to a "
            "Total."
        )
    # Constants that leave `jax.checkpoint` are not JAX arrays yet.
    return jnp.asarray(observation)
