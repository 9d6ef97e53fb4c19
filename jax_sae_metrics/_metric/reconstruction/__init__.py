from .cosine_similarity import CosineSimilarity as CosineSimilarity
from .explained_variance import ExplainedVariance as ExplainedVariance
from .fraction_variance_unexplained import (
    FractionVarianceUnexplained as FractionVarianceUnexplained,
)
from .l2_norm import L2Norm as L2Norm
from .l2_norm_ratio import L2NormRatio as L2NormRatio
from .l2_reconstruction_loss import (
    L2ReconstructionLoss as L2ReconstructionLoss,
    l2_reconstruction_loss as l2_reconstruction_loss,
)
from .legacy_explained_variance import LegacyExplainedVariance as LegacyExplainedVariance
from .normalized_mse import NormalizedMSE as NormalizedMSE
from .outlier_severity import OutlierSeverity as OutlierSeverity
from .relative_reconstruction_bias import RelativeReconstructionBias as RelativeReconstructionBias
from .sparse_autoencoder_loss import (
    SparseAutoencoderLoss as SparseAutoencoderLoss,
    sparse_autoencoder_loss as sparse_autoencoder_loss,
)
