"""A metric that reads its inputs under other names."""

from typing import Any

import equinox as eqx
from jax.sharding import PartitionSpec

from .._configuration import check_name
from .._inputs import Batch
from .collection_state import accumulators_of, opened, unpooled
from .metric import AbstractMetric
from .state import State
from .wrapper import AbstractWrapper, Wrapped


class Renamed(AbstractWrapper):
    """A metric that reads some of its inputs under other names.

    For example, a transcoder reads one place of a model and writes another: its
    `decoded_activations` are compared with `target_activations`, and not with `source_activations`.
    In one collection, a metric and its renamed twin can read different inputs. What both read is
    still read once.

    **Inputs** of `observe`, `update` and `forward`: those of the metric, by their new names.

    **Result:** that of the metric, as are `standard_error` and `covariance`.

    **Arguments:**

    - `metric`: a metric, or a collection.
    - a keyword for each renamed input: the metric's name for it, and the new name. The name of a
        mask may be changed too.

    **Raises:** `TypeError` if `metric` is none, or without a name, `ValueError` for a name that is
    not a string or is empty.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.Renamed(
        ...     jsm.L2ReconstructionLoss(), source_activations="target_activations"
        ... )
        >>> state = metric.update(
        ...     metric.init(),
        ...     target_activations=jnp.array([[1.0, 0.0]]),
        ...     decoded_activations=jnp.array([[1.0, 2.0]]),
        ... )
        >>> print(metric.compute(state))
        2.0
    """

    metric: AbstractMetric[Any] = eqx.field(static=True)
    names: tuple[tuple[str, str], ...] = eqx.field(static=True)

    def __init__(self, metric: AbstractMetric[Any], **names: str) -> None:
        self.metric = metric
        self.names = tuple(sorted(names.items()))

    def __check_init__(self) -> None:
        if not self.names:
            raise TypeError(
                'Renamed: expected a new name, such as source_activations="target_activations".'
            )
        for name, other in self.names:
            check_name(name, other)

    def _init(self) -> Wrapped:
        return Wrapped(opened(self.metric.init()))

    def _observe(self, batch: Batch) -> Any:
        return self.metric._ask(batch.inputs.renamed(dict(self.names)))

    def _read_by_forward(self, updated: Any, of_batch: Any) -> Any:
        inner = (unpooled(state.inner) for state in (updated, of_batch))
        return self._with(self.metric._read_by_forward(*inner))

    def _reset(self, state: Any) -> Any:
        return self._with(self.metric._reset(unpooled(state.inner)))

    def _specs(self, state: Any, spec: PartitionSpec) -> Any:
        return self._with(self.metric._specs_with_pools(state.inner, spec))

    def _with(self, inner: Any) -> State[Wrapped]:
        return State(self._counted_by, Wrapped(opened(inner)))

    def _compute(self, state: Wrapped) -> Any:
        return self.metric._compute(accumulators_of(state.inner))

    def _covariance(self, state: Wrapped) -> Any:
        return self.metric._covariance(accumulators_of(state.inner))

    def _standard_error(self, state: Wrapped) -> Any:
        return self.metric._standard_error(accumulators_of(state.inner))
