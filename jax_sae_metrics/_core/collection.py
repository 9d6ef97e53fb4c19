"""Several metrics as one."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import equinox as eqx
import jax
from jax.sharding import PartitionSpec

from .._configuration import brief, check_flag, check_name
from .._inputs import Batch, SizedAxis
from .collection_state import accumulators_of
from .flatten import SameNameError, flatten
from .metric import AbstractMetric, check_metric


class MetricCollection(AbstractMetric[dict[str, Any]]):
    """A dictionary of metrics that is itself a metric.

    It takes the inputs of all its metrics and hands each metric the inputs that it reads. An input
    that no metric reads is an error at trace time, and so is an input that a metric lacks. The
    state is a `CollectionState`: `state["l0"]` is that of the metric called `l0`. All sums over the
    same tuple of inputs, such as `(source_activations, decoded_activations)`, are found in one read
    of these inputs.

    **Inputs** of `observe`, `update` and `forward`: the inputs of its metrics. `mask` serves all of
    them. If `loss_mask` is given too, it serves the metrics of losses instead: the last token of a
    sequence has activations, but no loss.

    **Result:** a flat dictionary of the metrics' values by name. Where a value is itself a
    dictionary (from `PerComponent` or a collection), its keys follow the name after a slash.

    `standard_error` and `covariance` return a dictionary with entries for the metrics that have
    them.

    **Arguments:**

    - `metrics`: metrics by name. Collections may hold collections.
    - `finite_only`: whether each metric leaves out items (vectors, losses, tokens) that have a NaN
        or an infinity in an input that it reads, as if they were masked out. It takes one more read
        of the inputs. `Nonfinite` counts what is left out.

    **Raises:** `ValueError` for an empty dictionary, an empty name, two results of the same name
    (one of a metric `a/b`, and one called `b` of a collection `a`), or a `finite_only` that is
    neither True nor False; `TypeError` for a value that is not a metric.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metrics = jsm.MetricCollection({"l0": jsm.L0Norm(), "l1": jsm.L1AbsoluteLoss()})
        >>> state = metrics.update(metrics.init(), learned_activations=jnp.array([[1.0, 0.0, 3.0]]))
        >>> {name: float(value) for name, value in metrics.compute(state).items()}
        {'l0': 2.0, 'l1': 4.0}

    ??? note "Differences from other tools"

        torchmetrics lets metrics share state once their first updates happen to agree, which merges
        metrics that differ in a threshold; here states are never shared.
    """

    _metrics: tuple[tuple[str, AbstractMetric[Any]], ...] = eqx.field(static=True)
    finite_only: bool = eqx.field(static=True, default=False)

    def __init__(
        self, metrics: Mapping[str, AbstractMetric[Any]], finite_only: bool = False
    ) -> None:
        if not isinstance(metrics, Mapping):
            raise TypeError(
                f"metrics: expected a dictionary of metrics by name, got {brief(metrics)}."
            )
        self._metrics = tuple(metrics.items())
        self.finite_only = finite_only

    def __check_init__(self) -> None:
        check_flag("finite_only", self.finite_only)
        if not self._metrics:
            raise ValueError("metrics: expected at least one metric, got an empty dictionary.")
        for name, metric in self._metrics:
            check_name("metrics", name)
            check_metric(f"metrics[{name!r}]", metric)
        names = self.metrics.keys()
        if any(other.startswith(f"{name}/") for name in names for other in names):
            self._check_names_of_results()

    def _check_names_of_results(self) -> None:
        try:
            jax.eval_shape(lambda: self._compute(self._empty()))
        except SameNameError as error:
            raise ValueError(f"metrics: {error} Rename one of the metrics.") from None

    def __getitem__(self, name: str) -> AbstractMetric[Any]:
        """The metric of a name."""
        return self.metrics[name]

    @property
    def metrics(self) -> dict[str, AbstractMetric[Any]]:
        """The metrics by name."""
        return dict(self._metrics)

    def _empty(self) -> dict[str, Any]:
        return {name: metric._empty() for name, metric in self._metrics}

    def _init(self) -> NoReturn:
        raise TypeError("A collection has no accumulators of its own.")

    @property
    def _sizes(self) -> dict[SizedAxis, int | None]:
        """The sizes that all metrics have in common."""
        first, *others = (metric._sizes for _, metric in self._metrics)
        return {
            axis: size if all(sizes[axis] == size for sizes in others) else None
            for axis, size in first.items()
        }

    def _read_by_forward(self, updated: dict[str, Any], of_batch: dict[str, Any]) -> dict[str, Any]:
        return {n: m._read_by_forward(updated[n], of_batch[n]) for n, m in self._metrics}

    def _reset(self, state: dict[str, Any]) -> dict[str, Any]:
        return {name: metric._reset(state[name]) for name, metric in self._metrics}

    def _specs(self, state: dict[str, Any], spec: PartitionSpec) -> dict[str, Any]:
        return {name: metric._specs(state[name], spec) for name, metric in self._metrics}

    def _labels(self) -> dict[str, Any]:
        return flatten({name: metric._labels() for name, metric in self._metrics})

    def _observe(self, batch: Batch) -> dict[str, Any]:
        # A collection inside of one that leaves something out does so too.
        inputs = batch.inputs.only_finite(self.finite_only or batch.inputs.finite_only)
        asked = {}
        for name, metric in self._metrics:
            with _named(name):
                asked[name] = metric._ask(inputs)
        return asked

    def _to_observation(self, found: dict[str, Any]) -> dict[str, Any]:
        observation = {}
        for name, metric in self._metrics:
            with _named(name):
                observation[name] = metric._to_observation(found[name])
        return observation

    def _compute(self, state: dict[str, Any]) -> dict[str, Any]:
        return flatten({n: m._compute(accumulators_of(state[n])) for n, m in self._metrics})

    def _covariance(self, state: dict[str, Any]) -> dict[str, Any]:
        found = {n: m._covariance(accumulators_of(state[n])) for n, m in self._metrics}
        return flatten({name: one for name, one in found.items() if one is not None})

    def _standard_error(self, state: dict[str, Any]) -> dict[str, Any]:
        errors = {n: m._standard_error(accumulators_of(state[n])) for n, m in self._metrics}
        return flatten({name: error for name, error in errors.items() if error is not None})


@contextlib.contextmanager
def _named(name: str) -> Iterator[None]:
    """Name the metric in its errors."""
    try:
        yield
    except (TypeError, ValueError, IndexError) as error:
        error.add_note(f"In a collection, by the metric {name!r}.")
        raise
