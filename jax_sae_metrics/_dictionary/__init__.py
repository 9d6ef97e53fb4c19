from .best_matching_features import best_matching_features as best_matching_features
from .effective_rank import effective_rank as effective_rank
from .encoder_decoder_cosine_similarity import (
    encoder_decoder_cosine_similarity as encoder_decoder_cosine_similarity,
)
from .feature_reappearance import feature_reappearance as feature_reappearance
from .feature_uniqueness import feature_uniqueness as feature_uniqueness
from .max_cosine_similarity import max_cosine_similarity as max_cosine_similarity
from .mean_correlation_coefficient import (
    mean_correlation_coefficient as mean_correlation_coefficient,
)
from .mean_max_cosine_similarity import mean_max_cosine_similarity as mean_max_cosine_similarity
