"""The base of metrics that are found from how often each learned feature fired."""

from typing import Any

import equinox as eqx
from jaxtyping import Array, Float32

from ..._accumulator import Count
from ..._inputs import Batch
from .firing import AbstractFiring


class FiringCounts(eqx.Module):
    """How many times each learned feature fired, and in how many activation vectors it could."""

    num_fired: Count
    num_activation_vectors: Count

    def floats(
        self,
    ) -> tuple[Float32[Array, "*component learned_feature"], Float32[Array, "*component 1"]]:
        """Both counts as float32 that broadcast against each other."""
        return self.num_fired.to_float(), self.num_activation_vectors.to_float()[..., None]


class AbstractFiringMetric(AbstractFiring[FiringCounts]):
    """A metric whose state is `FiringCounts`; it defines only what the counts mean."""

    num_learned_features: int = eqx.field(static=True)
    num_components: int | None = eqx.field(static=True, default=None)

    def _init(self) -> FiringCounts:
        return FiringCounts(
            num_fired=Count.zeros(self._shape("learned_feature")),
            num_activation_vectors=Count.zeros(self._shape()),
        )

    def _observe(self, batch: Batch) -> dict[str, Any]:
        learned = batch.learned_activations
        return {
            "num_fired": learned.sum_per_feature(self._fires),
            "num_activation_vectors": learned.items.count(),
        }
