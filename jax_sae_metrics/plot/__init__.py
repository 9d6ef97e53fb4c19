"""Figures for papers.

Four show features: density_histogram, dead_features_over_time, activation_histogram and
decoder_similarity_histogram. l0_histogram shows how sparse codes are. pareto and loss_bars show
what reconstructions cost. `STYLE` is the look of all. They need matplotlib, which the extra `plot`
brings.
"""

from . import _needs_matplotlib as _needs_matplotlib
from .activation_histogram import activation_histogram as activation_histogram
from .dead_features_over_time import dead_features_over_time as dead_features_over_time
from .decoder_similarity_histogram import (
    decoder_similarity_histogram as decoder_similarity_histogram,
)
from .density_histogram import density_histogram as density_histogram
from .histogram_of_l0 import l0_histogram as l0_histogram
from .loss_bars import loss_bars as loss_bars
from .pareto import pareto as pareto
from .style import STYLE as STYLE
