"""Elementwise functions of activations that metrics sum. What compares equal is summed once."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


@dataclasses.dataclass(frozen=True)
class Above:
    """Whether an activation is greater than a threshold."""

    threshold: float

    def __call__(self, activations: Float[Array, "..."]) -> Bool[Array, "..."]:
        return activations > self.threshold


def is_nonzero(activations: Float[Array, "..."]) -> Bool[Array, "..."]:
    """Whether an activation is not zero; NaN is not."""
    return activations != 0


def absolute(activations: Float[Array, "..."]) -> Float[Array, "..."]:
    """The absolute value."""
    return jnp.abs(activations)


def squared_error(source: Float[Array, "..."], decoded: Float[Array, "..."]) -> Float[Array, "..."]:
    """The squared difference."""
    return jnp.square(source - decoded)
