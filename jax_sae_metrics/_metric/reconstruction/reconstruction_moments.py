"""The base of metrics of how much variance the reconstruction explains."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Float32

from ..._accumulator import Moments, RatioOfSums, Stacked
from ..._arrays import ratio
from ..._inputs import AbstractActivations, Batch, Question
from ..base import AbstractErrorBars, error, source, squared_error

# The portion of the variance that may lie between the means of batches, or between a given mean and
# the true one. With more, errors over items would be more than 5% off, and errors over texts, which
# differ in little else, more than 10%.
_LARGEST_BETWEEN = {"items": 0.08, "prompts": 0.02}


class ReconstructionMoments(eqx.Module):
    """Moments of the source activations and of the error, and sums over vectors for error bars.

    The numerator of the ratio is the squared error of a vector. The denominator is its squared
    distance from the mean of its batch, or the one that was given.
    """

    moments: Stacked  # of the source activations, and of the error
    about_mean: RatioOfSums

    @property
    def source(self) -> Moments:
        """Moments of the source activations."""
        return self.moments[0]

    @property
    def error(self) -> Moments:
        """Moments of the error."""
        return self.moments[1]

    def squared_errors(self) -> Float32[Array, "*component input_feature"]:
        """Sum of squared errors over vectors."""
        return sum_of_squares_about(self.error, self.error.mean.to_float())

    def squared_deviations(self) -> Float32[Array, "*component input_feature"]:
        """Sum of squared deviations of the source activations from their mean over vectors."""
        return self.source.sum_of_squares.to_float()

    def fraction_unexplained(self) -> Float32[Array, "*component"]:
        """Squared errors over squared deviations, both summed over vectors and input features."""
        errors, deviations = self.squared_errors(), self.squared_deviations()
        return ratio(jnp.sum(errors, -1), jnp.sum(deviations, -1))

    def covariance(self, largest_between: float) -> Float32[Array, "*component_and_component"]:
        """The covariance of the fractions unexplained.

        It is NaN where a larger portion of the variance lies between the means of batches.

        Distances from the mean of a batch are too small in sum. The known ratio of the sums
        corrects that to first order.
        """
        within = self.about_mean.denominator() / jnp.sum(self.squared_deviations(), -1)
        is_resolved = jnp.abs(1 - within) <= largest_between
        scale = jnp.where(is_resolved, within, jnp.float32(jnp.nan))
        return jnp.multiply.outer(scale, scale) * self.about_mean.covariance()


def sum_of_squares_about(
    moments: Moments, mean_from_there: Float32[Array, "*component input_feature"]
) -> Float32[Array, "*component input_feature"]:
    """Sum of squared distances from a place, given how far the mean is from it."""
    # A sum of squares plus a square: nothing cancels.
    count = moments.count.to_float()[..., None]
    return moments.sum_of_squares.to_float() + count * jnp.square(mean_from_there)


class AbstractVarianceMetric(AbstractErrorBars[ReconstructionMoments]):
    """A metric whose state is `ReconstructionMoments`; it defines only what they mean."""

    num_input_features: int = eqx.field(static=True)
    num_components: int | None = eqx.field(static=True, default=None)

    def _init(self) -> ReconstructionMoments:
        shape, components = self._shape("input_feature"), self._shape()
        return ReconstructionMoments(
            moments=Stacked.of([Moments.zeros(shape)] * 2),
            about_mean=RatioOfSums.zeros(components),
        )

    def _observe(self, batch: Batch) -> Any:
        both = batch.activations("source_activations", "decoded_activations")
        of_features = [both.moments_per_feature(function) for function in (source, error)]
        of_vectors = both.sum_per_vector(squared_error), self._squared_distances(batch, both)
        return of_features, both.items, of_vectors

    def _squared_distances(self, batch: Batch, both: AbstractActivations) -> Question:
        if not batch.has("source_mean"):
            return both.squared_distance_per_vector(source)
        mean = batch.per_feature("source_mean", both)
        return both.sum_per_vector(_squared_distance_from, mean)

    def _finish(self, found: Any) -> dict[str, Any]:
        moments, items, (errors, from_mean) = found
        return {"moments": moments, "about_mean": self._ratio(items, errors, from_mean)}

    def _covariance(
        self, state: ReconstructionMoments
    ) -> Float32[Array, "*component_and_component"] | None:
        return state.covariance(_LARGEST_BETWEEN[self.clusters])


def _squared_distance_from(
    source: Float[Array, ""], decoded: Float[Array, ""], mean: Float[Array, ""]
) -> Float[Array, ""]:
    del decoded
    return lax.square(lax.sub(source, mean))
