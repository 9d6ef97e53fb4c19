"""The state of metrics that are a ratio of two sums over items."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float32, Int32, Shaped

from .._accumulator import Count, Total, ratio
from .._configuration import component_shape
from .._items import Items
from .standard_error import standard_error


class RatioOfSums(eqx.Module):
    """Totals of two numbers for each item, of their squares and products, and how many items."""

    numerator: Total | Float32[Array, "*component"]
    denominator: Total | Float32[Array, "*component"]
    numerator_squared: Total | Float32[Array, "*component"]
    product: Total | Float32[Array, "*component"]
    denominator_squared: Total | Float32[Array, "*component"]
    num_items: Count | Int32[Array, "*component"]

    @classmethod
    def empty(cls, num_components: int | None) -> "RatioOfSums":
        """Nothing seen yet."""
        components = component_shape(num_components)
        return cls(
            numerator=Total.zeros(components),
            denominator=Total.zeros(components),
            numerator_squared=Total.zeros(components),
            product=Total.zeros(components),
            denominator_squared=Total.zeros(components),
            num_items=Count.zeros(components),
        )

    @classmethod
    def observe(
        cls,
        items: Items,
        numerators: Shaped[Array, "*#item_and_component"],
        denominators: Shaped[Array, "*#item_and_component"],
    ) -> "RatioOfSums":
        """What the items of one batch add, with two numbers each."""
        return cls(
            numerator=items.sum(numerators),
            denominator=items.sum(denominators),
            numerator_squared=items.sum(jnp.square(numerators)),
            product=items.sum(numerators * denominators),
            denominator_squared=items.sum(jnp.square(denominators)),
            num_items=items.count(),
        )

    def value(self) -> Float32[Array, "*component"]:
        """The ratio of the sums; NaN of nothing."""
        return ratio(self.numerator.to_float(), self.denominator.to_float())

    def standard_error(self) -> Float32[Array, "*component"]:
        """The standard error of the ratio."""
        return standard_error(
            self.numerator.to_float(),
            self.denominator.to_float(),
            (
                self.numerator_squared.to_float(),
                self.product.to_float(),
                self.denominator_squared.to_float(),
            ),
            self.num_items.to_float(),
        )
