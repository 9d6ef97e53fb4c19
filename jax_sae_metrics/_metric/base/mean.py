"""Bases of metrics that are the mean over items of one number each, or several such means."""

import abc
from typing import Any

from jaxtyping import Array, Float32, Shaped

from ..._accumulator import NumbersOfUnits, RatioOfSums
from ..._inputs import Items
from .error_bars import AbstractErrorBars
from .ratio import AbstractRatio


def items_and_numbers(found: Any) -> tuple[Items, tuple[Any, ...]]:
    """The items, and what `_observe` returned after them; raise if it was something else."""
    if not (isinstance(found, tuple) and len(found) > 1 and isinstance(found[0], Items)):
        raise TypeError(
            "`_observe` of a mean returns the items, and then a number of each item or a question "
            "about it: for example `return learned.items, learned.sum_per_vector(function)`. It "
            f"returned {type(found).__name__}."
        )
    return found[0], found[1:]


class AbstractMean(AbstractRatio):
    """A metric that is the mean over items of one number each.

    `_observe` returns the items, then numbers of each item or questions about them. `_of_each`
    turns these into the number that is averaged. Value, error bars and state are defined here.

    !!! Example

        >>> import equinox as eqx
        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> class MeanNorm(jsm.AbstractMean):
        ...     num_components: int | None = eqx.field(static=True, default=None)
        ...
        ...     def _observe(self, batch):
        ...         source = batch.activations("source_activations")
        ...         return source.items, source.sum_per_vector(jnp.square)
        ...
        ...     def _of_each(self, squared_norm):
        ...         return jnp.sqrt(squared_norm)
        >>> metric = MeanNorm()
        >>> source_activations = jnp.array([[3.0, 4.0], [0.0, 7.0]])
        >>> state = metric.update(metric.init(), source_activations=source_activations)
        >>> print(metric.compute(state), metric.standard_error(state))
        6.0 1.0
    """

    def _of_each(self, *numbers: Any) -> Shaped[Array, "*#item_and_component"]:
        """Return the number of each item.

        The arguments are what `_observe` returned after the items.
        """
        (number,) = numbers
        return number

    def _finish(self, found: Any) -> NumbersOfUnits:
        items, numbers = items_and_numbers(found)
        return self._mean(items, self._of_each(*numbers))


class AbstractMeans(AbstractErrorBars[dict[str, RatioOfSums]]):
    """A metric that is several means over the same items, by name.

    `_observe` returns the items, and a dictionary from names to a number of each item or a question
    about it.
    """

    @property
    @abc.abstractmethod
    def _names(self) -> tuple[str, ...]:
        """The names of the means, in order."""

    def _of_each(self, number: Any) -> Shaped[Array, "*#item_and_component"]:
        """Return what is averaged; the argument is the number of each item."""
        return number

    def _init(self) -> dict[str, RatioOfSums]:
        return {name: RatioOfSums.zeros(self._shape()) for name in self._names}

    def _finish(self, found: Any) -> dict[str, NumbersOfUnits]:
        items, (numbers,) = items_and_numbers(found)
        return {name: self._mean(items, self._of_each(n)) for name, n in numbers.items()}

    def _compute(self, state: dict[str, RatioOfSums]) -> dict[str, Float32[Array, "*component"]]:
        return {name: state[name].value() for name in self._names}

    def _covariance(
        self, state: dict[str, RatioOfSums]
    ) -> dict[str, Float32[Array, "*component_and_component"]]:
        return {name: state[name].covariance() for name in self._names}
