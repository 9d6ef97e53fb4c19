"""A metric's result, taken apart by component."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from .._configuration import as_tuple, brief, check_in_order, check_name
from .._inputs import Batch
from .flatten import flatten
from .metric import AbstractMetric, check_metric, labels_of, standard_error_from


def _in_order(names: Any) -> Any:
    # A string is an iterable too, but of letters.
    return (names,) if isinstance(names, str) else as_tuple(names)


def _has_mean(labels: tuple[Any, ...]) -> bool:
    """Whether a mean over components means something.

    Feature 3 of one dictionary has nothing to do with feature 3 of another.
    """
    return "learned_feature" not in labels


def _of_mean(covariance: Any) -> dict[str, Any]:
    """The standard error of the mean over components; in a dictionary, for each key."""
    if isinstance(covariance, dict):
        return flatten({name: _of_mean(one) for name, one in covariance.items()})
    return {"mean": standard_error_from(jnp.mean(covariance))}


class PerComponent(AbstractMetric[Any]):
    """A metric whose value is reported by component name, with the mean over components.

    State and inputs are those of the metric that is wrapped.

    **Result:** `{prefix/name: value, ..., prefix/mean: mean}`, where `value` is the metric's value
    without the component axis and `mean` the float32 mean over components (NaN if the value of any
    component is NaN). A result with an entry for each learned feature has no `mean`: feature 3 of
    one dictionary has nothing to do with feature 3 of another.

    `standard_error` has the error of the mean too. Components see the same
    items, so it does not follow from their errors: it is the root of the mean of `covariance`,
    which is that of the metric, `[component, component]`.

    **Arguments:**

    - `metric`: a metric with `num_components`, or a collection of metrics that all have the same.
    - `component_names`: one name per component, in order, all different and none `"mean"`.
    - `prefix`: a text to put before each name, with a slash between. Leave it empty in a
        `MetricCollection`, which puts its own name for the metric there.

    **Raises:** `ValueError` for names that are not strings or do not fit the metric's components,
    `TypeError` for a metric without components.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.PerComponent(jsm.L0Norm(num_components=2), ("mlp_0", "mlp_1"), "l0")
        >>> acts = jnp.array([[[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]]])
        >>> state = metric.update(metric.init(), learned_activations=acts)
        >>> {name: float(value) for name, value in metric.compute(state).items()}
        {'l0/mlp_0': 2.0, 'l0/mlp_1': 1.0, 'l0/mean': 1.5}

    ??? note "Differences from other tools"

        The torch version's `ClasswiseWrapperWithMean` uses the lower-case class name where it is
        given no prefix.
    """

    metric: AbstractMetric[Any] = eqx.field(static=True)
    component_names: tuple[str, ...] = eqx.field(static=True, converter=_in_order)
    prefix: str = eqx.field(static=True, default="")

    def __check_init__(self) -> None:
        check_metric("metric", self.metric)
        num_components = self.metric._sizes["component"]
        if num_components is None:
            raise TypeError(
                f"metric: expected a metric with num_components, got "
                f"{brief(self.metric)}. A result without a component axis cannot be taken apart; "
                "the metrics of a collection must all have the same number of components."
            )
        names = self.component_names
        check_in_order("component_names", names)
        for name in names:
            check_name("component_names", name)
        if self.prefix != "":
            check_name("prefix", self.prefix)
        if len(names) != num_components or len({*names, "mean"}) != num_components + 1:
            raise ValueError(
                f"component_names: expected {num_components} different names, none of them 'mean', "
                f"for {self.metric!r}, got {len(names)}: {names}."
            )

    def _empty(self) -> Any:
        return self.metric._empty()

    def _init(self) -> Any:
        return self.metric._init()

    def _read_by_forward(self, updated: Any, of_batch: Any) -> Any:
        return self.metric._read_by_forward(updated, of_batch)

    def _reset(self, state: Any) -> Any:
        return self.metric._reset(state)

    def _specs(self, state: Any, spec: PartitionSpec) -> Any:
        return self.metric._specs(state, spec)

    def _labels(self) -> dict[str, Any]:
        def of_each(labels: Any) -> dict[str, Any]:
            if isinstance(labels, dict):
                return flatten({name: of_each(one) for name, one in labels.items()})
            mean = ("mean",) if _has_mean(labels) else ()
            return dict.fromkeys((*self.component_names, *mean), labels[1:])

        return self._prefixed(of_each(labels_of(self.metric)))

    def _observe(self, batch: Batch) -> Any:
        return self.metric._ask(batch.inputs)

    def _to_observation(self, found: Any) -> Any:
        return self.metric._to_observation(found)

    def _compute(self, state: Any) -> dict[str, Any]:
        return self._prefixed(self._by_name(self.metric._compute(state), labels_of(self.metric)))

    def _covariance(self, state: Any) -> Any:
        return self.metric._covariance(state)

    def _standard_error(self, state: Any) -> dict[str, Any] | None:
        errors = self.metric._standard_error(state)
        if errors is None:
            return None
        named = self._by_name(errors)
        if (covariance := self._covariance(state)) is not None:
            named |= _of_mean(covariance)
        return self._prefixed(named)

    def _by_name(self, result: Any, labels: Any = None) -> dict[str, Any]:
        """The entries along the component axis by name; in a dictionary, for each key.

        With the labels of the result, their mean follows where it means something.
        """
        if isinstance(result, dict):
            of_each = {k: self._by_name(v, labels and labels[k]) for k, v in result.items()}
            return flatten(of_each)
        named = dict(zip(self.component_names, result, strict=True))
        if labels is not None and _has_mean(labels):
            named["mean"] = jnp.mean(result.astype(jnp.float32), axis=0)
        return named

    def _prefixed(self, named: dict[str, Any]) -> dict[str, Any]:
        return flatten({self.prefix: named}) if self.prefix else named
