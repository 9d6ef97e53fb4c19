from .kl_divergence_score import KLDivergenceScore as KLDivergenceScore
from .loss_increase import LossIncrease as LossIncrease
from .model_loss import ModelLoss as ModelLoss
from .perplexity_with_reconstruction import (
    PerplexityWithReconstruction as PerplexityWithReconstruction,
)
from .reconstruction_score import ReconstructionScore as ReconstructionScore
from .top_one_agreement import TopOneAgreement as TopOneAgreement
