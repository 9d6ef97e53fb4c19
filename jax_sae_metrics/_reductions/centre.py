"""A value near the mean of each feature, found from few items; and deviations from it."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Float32, Int32

from .._arrays import AxisName, two_sum
from .function import Function
from .reduction import Reduction, Vectors
from .values import flatten_items, is_small, values_of

# With one outlier among n rows, the mean of k of them is at most n / k^2 variances (squared
# distances) from the mean of all. Centred sums then lose few digits, if any.
_NUM_SAMPLED = 64
# Rows are not taken from where parts of equal length begin: a language model has a massive
# activation at the beginning of every text.
_GOLDEN_RATIO = (math.sqrt(5) - 1) / 2


@dataclasses.dataclass(frozen=True)
class Deviation:
    """A function of the entries minus a centre, which is the last argument."""

    function: Function

    def __call__(self, *numbers: Float[Array, ""]) -> Float[Array, ""]:
        *entries, centre = numbers
        return lax.sub(self.function(*entries), centre)


@dataclasses.dataclass(frozen=True)
class SquaredDeviation:
    """The square of a function of the entries minus a centre."""

    function: Function

    def __call__(self, *numbers: Float[Array, ""]) -> Float[Array, ""]:
        return lax.square(Deviation(self.function)(*numbers))


@dataclasses.dataclass(frozen=True)
class SquaredDistance:
    """The square of a function of the entries minus the mean, which is a centre plus an offset."""

    function: Function

    def __call__(self, *numbers: Float[Array, ""]) -> Float[Array, ""]:
        *others, offset = numbers
        return lax.square(lax.sub(Deviation(self.function)(*others), offset))


def near_mean(
    function: Function,
    arrays: tuple[Float[Array, "..."], ...],
    mask: Bool[Array, "*item_and_component"] | None,
    num_item_axes: int,
    axis_name: AxisName | None,
) -> tuple[Float32[Array, "*component feature"], Float32[Array, "*component feature"]]:
    """The mean of the function over 64 unmasked items, or over all of them (see `is_of_all`).

    With `axis_name`, it is the mean over those of each device. It is 0 where everything is masked
    out, and exactly the common value where all values are equal. What rounding has lost of the mean
    comes second.
    """
    vectors = Vectors(arrays, mask)
    flat, flat_mask, _ = jax.tree.map(lambda x: flatten_items(x, num_item_axes), vectors)
    num_items, inner_shape = len(flat[0]), vectors.shape[num_item_axes:]
    if num_items == 0:  # on all devices alike
        return jnp.zeros(inner_shape, jnp.float32), jnp.zeros(inner_shape, jnp.float32)
    num_sampled = num_items if is_of_all(vectors.shape, num_item_axes) else _NUM_SAMPLED
    parts = np.arange(num_sampled)
    starts = (parts + parts * _GOLDEN_RATIO % 1) * num_items // num_sampled
    starts = starts.astype(np.int32)
    valid, first = jnp.ones((num_sampled, *inner_shape[:-1]), bool), None
    if num_sampled == num_items:
        sampled = list(flat)
        if flat_mask is not None:
            valid = jnp.broadcast_to(flat_mask, valid.shape)
            first = jnp.argmax(valid, axis=0, keepdims=True)
    elif flat_mask is not None:
        # The first unmasked item at or after each start.
        number = lax.broadcasted_iota(jnp.int32, flat_mask.shape, 0)
        following = jnp.where(flat_mask, number, jnp.int32(num_items))
        following = lax.cummin(following, axis=0, reverse=True)[starts]
        valid = following < num_items
        sampled = [_rows(x, following) for x in flat]
    elif num_items % num_sampled == 0:
        # A slice: a gather would read from all devices.
        place = int(_GOLDEN_RATIO * (num_items // num_sampled))
        sampled = [x.reshape(num_sampled, -1, *x.shape[1:])[:, place] for x in flat]
    else:
        sampled = [x[starts] for x in flat]
    values = _values(function, tuple(sampled), valid)
    values = values.astype(jnp.float32)
    one = values[:1] if first is None else jnp.take_along_axis(values, first[..., None], axis=0)
    offsets = jnp.where(valid[..., None], values - one, jnp.zeros((), values.dtype))
    num_valid = jnp.sum(valid, 0, dtype=jnp.float32)[..., None]
    one, offset = one[0], jnp.sum(offsets, 0) / jnp.maximum(num_valid, 1)
    if axis_name is not None:
        one, offset = _over_devices(one, offset, num_valid, axis_name)
    return two_sum(one, offset)


def is_of_all(shape: tuple[int, ...], num_item_axes: int) -> bool:
    """Whether the mean of an array of this shape is taken over all items."""
    return math.prod(shape[:num_item_axes]) <= _NUM_SAMPLED or is_small(shape)


def _rows(
    array: Float[Array, "item *#component feature"], items: Int32[Array, "*row_and_component"]
) -> Float[Array, "*row_and_component feature"]:
    """The rows of these items, for each component."""
    if array.shape[1:-1] != items.shape[1:]:
        return jnp.take(array[:, 0], items, axis=0, mode="clip")
    return jnp.take_along_axis(array, items[..., None], axis=0, mode="clip")


def _over_devices(
    one: Float32[Array, "*component feature"],
    offset: Float32[Array, "*component feature"],
    num_valid: Float32[Array, "*component 1"],
    axis_name: AxisName,
) -> tuple[Float32[Array, "*component feature"], Float32[Array, "*component feature"]]:
    """A value of one device, and how far the mean over all devices is from it."""
    some = lax.pmax(jnp.where(num_valid > 0, one, -jnp.inf), axis_name)
    offset = jnp.where(num_valid > 0, ((one - some) + offset) * num_valid, 0)
    offset, num_valid = lax.psum((offset, num_valid), axis_name)
    some = jnp.where(num_valid > 0, some, 0)
    return some, offset / jnp.maximum(num_valid, 1)


def _values(
    function: Function,
    arrays: tuple[Float[Array, "..."], ...],
    mask: Bool[Array, "*item_and_component"] | None,
) -> Float[Array, "..."]:
    return values_of(Reduction("sum_per_feature", function), Vectors(arrays, mask))
