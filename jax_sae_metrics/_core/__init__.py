from .collection import MetricCollection as MetricCollection
from .collection_state import (
    CollectionState as CollectionState,
    accumulators_of as accumulators_of,
)
from .difference import difference as difference
from .metric import AbstractMetric as AbstractMetric
from .moving_average import MovingAverage as MovingAverage
from .per_component import PerComponent as PerComponent
from .renamed import Renamed as Renamed
from .state import Observation as Observation, State as State
from .track import TrackState as TrackState, track as track
from .window import Window as Window
