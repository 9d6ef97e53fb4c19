"""A value near the mean of each feature, found from few items; and deviations from it."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Float32, Int32

from .._arrays import AxisName
from .function import Function
from .reduction import Reduction, Vectors
from .values import flatten_items, values_of

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
) -> Float32[Array, "*component feature"]:
    """The mean of the function over 64 unmasked items, or over all if there are fewer.

    With `axis_name`, it is the mean over 64 items of each device. It is 0 where everything is
    masked out, and exactly the common value where all values are equal.
    """
    vectors = Vectors(arrays, mask)
    flat, flat_mask, _ = jax.tree.map(lambda x: flatten_items(x, num_item_axes), vectors)
    num_items, inner_shape = len(flat[0]), vectors.shape[num_item_axes:]
    if num_items == 0:
        return jnp.zeros(inner_shape, jnp.float32)  # on all devices alike
    num_sampled = min(num_items, _NUM_SAMPLED)
    parts = np.arange(num_sampled)
    starts = (parts + parts * _GOLDEN_RATIO % 1) * num_items // num_sampled
    starts = starts.astype(np.int32)
    valid = jnp.ones((num_sampled, *inner_shape[:-1]), bool)
    if flat_mask is not None:
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
    offsets = jnp.where(valid[..., None], values - values[:1], jnp.zeros((), values.dtype))
    num_valid = jnp.sum(valid, 0, dtype=jnp.float32)[..., None]
    centre = values[0] + jnp.sum(offsets, 0) / jnp.maximum(num_valid, 1)
    return _over_devices(centre, num_valid, axis_name)


def _rows(
    array: Float[Array, "item *#component feature"], items: Int32[Array, "*row_and_component"]
) -> Float[Array, "*row_and_component feature"]:
    """The rows of these items, for each component."""
    if array.shape[1:-1] != items.shape[1:]:
        return jnp.take(array[:, 0], items, axis=0, mode="clip")
    return jnp.take_along_axis(array, items[..., None], axis=0, mode="clip")


def _over_devices(
    centre: Float32[Array, "*component feature"],
    num_valid: Float32[Array, "*component 1"],
    axis_name: AxisName | None,
) -> Float32[Array, "*component feature"]:
    """The mean of all devices' centres."""
    if axis_name is None:
        return centre
    some = lax.pmax(jnp.where(num_valid > 0, centre, -jnp.inf), axis_name)
    offset = jnp.where(num_valid > 0, (centre - some) * num_valid, 0)
    offset, num_valid = lax.psum((offset, num_valid), axis_name)
    return jnp.where(num_valid > 0, some + offset / jnp.maximum(num_valid, 1), 0)


def _values(
    function: Function,
    arrays: tuple[Float[Array, "..."], ...],
    mask: Bool[Array, "*item_and_component"] | None,
) -> Float[Array, "..."]:
    return values_of(Reduction("sum_per_feature", function), Vectors(arrays, mask))
