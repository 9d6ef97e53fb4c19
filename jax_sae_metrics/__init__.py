"""Pure functional metrics for sparse autoencoders in JAX.

A metric has pure functions: `init`, `update(state, **inputs)` and `compute(state)`, and others
derived from them; see `help(jax_sae_metrics.AbstractMetric)`. `help` of a name gives its formula,
shapes, errors and source.

Reconstruction of the source activations:
    ExplainedVariance, FractionVarianceUnexplained, LegacyExplainedVariance, L2ReconstructionLoss,
    NormalizedMSE, CosineSimilarity, L2Norm, L2NormRatio, RelativeReconstructionBias,
    OutlierSeverity, SparseAutoencoderLoss

Sparsity, density and death of learned features:
    L0Norm, L0Histogram, L1AbsoluteLoss, NormalizedL1, HoyerSparsity, FeatureDensity,
    FeatureDensityStatistics, NeuronFiredCount, NeuronActivity, DeadFeatures, DeadFeatureFraction,
    ActivationStatistics, TopActivatingExamples, ConsistentActivationHeuristic, Capacity,
    LatentClassification

Fidelity of the model:
    ReconstructionScore, LossIncrease, ModelLoss, PerplexityWithReconstruction, KLDivergenceScore,
    TopOneAgreement

Any other input, by its name:
    MeanOf, MaxOf, MinOf, Nonfinite

Several metrics as one, and metrics of a metric:
    training_metrics, evaluation_metrics, MetricCollection, PerComponent, MovingAverage, Window,
    Renamed, difference

Numbers for loggers:
    scalars, histograms, AsyncScalars

In the state of an optax optimizer:
    track, TrackState

Losses to train with:
    l1_absolute_loss, l2_reconstruction_loss, sparse_autoencoder_loss

Functions of decoder weights, and of a matrix of features:
    max_cosine_similarity, encoder_decoder_cosine_similarity, mean_max_cosine_similarity,
    mean_correlation_coefficient, feature_uniqueness, feature_reappearance, best_matching_features,
    effective_rank, capacities

Inputs:
    TopKActivations, SparseActivations, next_token_mask

For a metric of your own:
    AbstractMetric, AbstractMean, Batch, AbstractActivations, Items, Question, State,
    CollectionState, Observation

Accumulators, of which states are made, and records, which batches add to them:
    AbstractAccumulator, Count, Total, Moments, RatioOfSums, Maximum, LastSeen, TopExamples,
    VectorBuffer, AbstractRecord, MomentsRecord, RatioOfSumsRecord, MaximumRecord, LastSeenRecord,
    TopExamplesRecord, VectorRecord
"""

from ._accumulator import (
    AbstractAccumulator as AbstractAccumulator,
    AbstractRecord as AbstractRecord,
    Count as Count,
    LastSeen as LastSeen,
    LastSeenRecord as LastSeenRecord,
    Maximum as Maximum,
    MaximumRecord as MaximumRecord,
    Moments as Moments,
    MomentsRecord as MomentsRecord,
    RatioOfSums as RatioOfSums,
    RatioOfSumsRecord as RatioOfSumsRecord,
    TopExamples as TopExamples,
    TopExamplesRecord as TopExamplesRecord,
    Total as Total,
    VectorBuffer as VectorBuffer,
    VectorRecord as VectorRecord,
)
from ._core import (
    AbstractMetric as AbstractMetric,
    CollectionState as CollectionState,
    MetricCollection as MetricCollection,
    MovingAverage as MovingAverage,
    Observation as Observation,
    PerComponent as PerComponent,
    Renamed as Renamed,
    State as State,
    TrackState as TrackState,
    Window as Window,
    difference as difference,
    track as track,
)
from ._core.exporting import register_modules as _register_modules
from ._dictionary import (
    best_matching_features as best_matching_features,
    effective_rank as effective_rank,
    encoder_decoder_cosine_similarity as encoder_decoder_cosine_similarity,
    feature_reappearance as feature_reappearance,
    feature_uniqueness as feature_uniqueness,
    max_cosine_similarity as max_cosine_similarity,
    mean_correlation_coefficient as mean_correlation_coefficient,
    mean_max_cosine_similarity as mean_max_cosine_similarity,
)
from ._inputs import (
    AbstractActivations as AbstractActivations,
    Batch as Batch,
    Items as Items,
    Question as Question,
    SparseActivations as SparseActivations,
    TopKActivations as TopKActivations,
    next_token_mask as next_token_mask,
)
from ._metric.base import (
    AbstractMean as AbstractMean,
)
from ._metric.fidelity import (
    KLDivergenceScore as KLDivergenceScore,
    LossIncrease as LossIncrease,
    ModelLoss as ModelLoss,
    PerplexityWithReconstruction as PerplexityWithReconstruction,
    ReconstructionScore as ReconstructionScore,
    TopOneAgreement as TopOneAgreement,
)
from ._metric.named_inputs import (
    MaxOf as MaxOf,
    MeanOf as MeanOf,
    MinOf as MinOf,
    Nonfinite as Nonfinite,
)
from ._metric.reconstruction import (
    CosineSimilarity as CosineSimilarity,
    ExplainedVariance as ExplainedVariance,
    FractionVarianceUnexplained as FractionVarianceUnexplained,
    L2Norm as L2Norm,
    L2NormRatio as L2NormRatio,
    L2ReconstructionLoss as L2ReconstructionLoss,
    LegacyExplainedVariance as LegacyExplainedVariance,
    NormalizedMSE as NormalizedMSE,
    OutlierSeverity as OutlierSeverity,
    RelativeReconstructionBias as RelativeReconstructionBias,
    SparseAutoencoderLoss as SparseAutoencoderLoss,
    l2_reconstruction_loss as l2_reconstruction_loss,
    sparse_autoencoder_loss as sparse_autoencoder_loss,
)
from ._metric.sparsity import (
    ActivationStatistics as ActivationStatistics,
    Capacity as Capacity,
    ConsistentActivationHeuristic as ConsistentActivationHeuristic,
    DeadFeatureFraction as DeadFeatureFraction,
    DeadFeatures as DeadFeatures,
    FeatureDensity as FeatureDensity,
    FeatureDensityStatistics as FeatureDensityStatistics,
    HoyerSparsity as HoyerSparsity,
    L0Histogram as L0Histogram,
    L0Norm as L0Norm,
    L1AbsoluteLoss as L1AbsoluteLoss,
    LatentClassification as LatentClassification,
    NeuronActivity as NeuronActivity,
    NeuronFiredCount as NeuronFiredCount,
    NormalizedL1 as NormalizedL1,
    TopActivatingExamples as TopActivatingExamples,
    capacities as capacities,
    l1_absolute_loss as l1_absolute_loss,
)
from ._output import (
    AsyncScalars as AsyncScalars,
    histograms as histograms,
    scalars as scalars,
)
from ._ready_made import (
    evaluation_metrics as evaluation_metrics,
    training_metrics as training_metrics,
)

# `jax.export.deserialize` knows the states without a metric that makes one first.
_register_modules(__name__)

__version__ = "0.2.0"
