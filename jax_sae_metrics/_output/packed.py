"""All numbers of a state in one array, which takes one transfer to the host."""

import collections
import functools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, UInt32

from .._arrays import on_host, unsharded
from .._core import AbstractMetric, accumulators_of
from .results import axes_of_results, by_result, is_long, names_of_entries, once_each


class Packed(NamedTuple):
    """Numbers that are not yet on the host.

    `shapes` are theirs, by the name of the result and what follows the names of its entries.
    """

    words: UInt32[Array, " word"]
    shapes: Mapping[tuple[str, str], jax.ShapeDtypeStruct]

    def is_ready(self) -> bool:
        """Whether the device has computed them."""
        return self.words.is_ready()  # type: ignore[attr-defined] # it is not in JAX's annotations

    def to_host(self, metric: AbstractMetric[Any], prefix: str, separator: str) -> dict[str, float]:
        """The numbers by name, on the host."""
        return once_each(self._named(metric, prefix, separator))

    def _named(
        self, metric: AbstractMetric[Any], prefix: str, separator: str
    ) -> Iterator[tuple[str, float]]:
        axes, rest = axes_of_results(metric), on_host(self.words)
        for (result, suffix), numbers in self.shapes.items():
            num_words = numbers.size * numbers.dtype.itemsize // rest.itemsize
            words, rest = rest[:num_words], rest[num_words:]
            names = names_of_entries(metric, result, axes[result], prefix, separator)
            for name, number in zip(names, words.view(numbers.dtype), strict=True):
                yield separator.join(filter(None, (name, suffix))), float(number)


def pack(metric: AbstractMetric[Any], state: Any, errors: bool) -> Packed:
    """Start to compute all results without long axes, and their standard errors if wanted."""
    state = metric._check(state)
    return Packed(_words(metric, errors, state), _numbers.eval_shape(metric, errors, state))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _words(metric: AbstractMetric[Any], errors: bool, state: Any) -> UInt32[Array, " word"]:
    numbers = _numbers(metric, errors, state).values()
    words = [lax.bitcast_convert_type(each, jnp.uint32).reshape(-1) for each in numbers]
    return jnp.concatenate([jnp.zeros(0, jnp.uint32), *words])


# Traced once, for the words and their shapes. `jit` would sort the names of a plain dictionary.
@functools.partial(jax.jit, static_argnums=(0, 1), inline=True)
def _numbers(
    metric: AbstractMetric[Any], errors: bool, state: Any
) -> collections.OrderedDict[tuple[str, str], Array]:
    accumulators = accumulators_of(state)
    of_errors = metric._standard_error(accumulators) if errors else None
    spreads = {} if of_errors is None else by_result(of_errors)
    axes, numbers = axes_of_results(metric), collections.OrderedDict()
    for result, value in by_result(metric._compute(accumulators)).items():
        if not is_long(axes[result]):
            numbers[result, ""] = _in_words(value)
            if result in spreads:
                numbers[result, "standard_error"] = _in_words(spreads[result])
    return numbers


def _in_words(numbers: Array) -> Array:
    """The numbers in a dtype of one or two whole words, on every device of an explicit mesh."""
    if numbers.dtype.itemsize < 4:  # the wider dtype holds each of them exactly
        is_floating = jnp.issubdtype(numbers.dtype, jnp.floating)
        numbers = numbers.astype(jnp.float32 if is_floating else jnp.int32)
    return unsharded(numbers)
