"""The state of metrics that are a mean over items."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float32, Int32, Shaped

from .._accumulator import Count, Total, ratio
from .._configuration import component_shape
from .._items import Items
from .standard_error import standard_error_of_mean


class Mean(eqx.Module):
    """A total of one number for each item, a total of their squares, and how many there were."""

    total: Total | Float32[Array, "*component"]
    total_of_squares: Total | Float32[Array, "*component"]
    num_items: Count | Int32[Array, "*component"]

    @classmethod
    def empty(cls, num_components: int | None) -> "Mean":
        """Nothing seen yet."""
        components = component_shape(num_components)
        return cls(
            total=Total.zeros(components),
            total_of_squares=Total.zeros(components),
            num_items=Count.zeros(components),
        )

    @classmethod
    def observe(cls, items: Items, values: Shaped[Array, "*#item_and_component"]) -> "Mean":
        """What the items of one batch add, with one number each."""
        values = values.astype(jnp.float32)
        return cls(
            total=items.sum(values),
            total_of_squares=items.sum(jnp.square(values)),
            num_items=items.count(),
        )

    def value(self) -> Float32[Array, "*component"]:
        """The mean of all numbers; NaN if there were none."""
        return ratio(self.total.to_float(), self.num_items.to_float())

    def standard_error(self) -> Float32[Array, "*component"]:
        """The standard error of the mean."""
        return standard_error_of_mean(
            self.total.to_float(), self.total_of_squares.to_float(), self.num_items.to_float()
        )
