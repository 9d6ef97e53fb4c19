"""The results of a state that are arrays, for a logger."""

import collections
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from .._arrays import on_host
from .._configuration import check_name, check_text
from .._core import AbstractMetric, accumulators_of
from .._core.metric import check_metric
from .results import axes_of_results, by_result, is_long, names_of_entries, once_each, short


def histograms(
    metric: AbstractMetric[Any], state: Any, prefix: str = "", separator: str = "/"
) -> dict[str, np.ndarray]:
    """Return the results that `scalars` leaves out, as NumPy arrays.

    These have an axis of features, items or bins. Short axes before it become part of the name, so
    that a result for each feature gives one array for each component. Names are made as those of
    `scalars`. All arrays are transferred in one go.

    **Arguments:**

    - `metric`: a metric, or a collection.
    - `state`: its state.
    - `prefix`: what all names begin with.
    - `separator`: what stands between the parts of a name.

    **Returns:** `{name: array}`, in the order of the metrics: an array of one axis for a result per
    feature. It is empty if all results are scalars.

    **Raises:** as `scalars`.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metrics = jsm.training_metrics(num_learned_features=2, num_input_features=1)
        >>> state = metrics.update(
        ...     metrics.init(),
        ...     source_activations=jnp.array([[2.0], [3.0]]),
        ...     learned_activations=jnp.array([[1.0, 0.0], [2.0, 1.0]]),
        ...     decoded_activations=jnp.array([[2.0], [2.0]]),
        ... )
        >>> for name, values in jsm.histograms(metrics, state).items():
        ...     print(name, values)
        feature_density [1.  0.5]
    """
    check_metric("metric", metric)
    check_text("prefix", prefix)
    check_name("separator", separator)
    arrays = on_host(_arrays(metric, metric._check(state)))
    return once_each(_named(metric, arrays, prefix, separator))


@functools.partial(jax.jit, static_argnums=0)
def _arrays(metric: AbstractMetric[Any], state: Any) -> collections.OrderedDict[str, Any]:
    axes = axes_of_results(metric)
    values = by_result(metric._compute(accumulators_of(state)))
    return collections.OrderedDict(
        (result, value) for result, value in values.items() if is_long(axes[result])
    )


def _named(
    metric: AbstractMetric[Any], arrays: Mapping[str, np.ndarray], prefix: str, separator: str
) -> Iterator[tuple[str, np.ndarray]]:
    axes = axes_of_results(metric)
    for result, array in arrays.items():
        names = names_of_entries(metric, result, axes[result], prefix, separator)
        long_axes = array.shape[len(short(axes[result])) :]
        yield from zip(names, array.reshape(-1, *long_axes), strict=True)
