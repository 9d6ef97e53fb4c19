"""The state of metrics that are a ratio of two sums over items."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float32, Shaped

from ..._accumulator import Count, Total
from ..._arrays import ratio
from ..._inputs import Items
from .standard_error import standard_error


class RatioOfSums(eqx.Module):
    """Totals of two numbers for each item, of their squares and products; and the item count."""

    numerator: Total
    denominator: Total
    numerator_squared: Total
    product: Total
    denominator_squared: Total
    num_items: Count

    @classmethod
    def empty(cls, components: tuple[int, ...]) -> "RatioOfSums":
        """No items seen yet."""
        return cls(
            numerator=Total.zeros(components),
            denominator=Total.zeros(components),
            numerator_squared=Total.zeros(components),
            product=Total.zeros(components),
            denominator_squared=Total.zeros(components),
            num_items=Count.zeros(components),
        )

    @staticmethod
    def added_by(
        items: Items,
        numerators: Shaped[Array, "*#item_and_component"],
        denominators: Shaped[Array, "*#item_and_component"],
    ) -> dict[str, Array]:
        """What the items of one batch add, with two numbers each."""
        return {
            "numerator": items.sum(numerators),
            "denominator": items.sum(denominators),
            "numerator_squared": items.sum(jnp.square(numerators)),
            "product": items.sum(numerators * denominators),
            "denominator_squared": items.sum(jnp.square(denominators)),
            "num_items": items.count(),
        }

    def value(self) -> Float32[Array, "*component"]:
        """The ratio of the sums; NaN where no items were seen."""
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
