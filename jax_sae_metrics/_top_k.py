"""Learned activations given by the few features that are active in each vector."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from ._accumulator import Scattered, VectorRows, take
from ._activations import vector_rows
from ._configuration import check_size
from ._items import Items
from ._reductions import (
    Function,
    Term,
    apply,
    check_function,
    item_positions,
    plain_sum,
)
from ._sharding import unsharded
from ._shared_reductions import Given


class TopKActivations(eqx.Module):
    r"""Learned activations as the values and the features of the few entries that are not zero.

    Pass it as `learned_activations` in place of an array: results are the same, and `update` takes
    time and memory in proportion to the number of values, however many features there are
    (`Capacity` alone, which keeps whole vectors, needs them all).

    **Arguments:**

    - `values`: floating point, `[*batch, component?, k]`.
    - `indices`: integer, `[*batch, component?, k]`: the feature of each value. One outside
        $[0, \text{num\_learned\_features})$ is padding: it adds nothing, whatever its value. The
        others are to be different within a vector: each counts by itself.
    - `num_learned_features`: how many features there are.

    `jax.lax.top_k(activations, k)` returns such values and indices.

    **Raises:** `TypeError` for wrong dtypes, `ValueError` for shapes that differ.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> learned_activations = jsm.TopKActivations(
        ...     values=jnp.array([[2.0, 1.0], [3.0, 0.0]]),
        ...     indices=jnp.array([[0, 2], [2, -1]]),
        ...     num_learned_features=3,
        ... )
        >>> metric = jsm.NeuronFiredCount(num_learned_features=3)
        >>> state = metric.update(metric.init(), learned_activations=learned_activations)
        >>> print(metric.compute(state))
        [1 0 2]

    ??? note "Differences from other tools"

        Adding at index -1, JAX and NumPy would count padding for the last feature.
    """

    values: Float[Array, "..."]
    indices: Integer[Array, "..."]
    num_learned_features: int = eqx.field(static=True)

    def __check_init__(self) -> None:
        check_size("num_learned_features", self.num_learned_features)
        for name, array, kind in (
            ("values", self.values, jnp.floating),
            ("indices", self.indices, jnp.integer),
        ):
            given = getattr(array, "dtype", type(array).__name__)
            if not (hasattr(array, "dtype") and jnp.issubdtype(given, kind)):
                raise TypeError(f"{name}: expected an array of {kind.__name__} dtype, got {given}.")
        if self.values.shape != self.indices.shape:
            raise ValueError(
                "values and indices must have the same shape [*batch, component?, k], got "
                f"{self.values.shape} and {self.indices.shape}."
            )

    def without_padding(self) -> Float[Array, "*batch_and_component k"]:
        """The values, 0 in place of padding."""
        return jnp.where(self.is_valid(), self.values, jnp.zeros((), self.values.dtype))

    def is_valid(self) -> Bool[Array, "*batch_and_component k"]:
        """Where an index is that of a feature, and not padding."""
        # Indices of one or two bytes may not reach as far as the number of features.
        is_narrow = self.indices.dtype.itemsize < 4
        indices = self.indices.astype(jnp.int32) if is_narrow else self.indices
        return (indices >= 0) & (indices < self.num_learned_features)


@dataclasses.dataclass(frozen=True)
class SparseActivations:
    """`Activations` of which only the entries that are not zero are given.

    Functions are to be 0 (or False) at 0, those of a maximum minus infinity.
    """

    top_k: TopKActivations
    items: Items
    inputs: Mapping[str, Any]

    @property
    def num_features(self) -> int:
        """The number of features."""
        return self.top_k.num_learned_features

    def sum_per_feature(self, function: Function, *constants: Given) -> Scattered:
        """`[component?, feature]`: the sum over all items that are not masked out."""
        _check_at_zero(function, len(constants), 0.0)
        values = self._apply(function, constants, self.items.mask)
        return self._scattered(_as_observed(values))

    def sum_per_vector(self, function: Function, *constants: Given) -> Array:
        """`[*batch, component?]`: the sum over features, of masked vectors too."""
        _check_at_zero(function, len(constants), 0.0)
        return plain_sum(self._apply(function, constants, None), (-1,), self.num_features)

    def max_per_feature(self, function: Function) -> Scattered:
        """`[component?, feature]`: the largest value; minus infinity if everything is masked."""
        _check_at_zero(function, 0, -math.inf)
        values = self._apply(function, (), self.items.mask, -math.inf)
        return self._scattered(values.astype(jnp.float32), is_maximum=True)

    def last_per_feature(self, function: Function) -> Scattered:
        """`[component?, feature]`: the last unmasked item of which the function is True."""
        _check_at_zero(function, 0, 0.0)
        happened = self._apply(function, (), self.items.mask)
        items = self.items
        positions = item_positions(items.shape, items.component_shape, items.mask)
        positions = jnp.where(happened, positions[..., None], jnp.zeros((), jnp.int32))
        return self._scattered(positions, is_maximum=True)

    def prompts_per_feature(self, function: Function) -> Scattered:
        """`[component?, feature]`: of items `[prompt, token]`, the prompts with a True in them."""
        _check_at_zero(function, 0, 0.0)
        happened = self._apply(function, (), self.items.mask)
        indices = self.top_k.indices.astype(jnp.int32)
        indices = unsharded(jnp.where(happened, indices, jnp.int32(self.num_features)))
        # Side by side, `[prompt, component?, entry]`, so that each feature counts once.
        in_prompt = jnp.moveaxis(indices, 1, -2)
        size = math.prod(in_prompt.shape[-2:])
        in_prompt = jnp.sort(in_prompt.reshape(*in_prompt.shape[:-2], size), axis=-1)
        is_new = jnp.diff(in_prompt, axis=-1, prepend=jnp.int32(-1)) != 0
        indices, values = (
            jnp.moveaxis(x, 0, -2).reshape(*self.items.component_shape, -1)
            for x in (in_prompt, is_new.astype(jnp.int32))
        )
        return Scattered(indices=indices, values=values, size=self.num_features)

    def rows(self) -> VectorRows:
        """The vectors themselves, zeros included, in order."""
        values = unsharded(self.top_k.without_padding()).astype(jnp.float32)
        indices = unsharded(self.top_k.indices).astype(jnp.int32)
        k = values.shape[-1]
        vectors = Scattered(indices.reshape(-1, k), values.reshape(-1, k), self.num_features)
        shape = (*self.top_k.values.shape[:-1], self.num_features)
        return vector_rows(vectors.dense().reshape(shape), self.items)

    def _apply(
        self,
        function: Function,
        constants: tuple[Given, ...],
        mask: Bool[Array, "*batch_and_component"] | None,
        masked: float = 0.0,
    ) -> Array:
        own = tuple(self._at_indices(constant) for constant in constants)
        term = Term(function, len(own))
        (values,) = apply((term,), (own,), (self.top_k.values,))
        counted = self.top_k.is_valid()
        if mask is not None:
            counted = counted & mask[..., None]
        return jnp.where(counted, values, jnp.asarray(masked, values.dtype))

    def _at_indices(self, constant: Given) -> Array:
        """Of an input `[component?, feature]`, the entries of the features that are given."""
        given = unsharded(constant.value(self.inputs))
        entries = take(given, self._by_component(self.top_k.indices.astype(jnp.int32)))
        num_item_axes = len(self.items.shape)
        k = self.top_k.values.shape[-1]
        entries = entries.reshape(*self.items.component_shape, *self.items.shape, k)
        return jnp.moveaxis(entries, range(-1 - num_item_axes, -1), range(num_item_axes))

    def _scattered(self, values: Array, is_maximum: bool = False) -> Scattered:
        indices = self.top_k.indices.astype(jnp.int32)
        indices = jnp.where(self.top_k.is_valid(), indices, jnp.int32(self.num_features))
        return Scattered(
            indices=self._by_component(indices),
            values=self._by_component(values),
            size=self.num_features,
            is_maximum=is_maximum,
        )

    def _by_component(self, entries: Array) -> Array:
        """`[*batch, component?, k]` as `[component?, entry]`, on every device."""
        entries = unsharded(entries)
        num_item_axes = len(self.items.shape)
        entries = jnp.moveaxis(entries, range(num_item_axes), range(-1 - num_item_axes, -1))
        return entries.reshape(*self.items.component_shape, -1)


def _check_at_zero(function: Function, num_constants: int, wanted: float) -> None:
    check_function(function, 1 + num_constants)
    with jax.ensure_compile_time_eval():
        one = jnp.ones((), jnp.float32)
        at_zero = float(function(jnp.zeros((), jnp.float32), *(one,) * num_constants))
    if at_zero != wanted:
        raise ValueError(
            f"{function!r}: TopKActivations leave out the activations that are zero, so a function "
            f"of them is expected to be {wanted} at 0, got {at_zero}."
        )


def _as_observed(values: Array) -> Array:
    return values.astype(jnp.int32 if values.dtype == bool else jnp.float32)
