"""The numbers of the training collection with the metrics of metrax, jitted and merged."""

from collections.abc import Mapping

import flax
import jax.numpy as jnp
import metrax
import metrax.base
from jaxtyping import Array

from ..measure import Contender
from .merging import merging

NOTE = (
    "metrax: its Average holds a single number, so that the firing counts are a subclass of it "
    "that sums over the batch alone (density, fired count and dead follow from one of them); "
    "L0 and L1 are Averages, L2 is its MSE."
)

Metrics = dict[str, metrax.base.Average]


def contender(batch: Mapping[str, Array], against: str) -> Contender:
    """A dictionary of metrics: metrax has no collection outside of NNX."""
    return merging("metrax", _observe, _merge, batch, against)


@flax.struct.dataclass
class AverageOfEach(metrax.base.Average):
    """The average of each feature."""

    @classmethod
    def from_model_output(cls, values: Array) -> "AverageOfEach":
        """The average of one batch."""
        return cls(total=values.sum(0), count=jnp.int32(values.shape[0]))


def _observe(
    learned_activations: Array, source_activations: Array, decoded_activations: Array
) -> Metrics:
    l0 = (learned_activations != 0).sum(-1).astype(jnp.float32)
    l1 = jnp.abs(learned_activations).sum(-1, dtype=jnp.float32)
    average = metrax.base.Average.from_model_output
    return {
        "fired": AverageOfEach.from_model_output(learned_activations > 0),
        "l0": average(l0),
        "l1": average(l1),
        "l2": metrax.MSE.from_model_output(decoded_activations, source_activations),
    }


def _merge(state: Metrics, observation: Metrics) -> Metrics:
    return {name: state[name].merge(observation[name]) for name in state}
