from .async_scalars import AsyncScalars as AsyncScalars
from .histograms import histograms as histograms
from .scalars import scalars as scalars
