"""Activations of one batch, and the sums over them that metrics are made of."""

import dataclasses
import math

import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from ._accumulator import VectorRows
from ._items import Items
from ._reductions import Function, at_least_float32
from ._sharding import unsharded
from ._shared_sums import SharedSums


@dataclasses.dataclass(frozen=True)
class Activations:
    """One input, or several of the same shape, `[*batch, component?, feature]` each.

    A metric asks for sums of functions of them. A function takes one entry of each array, a float32
    (or float64) number, and returns a float, whose sums are float32, or a boolean: its sum is the
    int32 count of True. What differs from feature to feature multiplies the sum afterwards.

    Whatever all metrics of a collection ask for is found in one read of the arrays. A function that
    several of them ask for is summed once, if it is the same object or compares equal.
    """

    arrays: tuple[Float[Array, "*batch_and_component feature"], ...]
    items: Items
    shared: SharedSums

    @property
    def num_features(self) -> int:
        """The size of the last axis."""
        return self.arrays[0].shape[-1]

    def sum_per_feature(self, function: Function) -> Array:
        """`[component?, feature]`: the sum over all items that are not masked out."""
        return self.shared.get("per_feature", function, self.arrays, self.items)

    def sum_per_vector(self, function: Function) -> Array:
        """`[*batch, component?]`: the sum over features, of masked vectors too."""
        return self.shared.get("per_vector", function, self.arrays, self.items)

    def sum(self, function: Function) -> Array:
        """`[component?]`: the sum over features and all items that are not masked out."""
        per_feature = self.sum_per_feature(function)
        return jnp.sum(per_feature, axis=-1, dtype=per_feature.dtype)

    def rows(self) -> VectorRows:
        """The vectors of a single input themselves, in order."""
        (values,) = self.arrays
        return vector_rows(at_least_float32(values).astype(jnp.float32), self.items)


def vector_rows(values: Float32[Array, "*batch_and_component feature"], items: Items) -> VectorRows:
    """Vectors as one run in order, along the last axis."""
    values = unsharded(values)
    num_items = math.prod(items.shape)
    values = values.reshape(num_items, *items.component_shape, values.shape[-1])
    valid = jnp.ones(values.shape[:-1], bool)
    if items.mask is not None:
        valid = unsharded(items.mask).reshape(valid.shape)
    return VectorRows(values=jnp.moveaxis(values, 0, -1), valid=jnp.moveaxis(valid, 0, -1))
