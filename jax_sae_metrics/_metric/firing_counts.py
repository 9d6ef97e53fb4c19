"""What metrics have in common that are made of how often each learned feature fired."""

import abc
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float32, Int32

from .._abstract_metric import AbstractMetric
from .._accumulator import Count, Scattered
from .._batch import Batch
from .._configuration import check_between, check_num_components, check_size, component_shape
from .._functions import Above


class FiringCounts(eqx.Module):
    """How many times each learned feature fired, and in how many activation vectors it could."""

    num_fired: Count | Scattered | Int32[Array, "*component learned_feature"]
    num_activation_vectors: Count | Int32[Array, "*component"]

    def floats(
        self,
    ) -> tuple[Float32[Array, "*component learned_feature"], Float32[Array, "*component 1"]]:
        """Both counts as float32 that broadcast against each other."""
        return self.num_fired.to_float(), self.num_activation_vectors.to_float()[..., None]


class AbstractFiringMetric(AbstractMetric[FiringCounts]):
    """A metric with this state: all that is left is what it makes of the counts."""

    num_learned_features: int = eqx.field(static=True)
    num_components: int | None = eqx.field(static=True, default=None)
    _state_type: eqx.AbstractClassVar[Any]

    @property
    @abc.abstractmethod
    def threshold(self) -> float:
        """A feature fires where its activation is greater than this."""

    def __check_init__(self) -> None:
        check_size("num_learned_features", self.num_learned_features)
        check_num_components(self.num_components)
        check_between("threshold", self.threshold, 0.0)

    def _init(self) -> FiringCounts:
        components = component_shape(self.num_components)
        return self._state_type(
            num_fired=Count.zeros((*components, self.num_learned_features)),
            num_activation_vectors=Count.zeros(components),
        )

    def _observe(self, batch: Batch) -> FiringCounts:
        learned = batch.learned_activations(self)
        return self._state_type(
            num_fired=learned.sum_per_feature(Above(self.threshold)),
            num_activation_vectors=learned.items.count(),
        )
