from .error_bars import AbstractErrorBars as AbstractErrorBars
from .firing import AbstractFiring as AbstractFiring
from .firing_ages import (
    AbstractFiringAges as AbstractFiringAges,
    FiringAges as FiringAges,
)
from .firing_counts import (
    AbstractFiringMetric as AbstractFiringMetric,
    FiringCounts as FiringCounts,
)
from .functions_of_entries import (
    Above as Above,
    absolute as absolute,
    activity_test as activity_test,
    decoded as decoded,
    error as error,
    is_nonzero as is_nonzero,
    product as product,
    source as source,
    square as square,
    squared_decoded as squared_decoded,
    squared_error as squared_error,
    squared_source as squared_source,
    weighted_absolute as weighted_absolute,
)
from .mean import AbstractMean as AbstractMean, AbstractMeans as AbstractMeans
from .mean_of_ratios import AbstractMeanOfRatios as AbstractMeanOfRatios
from .ratio import AbstractRatio as AbstractRatio
from .standard_error import (
    standard_error_of_mean as standard_error_of_mean,
    standard_error_of_portion as standard_error_of_portion,
)
