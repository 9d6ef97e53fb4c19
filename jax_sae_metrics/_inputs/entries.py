"""Activations given by their few entries that are not zero, and answers from those entries."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._accumulator import Scattered, VectorRecord, scatter_add, take
from .._arrays import unsharded
from .._reductions import (
    Function,
    Reduction,
    Vectors,
    check_function,
    item_positions,
    plain_sum,
    values_of,
)
from .activations import AbstractActivations, as_record
from .items import Items
from .top_k import TopKActivations

# What a function must be at 0, so that entries that are left out change no result.
_AT_ZERO = {
    "sum_per_feature": 0.0,
    "sum_per_vector": 0.0,
    "max_per_feature": -math.inf,
    "last_per_feature": 0.0,
}


@dataclasses.dataclass(frozen=True, eq=False)
class EntriesOfActivations(AbstractActivations):
    """Activations that are zero except for the entries of `TopKActivations`.

    A result per feature is `Scattered`: additions to few features. Functions must be 0 (or False)
    at 0; for a maximum, minus infinity.
    """

    top_k: TopKActivations
    items: Items

    @property
    def num_features(self) -> int:
        """The number of features."""
        return self.top_k.num_learned_features

    @property
    def description(self) -> str:
        """The input in a few words, for messages."""
        return "TopKActivations"

    def prompts_per_feature(self, function: Function) -> Scattered:
        """`[component?, feature]`: how many prompts have a True; items are `[prompt, token]`."""
        reduction = Reduction("last_per_feature", function)
        self.check(reduction)
        indices = self.top_k.indices.astype(jnp.int32)
        happened = self._values(reduction)
        indices = unsharded(jnp.where(happened, indices, jnp.int32(self.num_features)))
        # All entries of a prompt in one row, `[prompt, component?, entry]`: each feature counts
        # once.
        in_prompt = jnp.moveaxis(indices, 1, -2)
        size = math.prod(in_prompt.shape[-2:])
        in_prompt = jnp.sort(in_prompt.reshape(*in_prompt.shape[:-2], size), axis=-1)
        is_new = jnp.diff(in_prompt, axis=-1, prepend=jnp.int32(-1)) != 0
        indices, values = (
            jnp.moveaxis(x, 0, -2).reshape(*self.items.component_shape, -1)
            for x in (in_prompt, is_new.astype(jnp.int32))
        )
        return Scattered(indices=indices, values=values, size=self.num_features)

    def all_vectors(self) -> VectorRecord:
        """The vectors themselves, zeros included, in order."""
        values = unsharded(self.top_k.without_padding()).astype(jnp.float32)
        indices = unsharded(self.top_k.indices).astype(jnp.int32)
        *batch, k = values.shape
        num_vectors = math.prod(batch)
        vectors = jnp.zeros((num_vectors, self.num_features), jnp.float32)
        flat = (num_vectors, k)
        vectors = scatter_add(vectors, indices.reshape(flat), values.reshape(flat))
        return as_record(vectors.reshape(*batch, self.num_features), self.items)

    def check(self, reduction: Reduction) -> None:
        """Raise unless the reduction can be found from the entries alone."""
        is_centred = any(isinstance(constant, Reduction) for constant in reduction.constants)
        if is_centred or reduction.kind not in _AT_ZERO:
            raise TypeError(
                "TopKActivations have no moments and no distances from a mean: the activations "
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
                f"{function!r}: TopKActivations leave out the activations that are zero, so a "
                f"function of them is expected to be {wanted} at 0, got {at_zero}."
            )

    def find(self, reductions: tuple[Reduction, ...]) -> list[Any]:
        """The result of each reduction."""
        return [self._reduce(reduction) for reduction in reductions]

    def _reduce(self, reduction: Reduction) -> Array | Scattered:
        values = self._values(reduction)
        if reduction.is_per_vector:
            return plain_sum(values, (-1,), self.num_features)
        if reduction.kind == "last_per_feature":
            items = self.items
            positions = item_positions(items.shape, items.component_shape, items.mask)
            values = jnp.where(values, positions[..., None], jnp.zeros((), jnp.int32))
        indices = self.top_k.indices.astype(jnp.int32)
        indices = jnp.where(self.top_k.is_valid(), indices, jnp.int32(self.num_features))
        is_integer = values.dtype in (bool, jnp.int32)
        return Scattered(
            indices=self._by_component(indices),
            values=self._by_component(values.astype(jnp.int32 if is_integer else jnp.float32)),
            size=self.num_features,
            is_maximum=reduction.is_maximum,
        )

    def _values(self, reduction: Reduction) -> Array:
        """The function's value for every entry; for padding, the value at entries left out."""
        constants = tuple(self._at_indices(constant) for constant in reduction.constants)
        at_entries = Reduction(reduction.kind, reduction.function, constants)
        values = values_of(at_entries, Vectors((self.top_k.values,), self.items.mask))
        left_out = jnp.asarray(_AT_ZERO[reduction.kind], values.dtype)
        return jnp.where(self.top_k.is_valid(), values, left_out)

    def _at_indices(self, constant: Array) -> Array:
        """The entries of an input `[component?, feature]` at the features that are given."""
        indices = self._by_component(self.top_k.indices.astype(jnp.int32))
        entries = take(unsharded(constant), indices)
        num_item_axes = len(self.items.shape)
        k = self.top_k.values.shape[-1]
        entries = entries.reshape(*self.items.component_shape, *self.items.shape, k)
        return jnp.moveaxis(entries, range(-1 - num_item_axes, -1), range(num_item_axes))

    def _by_component(self, entries: Array) -> Array:
        """`[*batch, component?, k]` as `[component?, entry]`, on every device."""
        entries = unsharded(entries)
        num_item_axes = len(self.items.shape)
        entries = jnp.moveaxis(entries, range(num_item_axes), range(-1 - num_item_axes, -1))
        return entries.reshape(*self.items.component_shape, -1)
