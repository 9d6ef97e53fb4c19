from .collection import MetricCollection as MetricCollection
from .difference import difference as difference
from .metric import AbstractMetric as AbstractMetric
from .per_component import PerComponent as PerComponent
from .state import Observation as Observation, State as State
from .track import TrackState as TrackState, track as track
