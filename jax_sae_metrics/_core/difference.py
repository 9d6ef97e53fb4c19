"""Two components compared on the same items."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float32

from .collection import MetricCollection
from .flatten import flatten
from .metric import AbstractMetric, check_metric
from .per_component import PerComponent

# The part of two variances below which rounding may have made the variance of the difference.
_RESOLVED = 1e-5


def difference(metric: AbstractMetric[Any], state: Any, one: int, other: int) -> Any:
    r"""Return the value of one component minus that of another, and its standard error.

    $$R_i - R_j \qquad \text{SE} = \sqrt{\text{Cov}(R_i, R_i) - 2\, \text{Cov}(R_i, R_j) +
    \text{Cov}(R_j, R_j)}$$

    Two dictionaries that are evaluated on the same tokens find the same tokens hard, so that the
    error of the difference is smaller than the two errors together suggest. See
    `AbstractMetric.covariance`.

    **Arguments:**

    - `metric`: a mean or a ratio of sums with `num_components`, or a collection of metrics.
    - `state`: its state.
    - `one`, `other`: the components, from 0 to `num_components - 1`.

    **Returns:** `(difference, standard_error)`, two float32 scalars. For a metric whose value is a
    dictionary, a dictionary of such pairs; what has no covariance is left out of it. The error is
    NaN where rounding may have made it, except that it is 0 for two components that are alike in
    every item, and where the components never saw an item in the same call.

    **Raises:** `TypeError` for a metric without covariance or without components, `IndexError` for
    a component that does not exist.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.L0Norm(num_components=2)
        >>> learned_activations = jnp.array([
        ...     [[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]],
        ...     [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]],
        ...     [[0.0, 1.0, 1.0], [0.0, 1.0, 1.0]],
        ... ])
        >>> state = metric.update(metric.init(), learned_activations=learned_activations)
        >>> print([f"{error:.3f}" for error in metric.standard_error(state)])
        ['0.577', '0.667']
        >>> value, error = jsm.difference(metric, state, 0, 1)
        >>> print(f"{value:.3f} +- {error:.3f}")
        0.667 +- 0.333
    """
    check_metric("metric", metric)
    covariances, values = metric.covariance(state), _values(metric, state)
    if not isinstance(covariances, dict):
        return _pair("metric", values, covariances, one, other)
    return {
        name: _pair(name, values[name], covariance, one, other)
        for name, covariance in covariances.items()
    }


def _values(metric: AbstractMetric[Any], state: Any) -> Any:
    """The value by the names of the covariance, each with the component axis."""
    if isinstance(metric, PerComponent):
        return _values(metric.metric, state)
    if isinstance(metric, MetricCollection):
        return flatten({name: _values(one, state[name]) for name, one in metric.metrics.items()})
    return metric.compute(state)


def _pair(
    name: str,
    value: Float32[Array, "*component"],
    covariance: Float32[Array, "*component_and_component"],
    one: int,
    other: int,
) -> tuple[Float32[Array, ""], Float32[Array, ""]]:
    if not covariance.ndim:
        raise TypeError(f"{name}: expected a metric with num_components, got one without.")
    for argument, index in {"one": one, "other": other}.items():
        if not 0 <= index < len(value):
            raise IndexError(
                f"{argument}: expected a component from 0 to {len(value) - 1}, got {index}."
            )
    both = covariance[one, one] + covariance[other, other]
    variance = both - (covariance[one, other] + covariance[other, one])
    is_resolved = (variance > _RESOLVED * both) | (variance == 0)
    variance = jnp.where(is_resolved, variance, jnp.float32(jnp.nan))
    return value[one] - value[other], jnp.sqrt(variance)
