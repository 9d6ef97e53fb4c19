"""The state of metrics of how much variance the reconstruction explains."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float32

from .._accumulator import Moments, MomentsRecord, ratio
from .._batch import Batch
from .._configuration import component_shape
from .._functions import error, source, squared_error, squared_source
from .input_features import check_num_input_features
from .ratio_of_sums import RatioOfSums


class ReconstructionMoments(eqx.Module):
    """Moments of the source activations and of the error; and sums over vectors for error bars.

    Both ratios have the squared error of a vector above. Below is its squared distance from the
    mean of its batch, or from zero.
    """

    source: Moments | MomentsRecord
    error: Moments | MomentsRecord
    about_mean: RatioOfSums
    about_zero: RatioOfSums

    @classmethod
    def empty(cls, num_input_features: int, num_components: int | None) -> "ReconstructionMoments":
        """Nothing seen yet."""
        shape = (*component_shape(num_components), num_input_features)
        return cls(
            source=Moments.zeros(shape),
            error=Moments.zeros(shape),
            about_mean=RatioOfSums.empty(num_components),
            about_zero=RatioOfSums.empty(num_components),
        )

    @classmethod
    def observe(cls, metric: object, batch: Batch) -> "ReconstructionMoments":
        """What one batch adds."""
        both = batch.activations(metric, "source_activations", "decoded_activations")
        check_num_input_features(metric, both)
        errors = both.sum_per_vector(squared_error)
        return cls(
            source=both.moments_per_feature(source),
            error=both.moments_per_feature(error),
            about_mean=RatioOfSums.observe(both.items, errors, both.squared_distances(source)),
            about_zero=RatioOfSums.observe(both.items, errors, both.sum_per_vector(squared_source)),
        )

    def squared_errors(self) -> Float32[Array, "*component input_feature"]:
        """Sum of squared errors over vectors."""
        return squared_distances(self.error, self.error.mean.to_float())

    def squared_deviations(self) -> Float32[Array, "*component input_feature"]:
        """Sum of squared deviations of the source activations from their mean over vectors."""
        return self.source.sum_of_squares.to_float()

    def fraction_unexplained(self) -> Float32[Array, "*component"]:
        """Squared errors over squared deviations, both summed over vectors and input features."""
        errors, deviations = self.squared_errors(), self.squared_deviations()
        return ratio(jnp.sum(errors, -1), jnp.sum(deviations, -1))

    def standard_error(self) -> Float32[Array, "*component"]:
        """Of the fraction unexplained.

        Vectors are closer to the mean of their own batch than to that of all. What that makes of
        the sum of their distances is known, and is scaled away.
        """
        deviations = jnp.sum(self.squared_deviations(), -1)
        scale = deviations / self.about_mean.denominator.to_float()
        return self.about_mean.standard_error() / scale


def squared_distances(
    moments: Moments | MomentsRecord,
    mean_from_there: Float32[Array, "*component input_feature"],
) -> Float32[Array, "*component input_feature"]:
    """Sum of squared distances from a place, given how far the mean is from it."""
    # A sum of squares plus a square: nothing cancels.
    count = moments.count.to_float()[..., None]
    return moments.sum_of_squares.to_float() + count * jnp.square(mean_from_there)
