"""Squared correlation of source and decoded activations, input feature by input feature."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float32

from ..._accumulator import Moments, Stacked
from ..._arrays import ratio
from ..._inputs import Batch
from ..base import AbstractErrorBars, decoded, error, source


class CorrelationMoments(eqx.Module):
    """Moments from which a covariance follows: that of x and y is half of Vx + Vy - V(x - y)."""

    moments: Stacked  # of source, decoded and error, in this order


class SquaredCorrelation(AbstractErrorBars[CorrelationMoments]):
    """The mean over input features of the squared correlation over vectors."""

    num_input_features: int = eqx.field(static=True)
    num_components: int | None = eqx.field(static=True, default=None)

    def _init(self) -> CorrelationMoments:
        return CorrelationMoments(Stacked.of([Moments.zeros(self._shape("input_feature"))] * 3))

    def _observe(self, batch: Batch) -> dict[str, Any]:
        both = batch.activations("source_activations", "decoded_activations")
        functions = source, decoded, error
        return {"moments": [both.moments_per_feature(function) for function in functions]}

    def _compute(self, state: CorrelationMoments) -> Float32[Array, "*component"]:
        of_source, of_decoded, of_error = (
            state.moments[index].sum_of_squares for index in range(3)
        )
        # The difference first, which cancels where one of both varies little.
        together = jnp.maximum(of_source.high, of_decoded.high) - of_error.high
        together = together + (of_source.low + of_decoded.low - of_error.low)
        covariance = (together + jnp.minimum(of_source.high, of_decoded.high)) / 2
        # One after the other: the product of both would overflow.
        of_source, of_decoded = (
            ratio(covariance, squares.to_float()) for squares in (of_source, of_decoded)
        )
        return jnp.mean(of_source * of_decoded, -1)
