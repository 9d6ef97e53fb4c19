from .activation_statistics import ActivationStatistics as ActivationStatistics
from .capacity import Capacity as Capacity, capacities as capacities
from .consistent_activation_heuristic import (
    ConsistentActivationHeuristic as ConsistentActivationHeuristic,
)
from .cosine_similarity import CosineSimilarity as CosineSimilarity
from .dead_features import DeadFeatures as DeadFeatures
from .explained_variance import ExplainedVariance as ExplainedVariance
from .feature_density import FeatureDensity as FeatureDensity
from .feature_density_statistics import FeatureDensityStatistics as FeatureDensityStatistics
from .fraction_variance_unexplained import (
    FractionVarianceUnexplained as FractionVarianceUnexplained,
)
from .kl_divergence_score import KLDivergenceScore as KLDivergenceScore
from .l0_histogram import L0Histogram as L0Histogram
from .l0_norm import L0Norm as L0Norm
from .l1_absolute_loss import L1AbsoluteLoss as L1AbsoluteLoss, l1_absolute_loss as l1_absolute_loss
from .l2_norm import L2Norm as L2Norm
from .l2_norm_ratio import L2NormRatio as L2NormRatio
from .l2_reconstruction_loss import (
    L2ReconstructionLoss as L2ReconstructionLoss,
    l2_reconstruction_loss as l2_reconstruction_loss,
)
from .latent_classification import LatentClassification as LatentClassification
from .legacy_explained_variance import LegacyExplainedVariance as LegacyExplainedVariance
from .loss_increase import LossIncrease as LossIncrease
from .model_loss import ModelLoss as ModelLoss
from .neuron_activity import NeuronActivity as NeuronActivity
from .neuron_fired_count import NeuronFiredCount as NeuronFiredCount
from .normalized_mse import NormalizedMSE as NormalizedMSE
from .outlier_severity import OutlierSeverity as OutlierSeverity
from .perplexity_with_reconstruction import (
    PerplexityWithReconstruction as PerplexityWithReconstruction,
)
from .reconstruction_score import ReconstructionScore as ReconstructionScore
from .relative_reconstruction_bias import RelativeReconstructionBias as RelativeReconstructionBias
from .sparse_autoencoder_loss import (
    SparseAutoencoderLoss as SparseAutoencoderLoss,
    sparse_autoencoder_loss as sparse_autoencoder_loss,
)
from .top_one_agreement import TopOneAgreement as TopOneAgreement
