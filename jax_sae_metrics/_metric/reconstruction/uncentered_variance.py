"""Explained variance about zero, which two sums are enough for."""

from typing import Any

import equinox as eqx
from jaxtyping import Array, Float32

from ..._accumulator import RatioOfSums
from ..._inputs import Batch
from ..base import AbstractRatio, squared_error, squared_source


class UncenteredVariance(AbstractRatio):
    """1 minus the squared errors over the squares of the source activations."""

    num_input_features: int = eqx.field(static=True)
    num_components: int | None = eqx.field(static=True, default=None)

    def _observe(self, batch: Batch) -> Any:
        both = batch.activations("source_activations", "decoded_activations")
        squares = both.sum_per_vector(squared_error), both.sum_per_vector(squared_source)
        return both.items, *squares

    def _compute(self, state: RatioOfSums) -> Float32[Array, "*component"]:
        return 1 - state.value()
