"""One input of one batch, seen as a run of items: what metrics reduce."""

import dataclasses
import math

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Float32, Int32

from ._accumulator import VectorRows
from ._reductions import sum_over_items
from ._sharding import unsharded


def computable(name: str, value: ArrayLike) -> Float[Array, "..."]:
    """The input as an array of at least float32, so that no bf16 is subtracted or summed."""
    array = jnp.asarray(value)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(
            f"{name}: expected a floating-point dtype, got {array.dtype} of shape {array.shape}. "
            f"Cast it, for example with {name}.astype(jnp.float32)."
        )
    return array.astype(jnp.float32) if array.dtype.itemsize < 4 else array


@dataclasses.dataclass(frozen=True)
class Items:
    """An input with its mask, and the sums over its items that metrics are made of.

    The leading `num_item_axes` axes of `values` run over items (activation vectors, or losses);
    then come the component axis if there is one and, for activations, the feature axis. They are
    float32 or float64 and carry no gradient. They are not masked: reduce them with the methods
    below, for which what is masked out adds nothing, not even where it is NaN.
    """

    values: Float[Array, "..."]
    mask: Bool[Array, "*items_and_component"] | None
    num_item_axes: int
    component_shape: tuple[int, ...]

    def num_items(self) -> Int32[Array, "*component"]:
        """The number of unmasked items, per component."""
        if self.mask is None:
            size = math.prod(self.values.shape[: self.num_item_axes])
            return jnp.full(self.component_shape, size, jnp.int32)
        return sum_over_items(self.mask, self.num_item_axes, jnp.int32)

    def sum(self, values: Float[Array, "..."]) -> Float32[Array, "..."]:
        """The sum over items of `values`, which begin with the axes of items and component."""
        if self.mask is not None:
            # Select, never multiply: NaN * 0 is NaN.
            values = jnp.where(self._mask_like(values), values, jnp.zeros((), values.dtype))
        return sum_over_items(values, self.num_item_axes, values.dtype).astype(jnp.float32)

    def count(self, holds: Bool[Array, "..."]) -> Int32[Array, "..."]:
        """The number of items for which `holds`, which begins with the axes as for `sum`."""
        if self.mask is not None:
            holds = holds & self._mask_like(holds)
        return sum_over_items(holds, self.num_item_axes, jnp.int32)

    def num_above(self, threshold: float) -> Int32[Array, "*component feature"]:
        """The number of items in which each feature is above `threshold`."""
        return self.count(self.values > threshold)

    def num_nonzero(self) -> Int32[Array, "*component"]:
        """The number of entries that are not zero, over items and features."""
        return jnp.sum(self.count(self.values != 0), axis=-1, dtype=jnp.int32)

    def rows(self) -> VectorRows:
        """The items themselves as one run of vectors, in order."""
        values = unsharded(self.values).astype(jnp.float32)
        values = values.reshape(-1, *values.shape[self.num_item_axes :])
        valid = jnp.ones(values.shape[:-1], bool)
        if self.mask is not None:
            valid = unsharded(self.mask).reshape(valid.shape)
        return VectorRows(values=jnp.moveaxis(values, 0, -1), valid=jnp.moveaxis(valid, 0, -1))

    def _mask_like(self, values: Array) -> Bool[Array, "..."]:
        assert self.mask is not None
        return jnp.expand_dims(self.mask, range(self.mask.ndim, values.ndim))
