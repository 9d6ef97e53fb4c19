from .accumulator import AbstractAccumulator as AbstractAccumulator, AxisName as AxisName
from .count import Count as Count
from .ratio import ratio as ratio
from .scattered import Scattered as Scattered
from .total import Total as Total
from .vector_buffer import VectorBuffer as VectorBuffer, VectorRows as VectorRows
