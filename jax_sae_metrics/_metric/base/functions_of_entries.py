"""Functions of single activations that metrics sum. Equal functions are summed once.

They are written in `lax`, which is traced twice as fast as `jnp`, since the form of every platform
traces them.
"""

import dataclasses

from jax import lax
from jaxtyping import Array, Bool, Float

from ..._reductions import Function

# What is smaller counts as zero. Left to itself, XLA takes it for zero on some platforms, in some
# programs.
_SMALLEST_NORMAL = 2.0**-126


@dataclasses.dataclass(frozen=True)
class Above:
    """Whether an activation is greater than a threshold, which is at least 0."""

    threshold: float

    def __call__(self, activation: Float[Array, ""]) -> Bool[Array, ""]:
        if self.threshold < _SMALLEST_NORMAL:
            return lax.ge(activation, lax.full_like(activation, _SMALLEST_NORMAL))
        return lax.gt(activation, lax.full_like(activation, self.threshold))


@dataclasses.dataclass(frozen=True)
class AbsoluteAbove:
    """Whether the absolute value of an activation is greater than a threshold."""

    threshold: float

    def __call__(self, activation: Float[Array, ""]) -> Bool[Array, ""]:
        return Above(self.threshold)(lax.abs(activation))


def is_nonzero(activation: Float[Array, ""]) -> Bool[Array, ""]:
    """Whether an activation is not zero; NaN counts as not zero."""
    is_zero = lax.lt(lax.abs(activation), lax.full_like(activation, _SMALLEST_NORMAL))
    return lax.bitwise_not(is_zero)


def activity_test(threshold: float, absolute: bool) -> Function:
    """Return the test for active activations in L0: not zero, or beyond a threshold."""
    if not absolute:
        return Above(threshold)
    return AbsoluteAbove(threshold) if threshold else is_nonzero


def absolute(activation: Float[Array, ""]) -> Float[Array, ""]:
    """The absolute value."""
    return lax.abs(activation)


def square(activation: Float[Array, ""]) -> Float[Array, ""]:
    """The square."""
    return lax.square(activation)


def weighted_absolute(activation: Float[Array, ""], weight: Float[Array, ""]) -> Float[Array, ""]:
    """The absolute value times a weight."""
    return lax.mul(lax.abs(activation), weight)


def source(source: Float[Array, ""], decoded: Float[Array, ""]) -> Float[Array, ""]:
    """The first of two activations."""
    del decoded
    return source


def decoded(source: Float[Array, ""], decoded: Float[Array, ""]) -> Float[Array, ""]:
    """The second of two activations."""
    del source
    return decoded


def error(source: Float[Array, ""], decoded: Float[Array, ""]) -> Float[Array, ""]:
    """The difference."""
    return lax.sub(source, decoded)


def squared_source(source: Float[Array, ""], decoded: Float[Array, ""]) -> Float[Array, ""]:
    """The square of the first."""
    del decoded
    return lax.square(source)


def squared_decoded(source: Float[Array, ""], decoded: Float[Array, ""]) -> Float[Array, ""]:
    """The square of the second."""
    del source
    return lax.square(decoded)


def product(source: Float[Array, ""], decoded: Float[Array, ""]) -> Float[Array, ""]:
    """The product."""
    return lax.mul(source, decoded)


def squared_error(source: Float[Array, ""], decoded: Float[Array, ""]) -> Float[Array, ""]:
    """The squared difference."""
    return lax.square(lax.sub(source, decoded))
