"""Explained variance by all definitions that are read from the same moments."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float32

from ..._accumulator import Moments
from ..._arrays import ratio
from .reconstruction_moments import (
    AbstractVarianceMetric,
    ReconstructionMoments,
    sum_of_squares_about,
)


class VarianceOfMoments(AbstractVarianceMetric):
    """The portion of the variance that is explained, by one of several definitions."""

    definition: str = eqx.field(static=True, default="pooled")

    def _compute(self, state: ReconstructionMoments) -> Float32[Array, "*component"]:
        if self.definition == "pooled":
            return 1 - state.fraction_unexplained()
        errors, deviations = state.squared_errors(), state.squared_deviations()
        if self.definition == "per_dimension_mean":
            return 1 - jnp.mean(ratio(errors, deviations), -1)
        if self.definition == "residual_variance":
            errors = state.error.sum_of_squares.to_float()
        else:
            deviations = _about_mean_of_all_entries(state.source)
        if self.definition == "total_variance":
            errors = _about_mean_of_all_entries(state.error)
        return 1 - ratio(jnp.sum(errors, -1), jnp.sum(deviations, -1))

    def _covariance(
        self, state: ReconstructionMoments
    ) -> Float32[Array, "*component_and_component"] | None:
        return super()._covariance(state) if self.definition == "pooled" else None


def _about_mean_of_all_entries(moments: Moments) -> Float32[Array, "*component input_feature"]:
    """Sum of squared distances from one mean for all input features."""
    mean = moments.mean
    # Twice, since the first mean of large numbers is not exact.
    offsets = mean.high - jnp.mean(mean.high, -1, keepdims=True) + mean.low
    offsets = offsets - jnp.mean(offsets, -1, keepdims=True)
    return sum_of_squares_about(moments, offsets)
