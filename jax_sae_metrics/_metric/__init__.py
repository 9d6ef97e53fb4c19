from .capacity import Capacity as Capacity, capacities as capacities
from .feature_density import FeatureDensity as FeatureDensity
from .l0_norm import L0Norm as L0Norm
from .l1_absolute_loss import L1AbsoluteLoss as L1AbsoluteLoss, l1_absolute_loss as l1_absolute_loss
from .l2_reconstruction_loss import (
    L2ReconstructionLoss as L2ReconstructionLoss,
    l2_reconstruction_loss as l2_reconstruction_loss,
)
from .neuron_activity import NeuronActivity as NeuronActivity
from .neuron_fired_count import NeuronFiredCount as NeuronFiredCount
from .reconstruction_score import ReconstructionScore as ReconstructionScore
from .sparse_autoencoder_loss import (
    SparseAutoencoderLoss as SparseAutoencoderLoss,
    sparse_autoencoder_loss as sparse_autoencoder_loss,
)
