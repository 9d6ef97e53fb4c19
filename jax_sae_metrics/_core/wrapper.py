"""The base of metrics that keep the state of another metric, or of its values, inside their own."""

from typing import Any

import equinox as eqx

from .._inputs import Batch, SizedAxis
from .metric import AbstractMetric, check_metric, labels_of


class Wrapped(eqx.Module):
    """What a wrapper keeps of its metric, or what a batch adds to that."""

    inner: Any


class AbstractWrapper(AbstractMetric[Wrapped]):
    """A metric of another metric. It takes its inputs, and its value has the same axes."""

    metric: eqx.AbstractVar[AbstractMetric[Any]]

    def __check_init__(self) -> None:
        check_metric("metric", self.metric)

    @property
    def _sizes(self) -> dict[SizedAxis, int | None]:
        return self.metric._sizes

    def _observe(self, batch: Batch) -> Any:
        return self.metric._ask(batch.inputs)

    def _finish(self, found: Any) -> Wrapped:
        return Wrapped(self.metric._to_observation(found))

    def _labels(self) -> Any:
        return labels_of(self.metric)
