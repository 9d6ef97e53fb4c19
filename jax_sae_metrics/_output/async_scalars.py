"""Scalars for a logger, without a wait of the host for the device."""

import collections
from typing import Any

from .._configuration import check_flag, check_text
from .._core import AbstractMetric
from .._core.metric import check_metric
from .packed import Packed, pack


class AsyncScalars:
    """What `scalars` returns, without making a training loop wait for the device.

    `put` starts to compute and to copy the numbers of a state, and goes on. It returns those that
    were put before and are finished by now. The state may be donated to the next step right after.

    **Arguments:**

    - `metric`: a metric, or a collection.
    - `prefix`: what all names begin with.
    - `errors`: whether `name/standard_error` is added for every result that has a standard error.

    **Raises:** `ValueError` for a wrong prefix, `TypeError` for what is not a metric.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.L0Norm()
        >>> log, state = jsm.AsyncScalars(metric, prefix="l0"), metric.init()
        >>> finished = []
        >>> for step in range(2):
        ...     state = metric.update(state, learned_activations=jnp.array([[1.0, step]]))
        ...     finished += log.put(step, state)
        >>> finished + log.flush()
        [(0, {'l0': 1.0}), (1, {'l0': 1.5})]
    """

    def __init__(self, metric: AbstractMetric[Any], prefix: str = "", errors: bool = False) -> None:
        check_metric("metric", metric)
        check_text("prefix", prefix)
        check_flag("errors", errors)
        self._metric, self._prefix, self._errors = metric, prefix, errors
        self._started: collections.deque[tuple[Any, Packed]] = collections.deque()

    def put(self, step: Any, state: Any) -> list[tuple[Any, dict[str, float]]]:
        """Start on a state, and return what was put before and is finished, in order.

        **Arguments:**

        - `step`: what the numbers are returned with, such as the number of the step.
        - `state`: a state of the metric.

        **Raises:** `ValueError` for what is not a state of the metric.
        """
        packed = pack(self._metric, state, self._errors)
        packed.words.copy_to_host_async()
        finished = []
        while self._started and self._started[0][1].is_ready():
            finished.append(self._next())
        self._started.append((step, packed))
        return finished

    def flush(self) -> list[tuple[Any, dict[str, float]]]:
        """Wait for the rest, and return it, in order."""
        return [self._next() for _ in range(len(self._started))]

    def _next(self) -> tuple[Any, dict[str, float]]:
        step, packed = self._started.popleft()
        return step, packed.to_host(self._metric, self._prefix, "/")
