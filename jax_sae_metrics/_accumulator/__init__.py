from .accumulator import AbstractAccumulator as AbstractAccumulator, AxisName as AxisName
from .count import Count as Count
from .last_seen import LastSeen as LastSeen, LastSeenRecord as LastSeenRecord
from .maximum import Maximum as Maximum
from .moments import Moments as Moments, MomentsRecord as MomentsRecord
from .ratio import ratio as ratio
from .scattered import Scattered as Scattered, take as take
from .total import Total as Total
from .vector_buffer import VectorBuffer as VectorBuffer, VectorRows as VectorRows
