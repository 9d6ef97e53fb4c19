"""Dictionaries as matrices whose rows are the vectors, and the directions of the rows."""

import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from .._arrays import computable


def dictionary(name: str, value: ArrayLike) -> Float[Array, "feature input_feature"]:
    """The input in a dtype to calculate in; raise unless it is a matrix."""
    rows = computable(name, value)
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(
            f"{name}: expected shape [feature, input_feature], one dictionary vector a row, got "
            f"shape {rows.shape}. Call under `jax.vmap` for an axis of models."
        )
    return rows


def two_dictionaries(
    **values: ArrayLike,
) -> tuple[Float[Array, "feature_a input_feature"], Float[Array, "feature_b input_feature"]]:
    """The two named inputs; raise unless their vectors have the same size."""
    first, second = (dictionary(name, value) for name, value in values.items())
    if first.shape[1] != second.shape[1]:
        raise ValueError(
            f"{' and '.join(values)}: expected shapes [feature, input_feature] with the same "
            f"number of input features, got {first.shape} and {second.shape}. Transpose a matrix "
            "that is stored as [input_feature, feature]."
        )
    return first, second


def unit_rows(
    rows: Float[Array, "feature input_feature"],
) -> Float[Array, "feature input_feature"]:
    """Each row scaled to length one; zero rows as they are."""
    # Divide by the largest entry first: squares of small or large numbers vanish or overflow.
    largest = jnp.max(jnp.abs(rows), axis=-1, keepdims=True)
    rows = rows / jnp.where(largest > 0, largest, jnp.ones_like(largest))
    length = jnp.sqrt(jnp.sum(jnp.square(rows), axis=-1, keepdims=True))
    return rows / jnp.where(length > 0, length, jnp.ones_like(length))


def has_direction(rows: Float[Array, "feature input_feature"]) -> Bool[Array, " feature"]:
    """Which rows are not zero; NaN counts as not zero."""
    return jnp.any(rows != 0, axis=-1)


def cosines(
    unit_a: Float[Array, "feature_a input_feature"], unit_b: Float[Array, "feature_b input_feature"]
) -> Float[Array, "feature_a feature_b"]:
    """The products of rows of length one."""
    products = jnp.einsum("ai,bi->ab", unit_a, unit_b, precision=lax.Precision.HIGHEST)
    # Rounding may leave them just outside of -1 to 1.
    return jnp.clip(products, -1.0, 1.0)
