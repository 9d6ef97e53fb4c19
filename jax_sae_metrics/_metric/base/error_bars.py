"""The base of metrics with error bars: means and ratios of sums over independent units."""

from typing import Literal, TypeVar

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Shaped

from ..._accumulator import NumbersOfUnits
from ..._configuration import check_choice
from ..._core import AbstractMetric
from ..._inputs import Items

Accumulators = TypeVar("Accumulators")

_CLUSTERS = ("items", "prompts")


class AbstractErrorBars(AbstractMetric[Accumulators]):
    """A metric with error bars, and what its independent units are.

    `clusters="items"` takes the items (vectors or losses) for independent. `clusters="prompts"`
    takes whole texts, the entries of the first batch axis, for independent, and not the tokens in
    them. Values are the same.
    """

    clusters: Literal["items", "prompts"] = eqx.field(static=True, default="items", kw_only=True)

    def __check_init__(self) -> None:
        check_choice("clusters", self.clusters, _CLUSTERS)

    def _mean(self, items: Items, numbers: Shaped[Array, "..."]) -> NumbersOfUnits:
        """What the items of one batch add to the mean of one number each."""
        return self._ratio(items, numbers, jnp.ones_like(numbers))

    def _ratio(
        self, items: Items, numerators: Shaped[Array, "..."], denominators: Shaped[Array, "..."]
    ) -> NumbersOfUnits:
        """What the items of one batch add to a ratio of sums, with two numbers each."""
        units = items
        numerators, denominators = (
            items.selected(each.astype(jnp.float32)) for each in (numerators, denominators)
        )
        if self.clusters == "prompts":
            units = items.prompts()
            in_prompt = tuple(range(1, len(items.shape)))
            numerators, denominators = (
                lax.reduce_sum(each, in_prompt) for each in (numerators, denominators)
            )
        return NumbersOfUnits(numerators, denominators, units.count())
