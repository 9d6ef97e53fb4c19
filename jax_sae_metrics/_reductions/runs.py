"""A scan over blocks whose float sums do not drift."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from .._arrays import two_sum
from .values import joined

# Over 2^15 blocks, a running sum of float32 drifts by up to 3e-4. Pairs do not, and cost little if
# only every 32nd block is added to one.
_MAX_LENGTH = 32


def scan_in_runs(
    step: Callable[[list[Array], Array], tuple[list[Array], list[Array]]],
    empty: list[Array],
    num_blocks: int,
    are_maxima: list[bool],
) -> tuple[list[Array], list[Array]]:
    """As `lax.scan(step, empty, block numbers)`, in runs of equal length that begin empty.

    `step` adds a block to running sums and maxima. Float sums of runs are added as pairs.
    """
    numbers = jnp.arange(num_blocks, dtype=jnp.uint32)
    length = next(length for length in range(_MAX_LENGTH, 0, -1) if num_blocks % length == 0)
    if length == num_blocks:
        return lax.scan(step, empty, numbers)

    def add_run(held: list[_Held], numbers: Array) -> tuple[list[_Held], list[Array]]:
        reduced, of_blocks = lax.scan(step, empty, numbers)
        return [_plus(*each) for each in zip(held, reduced, are_maxima, strict=True)], of_blocks

    held = [_begun(*each) for each in zip(empty, are_maxima, strict=True)]
    held, of_blocks = lax.scan(add_run, held, numbers.reshape(-1, length))
    return [_rounded(one) for one in held], [x.reshape(-1, *x.shape[2:]) for x in of_blocks]


class _Held(NamedTuple):
    """A running sum or maximum and, of a float sum, what rounding has lost."""

    value: Array
    lost: Array | None


def _begun(empty: Array, is_maximum: bool) -> _Held:
    is_float_sum = jnp.issubdtype(empty.dtype, jnp.floating) and not is_maximum
    return _Held(empty, empty if is_float_sum else None)


def _plus(held: _Held, more: Array, is_maximum: bool) -> _Held:
    if held.lost is None:
        return _Held(joined(held.value, more, is_maximum), None)
    value, lost = two_sum(held.value, more)
    return _Held(value, held.lost + lost)


def _rounded(held: _Held) -> Array:
    if held.lost is None:
        return held.value
    # What an infinite sum has lost is not a number.
    return jnp.where(jnp.isfinite(held.value), held.value + held.lost, held.value)
