from .activation_statistics import ActivationStatistics as ActivationStatistics
from .capacity import Capacity as Capacity, capacities as capacities
from .consistent_activation_heuristic import (
    ConsistentActivationHeuristic as ConsistentActivationHeuristic,
)
from .dead_feature_fraction import DeadFeatureFraction as DeadFeatureFraction
from .dead_features import DeadFeatures as DeadFeatures
from .feature_density import FeatureDensity as FeatureDensity
from .feature_density_statistics import FeatureDensityStatistics as FeatureDensityStatistics
from .hoyer_sparsity import HoyerSparsity as HoyerSparsity
from .l0_histogram import L0Histogram as L0Histogram
from .l0_norm import L0Norm as L0Norm
from .l1_absolute_loss import L1AbsoluteLoss as L1AbsoluteLoss, l1_absolute_loss as l1_absolute_loss
from .latent_classification import LatentClassification as LatentClassification
from .neuron_activity import NeuronActivity as NeuronActivity
from .neuron_fired_count import NeuronFiredCount as NeuronFiredCount
from .normalized_l1 import NormalizedL1 as NormalizedL1
from .top_activating_examples import TopActivatingExamples as TopActivatingExamples
