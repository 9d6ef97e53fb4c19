"""The collections of this library that are measured."""

from typing import Any

import equinox as eqx
from jaxtyping import Array, Float

import jax_sae_metrics as jsm

L1_COEFFICIENT = 1e-3


def training_collection(
    num_learned_features: int, num_components: int | None = None
) -> jsm.MetricCollection:
    """Metrics that people watch while they train a sparse autoencoder."""
    features = (num_learned_features, num_components)
    return jsm.MetricCollection(
        {
            "density": jsm.FeatureDensity(*features),
            "fired_count": jsm.NeuronFiredCount(*features),
            "dead": jsm.NeuronActivity(*features),
            "l0": jsm.L0Norm(num_components),
            "l1": jsm.L1AbsoluteLoss(num_components),
            "l2": jsm.L2ReconstructionLoss(num_components),
            "loss": jsm.SparseAutoencoderLoss(L1_COEFFICIENT, num_components),
        }
    )


def four_statistics(
    num_learned_features: int, num_components: int | None = None
) -> jsm.MetricCollection:
    """Density, L0, L1 and mean: two per feature, two in all."""
    return jsm.MetricCollection(
        {
            "density": jsm.FeatureDensity(num_learned_features, num_components),
            "l0": jsm.L0Norm(num_components),
            "l1": jsm.L1AbsoluteLoss(num_components),
            "mean": FeatureMean(num_learned_features, num_components),
        }
    )


def identity(activations: Float[Array, "..."]) -> Float[Array, "..."]:
    """The activations themselves."""
    return activations


class FeatureMeanState(eqx.Module):
    """A total for each feature, and the number of vectors."""

    total: jsm.Total
    num_activation_vectors: jsm.Count


class FeatureMean(jsm.AbstractMetric[FeatureMeanState]):
    """Mean activation of each learned feature: a metric such as users write."""

    num_learned_features: int = eqx.field(static=True)
    num_components: int | None = eqx.field(static=True, default=None)

    def _init(self) -> FeatureMeanState:
        components = () if self.num_components is None else (self.num_components,)
        return FeatureMeanState(
            total=jsm.Total.zeros((*components, self.num_learned_features)),
            num_activation_vectors=jsm.Count.zeros(components),
        )

    def _observe(self, batch: jsm.Batch) -> dict[str, Any]:
        learned = batch.learned_activations
        return {
            "total": learned.sum_per_feature(identity),
            "num_activation_vectors": learned.items.count(),
        }

    def _compute(self, state: FeatureMeanState) -> Float[Array, "*component learned_feature"]:
        return state.total.to_float() / state.num_activation_vectors.to_float()[..., None]
