"""Pure functional metrics for sparse autoencoders in JAX."""

from ._abstract_metric import AbstractMetric as AbstractMetric
from ._accumulator import (
    AbstractAccumulator as AbstractAccumulator,
    Count as Count,
    LastSeen as LastSeen,
    LastSeenRecord as LastSeenRecord,
    Maximum as Maximum,
    Moments as Moments,
    MomentsRecord as MomentsRecord,
    Total as Total,
    VectorBuffer as VectorBuffer,
    VectorRows as VectorRows,
)
from ._activations import Activations as Activations
from ._batch import Batch as Batch
from ._collection import MetricCollection as MetricCollection
from ._dictionary import (
    best_matching_features as best_matching_features,
    effective_rank as effective_rank,
    encoder_decoder_cosine_similarity as encoder_decoder_cosine_similarity,
    feature_uniqueness as feature_uniqueness,
    max_cosine_similarity as max_cosine_similarity,
    mean_correlation_coefficient as mean_correlation_coefficient,
    mean_max_cosine_similarity as mean_max_cosine_similarity,
)
from ._items import Items as Items
from ._metric import (
    ActivationStatistics as ActivationStatistics,
    Capacity as Capacity,
    ConsistentActivationHeuristic as ConsistentActivationHeuristic,
    CosineSimilarity as CosineSimilarity,
    DeadFeatures as DeadFeatures,
    ExplainedVariance as ExplainedVariance,
    FeatureDensity as FeatureDensity,
    FeatureDensityStatistics as FeatureDensityStatistics,
    FractionVarianceUnexplained as FractionVarianceUnexplained,
    KLDivergenceScore as KLDivergenceScore,
    L0Histogram as L0Histogram,
    L0Norm as L0Norm,
    L1AbsoluteLoss as L1AbsoluteLoss,
    L2Norm as L2Norm,
    L2NormRatio as L2NormRatio,
    L2ReconstructionLoss as L2ReconstructionLoss,
    LatentClassification as LatentClassification,
    LegacyExplainedVariance as LegacyExplainedVariance,
    LossIncrease as LossIncrease,
    ModelLoss as ModelLoss,
    NeuronActivity as NeuronActivity,
    NeuronFiredCount as NeuronFiredCount,
    NormalizedMSE as NormalizedMSE,
    OutlierSeverity as OutlierSeverity,
    PerplexityWithReconstruction as PerplexityWithReconstruction,
    ReconstructionScore as ReconstructionScore,
    RelativeReconstructionBias as RelativeReconstructionBias,
    SparseAutoencoderLoss as SparseAutoencoderLoss,
    TopOneAgreement as TopOneAgreement,
    capacities as capacities,
    l1_absolute_loss as l1_absolute_loss,
    l2_reconstruction_loss as l2_reconstruction_loss,
    sparse_autoencoder_loss as sparse_autoencoder_loss,
)
from ._next_token_mask import next_token_mask as next_token_mask
from ._optax import TrackState as TrackState, track as track
from ._per_component import PerComponent as PerComponent
from ._ready_made import (
    evaluation_metrics as evaluation_metrics,
    training_metrics as training_metrics,
)
from ._top_k import TopKActivations as TopKActivations

__version__ = "0.1.0"
