"""Activations given by their few entries that are not zero, and answers from those entries."""

import abc
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int32, Shaped

from .._accumulator import (
    At,
    Scattered,
    TopExamplesRecord,
    VectorRecord,
    is_first,
    scatter_add,
    scatter_set,
    take,
)
from .._arrays import repeated, unsharded
from .._reductions import (
    Function,
    Reduction,
    Vectors,
    check_function,
    item_positions,
    values_of,
)
from .activations import AbstractActivations, as_record

# What a function must be at 0, so that entries that are left out change no result.
_AT_ZERO = {
    "sum_per_feature": 0.0,
    "sum_per_vector": 0.0,
    "max_per_feature": -math.inf,
    "last_per_feature": 0.0,
}


class AbstractEntries(AbstractActivations):
    """Activations that are zero except for some entries.

    Arrays of entries have any shape, the same for all. A result per feature is `Scattered`:
    additions to few features. Functions must be 0 (or False) at 0; for a maximum, minus infinity.
    """

    given: Any

    @property
    def values(self) -> Float[Array, "*entries"]:
        """The value of each entry."""
        return self.given.values

    @property
    @abc.abstractmethod
    def features(self) -> Int32[Array, "*entries"]:
        """The feature of each entry, whatever it is for padding."""

    @abc.abstractmethod
    def of_vectors(self, per_vector: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
        """A number of each vector `[*batch, component?]`, for each of its entries."""

    @abc.abstractmethod
    def total_per_vector(self, per_entry: Shaped[Array, "*entries"]) -> Array:
        """The sum over entries, or the count of True, `[*batch, component?]`."""

    @property
    def num_features(self) -> int:
        """The number of features."""
        return self.given.num_learned_features

    @property
    def description(self) -> str:
        """The input in a few words, for messages."""
        return type(self.given).__name__

    def prompts_per_feature(self, function: Function) -> Scattered:
        """`[component?, feature]`: how many prompts have a True; items are `[prompt, token]`."""
        reduction = Reduction("last_per_feature", function)
        self.check(reduction)
        prompts = lax.broadcasted_iota(jnp.int32, self.items.full_shape, 0)
        happened = _flat(self._values(reduction))
        places = (_flat(self.of_vectors(prompts)), *self._at())
        places = tuple(jnp.where(happened, place, _NOWHERE) for place in places)
        # What is in order has each prompt's entries of a feature side by side: they count once.
        places = lax.sort(places, num_keys=len(places))
        counts = is_first(tuple(places)).astype(jnp.int32)
        return self._scattered(tuple(places[1:]), counts)

    def largest_per_feature(
        self, fires: Function, ids: Int32[Array, "*batch"], num_examples: int
    ) -> TopExamplesRecord:
        """The largest activations that fire, of unmasked items, and their ids."""
        reduction = Reduction("last_per_feature", fires)
        self.check(reduction)
        fired, values = _flat(self._values(reduction)), _flat(self.values).astype(jnp.float32)
        of_vectors = ids.reshape(*ids.shape, *(1 for _ in self.items.component_shape))
        of_vectors = repeated(of_vectors, self.items.full_shape)
        at = tuple(jnp.where(fired, place, _NOWHERE) for place in self._at())
        keys = (*at, -values, _flat(self.of_vectors(of_vectors)))
        *places, negated, in_order = lax.sort(keys, num_keys=len(keys))
        # Entries of one feature are side by side now, the largest first.
        number = lax.iota(jnp.int32, len(in_order))
        starts = jnp.where(is_first(tuple(places)), number, jnp.int32(0))
        places.append(number - lax.cummax(starts))
        shape = (*self.items.component_shape, self.num_features, num_examples)
        values, found = jnp.full(shape, -jnp.inf, jnp.float32), jnp.full(shape, -1, jnp.int32)
        return TopExamplesRecord(
            scatter_set(values, tuple(places), -negated),
            scatter_set(found, tuple(places), in_order),
        )

    def all_vectors(self) -> VectorRecord:
        """The vectors themselves, zeros included, in order."""
        shape = (*self.items.full_shape, self.num_features)
        vectors = lax.iota(jnp.int32, math.prod(shape[:-1])).reshape(shape[:-1])
        at = (_flat(self.of_vectors(vectors)), self._at()[-1])
        rows = jnp.zeros((math.prod(shape[:-1]), self.num_features), jnp.float32)
        values = _flat(self.given.without_padding()).astype(jnp.float32)
        rows = scatter_add(rows, at, values)
        return as_record(rows.reshape(shape), self.items)

    def check(self, reduction: Reduction) -> None:
        """Raise unless the reduction can be found from the entries alone."""
        is_centred = any(isinstance(constant, Reduction) for constant in reduction.constants)
        if is_centred or reduction.kind not in _AT_ZERO:
            raise TypeError(
                f"{self.description} have no moments and no distances from a mean: the activations "
                "that they leave out are part of both. Pass an array as learned_activations."
            )
        function, wanted = reduction.function, _AT_ZERO[reduction.kind]
        num_constants = len(reduction.constants)
        check_function(function, 1 + num_constants, reduction.kind)
        # On no mesh: JAX evaluates nothing on one that is manual over some of its axes.
        no_mesh = jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), ()))
        with jax.ensure_compile_time_eval(), no_mesh:
            one = jnp.ones((), jnp.float32)
            at_zero = float(function(jnp.zeros((), jnp.float32), *(one,) * num_constants))
        if at_zero != wanted:
            raise ValueError(
                f"{function!r}: {self.description} leave out the activations that are zero, so a "
                f"function of them is expected to be {wanted} at 0, got {at_zero}."
            )

    def find(self, reductions: tuple[Reduction, ...]) -> list[Any]:
        """The result of each reduction."""
        return [self._reduce(reduction) for reduction in reductions]

    def _reduce(self, reduction: Reduction) -> Array | Scattered:
        values = self._values(reduction)
        if reduction.is_per_vector:
            return self.total_per_vector(values)
        if reduction.kind == "last_per_feature":
            items = self.items
            positions = item_positions(items.shape, items.component_shape, items.mask)
            values = jnp.where(values, self.of_vectors(positions), jnp.zeros((), jnp.int32))
        is_integer = values.dtype in (bool, jnp.int32)
        values = _flat(values.astype(jnp.int32 if is_integer else jnp.float32))
        return self._scattered(self._at(), values, reduction.is_maximum)

    def _values(self, reduction: Reduction) -> Shaped[Array, "*entries"]:
        """The function's value for every entry; one that changes no result where none counts."""
        constants = tuple(self._at_entries(constant) for constant in reduction.constants)
        at_entries = Reduction(reduction.kind, reduction.function, constants)
        values = values_of(at_entries, Vectors((self.values,)))
        counts = self.given.is_valid()
        if self.items.mask is not None and not reduction.is_per_vector:
            counts = counts & self.of_vectors(self.items.mask)
        return jnp.where(counts, values, jnp.asarray(_AT_ZERO[reduction.kind], values.dtype))

    def _at_entries(self, constant: Array) -> Array:
        """The entries of an input `[component?, feature]` at the features that are given."""
        return take(unsharded(constant), self._at()).reshape(self.values.shape)

    def _at(self) -> At:
        """The places of all entries in an array `[component?, feature]`, on every device."""
        is_valid, features = _flat(self.given.is_valid()), _flat(self.features)
        features = jnp.where(is_valid, features, jnp.int32(self.num_features))
        if not self.items.component_shape:
            return (features,)
        component_axis = len(self.items.shape)
        components = lax.broadcasted_iota(jnp.int32, self.items.full_shape, component_axis)
        return _flat(self.of_vectors(components)), features

    def _scattered(self, at: At, values: Array, is_maximum: bool = False) -> Scattered:
        shape = (*self.items.component_shape, self.num_features)
        return Scattered(at, values, shape, is_maximum)


# Out of range for every feature, component and prompt.
_NOWHERE = np.int32(2**31 - 1)


def _flat(entries: Array) -> Shaped[Array, " entry"]:
    """Entries in a row, on every device."""
    return unsharded(entries).reshape(-1)
