"""Activations of one batch, and the questions that metrics ask about them."""

import abc
import dataclasses
import functools
import math
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int32

from .._accumulator import (
    LastSeenRecord,
    MaximumRecord,
    MomentsRecord,
    Scattered,
    TopExamplesRecord,
    VectorRecord,
    largest,
)
from .._arrays import AxisName, at_least_float32, repeated, unsharded
from .._reductions import (
    Deviation,
    Function,
    Reduction,
    SquaredDeviation,
    SquaredDistance,
    Vectors,
    check_function,
    plain_sum,
    reduce_all,
    values_of,
)
from .items import Items
from .question import Question


class AbstractActivations(abc.ABC):
    """One input, or several of the same shape, `[*batch, component?, feature]` each.

    A metric names a function of single entries and a way to reduce its values. The function takes
    one entry of each input, a float32 (or float64) number. If it returns a float, sums are float32.
    If it returns a boolean, the sum is the int32 count of True. A number for each feature, such as
    a decoder norm, comes from `batch.per_feature`; the function takes it after the entries of the
    activations.

    A question is answered after `_observe` has returned it. One read of the activations answers all
    metrics of a collection. A function that several metrics name is reduced once, if it is the same
    object or compares equal.
    """

    items: Items

    @property
    @abc.abstractmethod
    def num_features(self) -> int:
        """The size of the last axis."""

    @property
    @abc.abstractmethod
    def description(self) -> str:
        """The input in a few words, for messages."""

    def sum_per_feature(self, function: Function, *constants: Array) -> Question:
        """`[component?, feature]`: the sum over all items that are not masked out."""
        return self._ask(Reduction("sum_per_feature", function, constants))

    def sum_per_vector(self, function: Function, *constants: Array) -> Question:
        """`[*batch, component?]`: the sum over features, of masked vectors too."""
        return self._ask(Reduction("sum_per_vector", function, constants))

    def max_per_feature(self, function: Function) -> Question:
        """The largest values, `[component?, feature]`, for a `Maximum`."""
        return self._ask(Reduction("max_per_feature", function), answer_from=MaximumRecord)

    def last_per_feature(self, function: Function) -> Question:
        """The last unmasked item at which the function is True, for a `LastSeen`."""
        to_record = functools.partial(LastSeenRecord, num_items=self.items.count())
        return self._ask(Reduction("last_per_feature", function), answer_from=to_record)

    def moments_per_feature(self, function: Function) -> Question:
        """Mean and centred sum of squares over unmasked items, for `Moments`."""
        centre = Reduction("centre", function)
        return self._ask(
            centre,
            Reduction("sum_per_feature", Deviation(function), (centre,)),
            Reduction("sum_per_feature", SquaredDeviation(function), (centre,)),
            answer_from=functools.partial(MomentsRecord, self.items.count()),
        )

    def squared_distance_per_vector(self, function: Function) -> Question:
        """`[*batch, component?]`: squared distances of vectors from their mean over the batch.

        The mean takes a read before the one that answers all other questions. With `axis_name`, the
        batch is that of all devices.
        """
        centre = Reduction("centre", function)
        offset = Reduction("offset", function, (centre,))
        return self._ask(Reduction("sum_per_vector", SquaredDistance(function), (centre, offset)))

    @abc.abstractmethod
    def prompts_per_feature(self, function: Function) -> Int32[Array, "..."] | Scattered:
        """`[component?, feature]`: how many prompts have a True; items are `[prompt, token]`.

        It is found at once, in a separate read: what a prompt adds is known only after all of its
        tokens.
        """

    @abc.abstractmethod
    def largest_per_feature(
        self, fires: Function, ids: Int32[Array, "*batch"], num_examples: int
    ) -> TopExamplesRecord:
        """The largest activations that fire, of unmasked items, and their ids.

        It is found at once, in a separate read.
        """

    @abc.abstractmethod
    def all_vectors(self) -> VectorRecord:
        """The vectors of the only input, in order, for a `VectorBuffer`."""

    @abc.abstractmethod
    def check(self, reduction: Reduction) -> None:
        """Raise unless the reduction can be found."""

    @abc.abstractmethod
    def find(self, reductions: tuple[Reduction, ...]) -> list[Any]:
        """The result of each reduction, all from one read."""

    def _ask(self, *reductions: Reduction, answer_from: Any = lambda result: result) -> Question:
        for reduction in reductions:
            self.check(reduction)
        return Question(self, reductions, answer_from)


@dataclasses.dataclass(frozen=True, eq=False)
class DenseActivations(AbstractActivations):
    """Activations with an entry for every feature."""

    arrays: tuple[Float[Array, "..."], ...]
    items: Items
    axis_name: AxisName | None

    @property
    def num_features(self) -> int:
        """The size of the last axis."""
        return self.arrays[0].shape[-1]

    @property
    def description(self) -> str:
        """The input in a few words, for messages."""
        return f"shape {self.arrays[0].shape}"

    def prompts_per_feature(self, function: Function) -> Int32[Array, "*component feature"]:
        """`[component?, feature]`: how many prompts have a True; items are `[prompt, token]`."""
        reduction = Reduction("last_per_feature", function)
        self.check(reduction)
        happened = values_of(reduction, Vectors(self.arrays, self.items.mask))
        in_prompt = jnp.any(happened, axis=1)
        counts = plain_sum(in_prompt, (0,), in_prompt.shape[0])
        return repeated(counts, (*self.items.component_shape, self.num_features))

    def largest_per_feature(
        self, fires: Function, ids: Int32[Array, "*batch"], num_examples: int
    ) -> TopExamplesRecord:
        """The largest activations that fire, of unmasked items, and their ids."""
        reduction = Reduction("last_per_feature", fires)
        self.check(reduction)
        fired = values_of(reduction, Vectors(self.arrays, self.items.mask))
        (values,) = self.arrays
        shape = (*self.items.full_shape, self.num_features)
        fired, values = (repeated(array, shape) for array in (fired, values))
        values = jnp.where(fired, values.astype(jnp.float32), jnp.float32(-jnp.inf))
        values = as_record(values, self.items).values
        ids = jnp.where(values > -jnp.inf, unsharded(ids).reshape(-1), jnp.int32(-1))
        return TopExamplesRecord(*largest([values], [ids], num_examples))

    def all_vectors(self) -> VectorRecord:
        """The vectors of the only input, in order, for a `VectorBuffer`."""
        (values,) = self.arrays
        values = repeated(values, (*self.items.full_shape, self.num_features))
        return as_record(at_least_float32(values).astype(jnp.float32), self.items)

    def check(self, reduction: Reduction) -> None:
        """Raise unless the reduction can be found."""
        num_numbers = len(self.arrays) + len(reduction.constants)
        check_function(reduction.function, num_numbers, reduction.kind)

    def find(self, reductions: tuple[Reduction, ...]) -> list[Array]:
        """The result of each reduction, all from one read."""
        items, (first, *others) = self.items, self.arrays
        num_item_axes = len(items.shape)
        if any(isinstance(constant, Array) for r in reductions for constant in r.constants):
            # It may differ by component, where the activations are the same for all.
            first = repeated(first, (*items.full_shape, self.num_features))
        arrays = (first, *others)
        found = reduce_all(reductions, arrays, items.mask, num_item_axes, self.axis_name)
        per_feature = (*items.component_shape, self.num_features)
        shapes = (items.full_shape if r.is_per_vector else per_feature for r in reductions)
        return [repeated(*each) for each in zip(found, shapes, strict=True)]


def as_record(values: Float32[Array, "*batch_and_component feature"], items: Items) -> VectorRecord:
    """All vectors in order, along the last axis."""
    values = unsharded(values)
    num_items = math.prod(items.shape)
    values = values.reshape(num_items, *items.component_shape, values.shape[-1])
    valid = jnp.ones(values.shape[:-1], bool)
    if items.mask is not None:
        valid = unsharded(items.mask).reshape(valid.shape)
    return VectorRecord(values=jnp.moveaxis(values, 0, -1), valid=jnp.moveaxis(valid, 0, -1))
