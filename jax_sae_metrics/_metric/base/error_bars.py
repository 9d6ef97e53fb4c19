"""The base of metrics with error bars: means and ratios of sums over independent units."""

from typing import Literal, TypeVar

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float32, Shaped

from ..._accumulator import RatioOfSumsRecord
from ..._arrays import sharded_whole
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

    def _mean(self, items: Items, numbers: Shaped[Array, "..."]) -> RatioOfSumsRecord:
        """What the items of one batch add to the mean of one number each."""
        return self._ratio(items, numbers, jnp.ones(items.full_shape, jnp.float32))

    def _ratio(
        self,
        items: Items,
        numerators: Shaped[Array, "..."],
        denominators: Shaped[Array, "..."],
    ) -> RatioOfSumsRecord:
        """What the items of one batch add to a ratio of sums, with two numbers each."""
        numerators, denominators = (
            items.selected(each.astype(jnp.float32)) for each in (numerators, denominators)
        )
        units = items
        if self.clusters == "prompts":
            units = items.prompts()
            in_prompt = tuple(range(1, len(items.shape)))
            numerators, denominators = (
                lax.reduce_sum(each, in_prompt) for each in (numerators, denominators)
            )
        return _record(units, numerators, denominators)


def _record(
    units: Items,
    numerators: Float32[Array, "*unit_and_component"],
    denominators: Float32[Array, "*unit_and_component"],
) -> RatioOfSumsRecord:
    axes = tuple(range(len(units.shape)))

    def sum_of(each: Float32[Array, "*unit_and_component"]) -> Float32[Array, "*component"]:
        return lax.reduce_sum(each, axes)

    def products(
        one: Float32[Array, "*unit_and_component"], other: Float32[Array, "*unit_and_component"]
    ) -> Float32[Array, "*component_and_component"]:
        return lax.dot_general(
            one,
            other,
            ((axes, axes), ((), ())),
            precision=lax.Precision.HIGHEST,
            **sharded_whole(one),
        )

    # The slope by least squares: residuals are least there. Few digits of it matter.
    weight = sum_of(lax.square(denominators))
    is_any = weight > 0
    slope = sum_of(numerators * denominators) / jnp.where(is_any, weight, 1)
    reference = jnp.where(is_any, slope, jnp.zeros_like(slope))
    residuals = numerators - jnp.broadcast_to(reference, numerators.shape) * denominators
    return RatioOfSumsRecord(
        num_units=units.count(),
        reference=reference,
        sums=jnp.stack([sum_of(numerators), sum_of(denominators), sum_of(residuals)]),
        products=jnp.stack(
            [
                products(residuals, residuals),
                products(residuals, denominators),
                products(denominators, denominators),
            ]
        ),
    )
