from .accumulator import AbstractAccumulator as AbstractAccumulator
from .added import AbstractRecord as AbstractRecord, combined as combined
from .at_indices import (
    At as At,
    is_first as is_first,
    scatter_add as scatter_add,
    scatter_set as scatter_set,
    take as take,
)
from .count import Count as Count
from .last_seen import (
    MAX_AGE as MAX_AGE,
    LastSeen as LastSeen,
    LastSeenRecord as LastSeenRecord,
)
from .maximum import Maximum as Maximum, MaximumRecord as MaximumRecord
from .moments import Moments as Moments, MomentsRecord as MomentsRecord
from .numbers_of_units import NumbersOfUnits as NumbersOfUnits, summed as summed
from .ratio_of_sums import (
    RatioOfSums as RatioOfSums,
    RatioOfSumsRecord as RatioOfSumsRecord,
)
from .scattered import Scattered as Scattered, dense as dense
from .stacked import Stacked as Stacked
from .top_examples import (
    TopExamples as TopExamples,
    TopExamplesRecord as TopExamplesRecord,
    largest as largest,
)
from .total import Total as Total
from .vector_buffer import VectorBuffer as VectorBuffer, VectorRecord as VectorRecord
