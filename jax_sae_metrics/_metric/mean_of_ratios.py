"""What metrics have in common that are the mean over vectors of a ratio."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float32, Int, Int32

from .._accumulator import Count
from .._configuration import component_shape
from .._items import Items
from .abstract_mean import AbstractMean
from .mean import Mean


class MeanOfRatios(eqx.Module):
    """The mean over items of a ratio, and the number of those that have none.

    Elsewhere, one vector of zeros makes the mean of a whole run NaN.
    """

    of_defined: Mean
    num_skipped: Count | Int32[Array, "*component"]

    @classmethod
    def empty(cls, num_components: int | None) -> "MeanOfRatios":
        """Nothing seen yet."""
        num_skipped = Count.zeros(component_shape(num_components))
        return cls(of_defined=Mean.empty(num_components), num_skipped=num_skipped)

    @classmethod
    def observe(
        cls,
        items: Items,
        numerators: Float32[Array, "*item_and_component"],
        denominators: Float32[Array, "*item_and_component"],
    ) -> "MeanOfRatios":
        """What the items of one batch add. A ratio to zero is none."""
        # Nothing is skipped that is NaN above or below the line: it must show.
        is_undefined = (denominators == 0) & ~jnp.isnan(numerators)
        return cls(
            of_defined=Mean.observe(items.only(~is_undefined), numerators / denominators),
            num_skipped=items.only(is_undefined).count(),
        )

    def value(self) -> Float32[Array, "*component"]:
        """The mean of all ratios; NaN if there were none."""
        return self.of_defined.value()

    def standard_error(self) -> Float32[Array, "*component"]:
        """The standard error of the mean."""
        return self.of_defined.standard_error()


class AbstractMeanOfRatios(AbstractMean[MeanOfRatios]):
    """A metric with this state."""

    def num_skipped(self, state: MeanOfRatios) -> Int[Array, "*component"]:
        """Return how many vectors were skipped: what they would be divided by is zero."""
        self._check(state)
        return state.num_skipped.to_int()
