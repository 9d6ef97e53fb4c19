from .extrema import MaxOf as MaxOf, MinOf as MinOf
from .mean_of import MeanOf as MeanOf
from .nonfinite import Nonfinite as Nonfinite
