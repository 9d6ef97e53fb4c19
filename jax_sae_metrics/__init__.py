"""Pure functional metrics for sparse autoencoders in JAX."""

from ._abstract_metric import AbstractMetric as AbstractMetric
from ._accumulator import (
    AbstractAccumulator as AbstractAccumulator,
    Count as Count,
    Total as Total,
    VectorBuffer as VectorBuffer,
    VectorRows as VectorRows,
)
from ._activations import Activations as Activations
from ._batch import Batch as Batch
from ._collection import MetricCollection as MetricCollection
from ._items import Items as Items
from ._metric import (
    Capacity as Capacity,
    FeatureDensity as FeatureDensity,
    L0Norm as L0Norm,
    L1AbsoluteLoss as L1AbsoluteLoss,
    L2ReconstructionLoss as L2ReconstructionLoss,
    NeuronActivity as NeuronActivity,
    NeuronFiredCount as NeuronFiredCount,
    ReconstructionScore as ReconstructionScore,
    SparseAutoencoderLoss as SparseAutoencoderLoss,
    capacities as capacities,
    l1_absolute_loss as l1_absolute_loss,
    l2_reconstruction_loss as l2_reconstruction_loss,
    sparse_autoencoder_loss as sparse_autoencoder_loss,
)
from ._optax import TrackState as TrackState, track as track
from ._per_component import PerComponent as PerComponent
from ._top_k import TopKActivations as TopKActivations

__version__ = "0.1.0"
