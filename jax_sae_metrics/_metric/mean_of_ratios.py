"""The state of metrics that are the mean of a ratio within each vector."""

import jax.numpy as jnp
from jaxtyping import Array, Float32

from .._items import Items
from .defined_mean import DefinedMean


class MeanOfRatios(DefinedMean):
    """The mean over items of a ratio. Those whose denominator is zero are skipped and counted."""

    @classmethod
    def observe_ratios(
        cls,
        items: Items,
        numerators: Float32[Array, "*item_and_component"],
        denominators: Float32[Array, "*item_and_component"],
    ) -> DefinedMean:
        """What the items of one batch add."""
        # Nothing is skipped that is NaN above or below the line: it must show.
        is_undefined = (denominators == 0) & ~jnp.isnan(numerators)
        return cls.observe(items, numerators / denominators, is_undefined)
