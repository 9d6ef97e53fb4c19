"""The state of means over the items for which a number is defined."""

import equinox as eqx
from jaxtyping import Array, Bool, Int32, Shaped

from .._accumulator import Count
from .._configuration import component_shape
from .._items import Items
from .mean import Mean


class DefinedMean(eqx.Module):
    """A mean over items, and the number of those that were skipped: they have no such number.

    Elsewhere, one vector of zeros makes the mean of a whole run NaN.
    """

    defined: Mean
    num_skipped: Count | Int32[Array, "*component"]

    @classmethod
    def empty(cls, num_components: int | None) -> "DefinedMean":
        """Nothing seen yet."""
        num_skipped = Count.zeros(component_shape(num_components))
        return cls(defined=Mean.empty(num_components), num_skipped=num_skipped)

    @classmethod
    def observe(
        cls,
        items: Items,
        values: Shaped[Array, "*item_and_component"],
        is_undefined: Bool[Array, "*item_and_component"],
    ) -> "DefinedMean":
        """What the items of one batch add, with one number each."""
        return cls(
            defined=Mean.observe(items.only(~is_undefined), values),
            num_skipped=items.only(is_undefined).count(),
        )
