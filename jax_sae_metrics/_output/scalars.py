"""The value of a state as Python numbers, for a logger."""

from typing import Any

from .._configuration import check_flag, check_name, check_text
from .._core import AbstractMetric
from .._core.metric import check_metric
from .packed import pack


def scalars(
    metric: AbstractMetric[Any],
    state: Any,
    prefix: str = "",
    separator: str = "/",
    errors: bool = False,
) -> dict[str, float]:
    """Return the value of a state as a flat dictionary of Python floats.

    Loggers take such a dictionary as it is. However many metrics a collection has, one program runs
    and one array is transferred to the host. Integers are as exact as the floats of Python, which
    hold all up to $2^{53}$; they do not pass through float32.

    Short axes become part of a name. A component is called by its index, and an entry of a result
    for several settings by its setting: `l0/1`, `dead_features/10000000`. Components that
    `PerComponent` names keep their names. Results with an entry for each feature, item or bin are
    left out: `histograms` returns them.

    A metric outside of a collection has no name. Its result is called by the prefix, or by the
    class of the metric if there is none. A result that has a name keeps it, after the prefix.

    **Arguments:**

    - `metric`: a metric, or a collection.
    - `state`: its state.
    - `prefix`: what all names begin with.
    - `separator`: what stands between the parts of a name, also in place of a slash in the name of
        a metric or a result. It follows the prefix too.
    - `errors`: whether `name/standard_error` is added for every result that has a standard error.

    **Returns:** `{name: number}`, in the order of the metrics. Where nothing was seen, means are
    NaN.

    **Raises:** `ValueError` for what is not a state of the metric, for a wrong prefix or separator,
    and for two results that would have the same name; `TypeError` for what is not a metric.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metrics = jsm.MetricCollection(
        ...     {"l0": jsm.L0Norm(), "dead": jsm.DeadFeatures(3, after_tokens=(1, 2))}
        ... )
        >>> learned_activations = jnp.array([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
        >>> state = metrics.update(metrics.init(), learned_activations=learned_activations)
        >>> jsm.scalars(metrics, state, prefix="train")
        {'train/l0': 1.5, 'train/dead/1': 2.0, 'train/dead/2': 1.0}
        >>> jsm.scalars(jsm.L0Norm(), state["l0"], errors=True)
        {'L0Norm': 1.5, 'L0Norm/standard_error': 0.5}
    """
    check_metric("metric", metric)
    check_text("prefix", prefix)
    check_name("separator", separator)
    check_flag("errors", errors)
    return pack(metric, state, errors).to_host(metric, prefix, separator)
