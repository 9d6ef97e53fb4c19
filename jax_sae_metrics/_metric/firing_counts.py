"""The state of metrics that are made of how often each learned feature fired."""

import equinox as eqx
from jaxtyping import Array, Float32, Int32

from .._accumulator import Count, Scattered
from .._activations import Activations
from .._configuration import component_shape
from .._functions import Above
from .._top_k import SparseActivations


class FiringCounts(eqx.Module):
    """How many times each learned feature fired, and in how many activation vectors it could."""

    num_fired: Count | Scattered | Int32[Array, "*component learned_feature"]
    num_activation_vectors: Count | Int32[Array, "*component"]

    @classmethod
    def empty(cls, num_learned_features: int, num_components: int | None) -> "FiringCounts":
        """Nothing seen yet."""
        components = component_shape(num_components)
        return cls(
            num_fired=Count.zeros((*components, num_learned_features)),
            num_activation_vectors=Count.zeros(components),
        )

    @classmethod
    def observe(
        cls, learned_activations: Activations | SparseActivations, threshold: float
    ) -> "FiringCounts":
        """What the activations of one batch add, firing where they are above `threshold`."""
        return cls(
            num_fired=learned_activations.sum_per_feature(Above(threshold)),
            num_activation_vectors=learned_activations.items.count(),
        )

    def floats(
        self,
    ) -> tuple[Float32[Array, "*component learned_feature"], Float32[Array, "*component 1"]]:
        """Both counts as float32 that broadcast against each other."""
        return self.num_fired.to_float(), self.num_activation_vectors.to_float()[..., None]
