"""Activations of one batch, and the reductions of them that metrics are made of."""

import dataclasses
import math

import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int32

from ._accumulator import MomentsRecord, VectorRows
from ._functions import Deviation, SquaredDeviation
from ._items import Items
from ._reductions import Function, Term, apply, at_least_float32, plain_sum
from ._sharding import unsharded
from ._shared_reductions import Centre, Given, SharedReductions


@dataclasses.dataclass(frozen=True)
class Activations:
    """One input, or several of the same shape, `[*batch, component?, feature]` each.

    A metric asks for sums of functions of them. A function takes one entry of each array, a float32
    (or float64) number, and returns a float, whose sums are float32, or a boolean: its sum is the
    int32 count of True. What differs from feature to feature is an input of its own, that
    `batch.per_feature` hands out; the function takes an entry of it after those of the arrays.

    Whatever all metrics of a collection ask for is found in one read of the arrays. A function that
    several of them ask for is summed once, if it is the same object or compares equal.
    """

    arrays: tuple[Float[Array, "*batch_and_component feature"], ...]
    items: Items
    shared: SharedReductions

    @property
    def num_features(self) -> int:
        """The size of the last axis."""
        return self.arrays[0].shape[-1]

    def sum_per_feature(self, function: Function, *constants: Given) -> Array:
        """`[component?, feature]`: the sum over all items that are not masked out."""
        return self._get("per_feature", function, *constants)

    def sum_per_vector(self, function: Function, *constants: Given) -> Array:
        """`[*batch, component?]`: the sum over features, of masked vectors too."""
        return self._get("per_vector", function, *constants)

    def max_per_feature(self, function: Function) -> Array:
        """`[component?, feature]`: the largest value; minus infinity if everything is masked."""
        return self._get("largest", function)

    def last_per_feature(self, function: Function) -> Array:
        """`[component?, feature]`: the last unmasked item of which the function is True.

        The first unmasked item is number 1; 0 where it is True of none.
        """
        return self._get("last", function)

    def prompts_per_feature(self, function: Function) -> Int32[Array, "*component feature"]:
        """`[component?, feature]`: of items `[prompt, token]`, the prompts with a True in them."""
        # A second read: what a prompt adds is known only once all its tokens are seen.
        (happened,) = apply((Term(function),), ((),), self.arrays, self.items.mask)
        in_prompt = jnp.any(happened, axis=1)
        return plain_sum(in_prompt, (0,), len(in_prompt))

    def moments_per_feature(self, function: Function) -> MomentsRecord:
        """`[component?, feature]`: mean and centred sum of squares over unmasked items."""
        centre = Centre(function)
        return MomentsRecord.around(
            self.shared.centre(centre, self.arrays, self.items),
            self._get("per_feature", Deviation(function), centre),
            self._get("per_feature", SquaredDeviation(function), centre),
            self.items.count(),
        )

    def squared_distances(self, function: Function) -> Array:
        """`[*batch, component?]`: squared distance of vectors from the `near_mean` of their batch.

        The mean over 64 vectors of the batch, or all if there are fewer.
        """
        return self._get("per_vector", SquaredDeviation(function), Centre(function))

    def rows(self) -> VectorRows:
        """The vectors of a single input themselves, in order."""
        (values,) = self.arrays
        return vector_rows(at_least_float32(values).astype(jnp.float32), self.items)

    def _get(self, kind: str, function: Function, *constants: Given | Centre) -> Array:
        return self.shared.get(kind, function, constants, self.arrays, self.items)


def vector_rows(values: Float32[Array, "*batch_and_component feature"], items: Items) -> VectorRows:
    """Vectors as one run in order, along the last axis."""
    values = unsharded(values)
    num_items = math.prod(items.shape)
    values = values.reshape(num_items, *items.component_shape, values.shape[-1])
    valid = jnp.ones(values.shape[:-1], bool)
    if items.mask is not None:
        valid = unsharded(items.mask).reshape(valid.shape)
    return VectorRows(values=jnp.moveaxis(values, 0, -1), valid=jnp.moveaxis(valid, 0, -1))
