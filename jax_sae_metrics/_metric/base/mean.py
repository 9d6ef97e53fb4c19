"""Bases of metrics that are the mean over items of one number each, or several such means."""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float32, Shaped

from ..._accumulator import Count, Total
from ..._arrays import ratio
from ..._core import AbstractMetric
from ..._inputs import Items
from .standard_error import standard_error_of_mean


def items_and_numbers(found: Any) -> tuple[Items, tuple[Any, ...]]:
    """The items, and what `_observe` returned after them; raise if it was something else."""
    if not (isinstance(found, tuple) and len(found) > 1 and isinstance(found[0], Items)):
        raise TypeError(
            "`_observe` of a mean returns the items, and then a number of each item or a question "
            "about it: for example `return learned.items, learned.sum_per_vector(function)`. It "
            f"returned {type(found).__name__}."
        )
    return found[0], found[1:]


class Mean(eqx.Module):
    """Totals of one number for each item, and of its square; and the number of items."""

    total: Total
    total_of_squares: Total
    num_items: Count

    @classmethod
    def empty(cls, components: tuple[int, ...]) -> "Mean":
        """No items seen yet."""
        return cls(Total.zeros(components), Total.zeros(components), Count.zeros(components))

    @staticmethod
    def added_by(items: Items, numbers: Shaped[Array, "..."]) -> dict[str, Array]:
        """What the items of one batch add, with one number each."""
        numbers = numbers.astype(jnp.float32)
        return {
            "total": items.sum(numbers),
            "total_of_squares": items.sum(jnp.square(numbers)),
            "num_items": items.count(),
        }

    def value(self) -> Float32[Array, "*component"]:
        """The mean of all numbers; NaN if there were none."""
        return ratio(self.total.to_float(), self.num_items.to_float())

    def standard_error(self) -> Float32[Array, "*component"]:
        """The standard error of the mean."""
        return standard_error_of_mean(
            self.total.to_float(), self.total_of_squares.to_float(), self.num_items.to_float()
        )


class AbstractMean(AbstractMetric[Mean]):
    """A metric that is the mean over items of one number each.

    `_observe` returns the items, then numbers of each item or questions about them. `_of_each`
    turns these into the number that is averaged. Value, standard error and state are defined here.

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

    def _init(self) -> Mean:
        return Mean.empty(self._shape())

    def _finish(self, found: Any) -> dict[str, Array]:
        items, numbers = items_and_numbers(found)
        return Mean.added_by(items, self._of_each(*numbers))

    def _compute(self, state: Mean) -> Float32[Array, "*component"]:
        return state.value()

    def _standard_error(self, state: Mean) -> Float32[Array, "*component"]:
        return state.standard_error()


class AbstractMeans(AbstractMetric[dict[str, Mean]]):
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

    def _init(self) -> dict[str, Mean]:
        return {name: Mean.empty(self._shape()) for name in self._names}

    def _finish(self, found: Any) -> dict[str, Any]:
        items, (numbers,) = items_and_numbers(found)
        return {name: Mean.added_by(items, self._of_each(n)) for name, n in numbers.items()}

    def _compute(self, state: dict[str, Mean]) -> dict[str, Float32[Array, "*component"]]:
        return {name: state[name].value() for name in self._names}

    def _standard_error(self, state: dict[str, Mean]) -> dict[str, Float32[Array, "*component"]]:
        return {name: state[name].standard_error() for name in self._names}
