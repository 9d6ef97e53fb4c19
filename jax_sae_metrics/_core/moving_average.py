"""A metric's values of single batches, averaged with weights that decay."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float32, PyTree

from .._accumulator import AbstractAccumulator
from .._arrays import AxisName, ratio
from .._configuration import check_between
from .collection_state import accumulators_of
from .metric import AbstractMetric, labels_of
from .wrapper import AbstractWrapper, Wrapped


class MovingAverage(AbstractWrapper):
    r"""Exponential moving average of a metric's values of single batches.

    $$\frac{\sum_{i=1}^{t} \beta^{t-i} v_i}{\sum_{i=1}^{t} \beta^{t-i}}$$

    after $t$ updates, $v_i$ the value of batch $i$ alone and $\beta$ the decay. The denominator
    corrects the bias towards 0 of the first updates. A batch in which the metric has no value (NaN)
    has no weight.

    With `axis_name`, and under `jit` with sharded arrays, a batch is that of all devices.
    `all_reduce` takes the mean of the devices' averages, each with its weights. `merge` is in time:
    the updates of the later state come after those of the earlier one.

    **Inputs** of `observe`, `update` and `forward`: those of the metric. `forward` gives the moving
    average.

    **Result:** float32, of the shape of the metric's value (`[component?]` for a mean); NaN where
    no batch had a value.

    **Arguments:**

    - `metric`: a metric, or a collection.
    - `decay`: $\beta$, at least 0 and less than 1. The average is over about the last
        $1 / (1 - \beta)$ batches.

    **Raises:** `TypeError` if `metric` is none, `ValueError` for a decay outside [0, 1).

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.MovingAverage(jsm.L0Norm(), decay=0.5)
        >>> state = metric.init()
        >>> for learned_activations in (jnp.ones((2, 3)), jnp.zeros((2, 3))):
        ...     state = metric.update(state, learned_activations=learned_activations)
        >>> print(metric.compute(state))  # (0.5 * 3 + 1 * 0) / (0.5 + 1)
        1.0

    ??? note "Differences from other tools"

        saex keeps such averages: that of L0 with this correction, those of norms without it. The
        value of a batch alone is what a metric is for that batch, so that averages of ratios depend
        on how the data is cut into batches. `optax.tree.bias_correction` divides by
        $1 - \beta^t$, which is the same where all batches have a value.
    """

    metric: AbstractMetric[Any] = eqx.field(static=True)
    decay: float = eqx.field(static=True)
    _is_running: ClassVar = True

    def __check_init__(self) -> None:
        check_between("decay", self.decay, 0.0, 1.0)
        if self.decay == 1:
            raise ValueError("decay: expected less than 1, got 1, with which nothing decays.")

    def _init(self) -> Wrapped:
        return Wrapped(_Averages.empty(self.metric, float(self.decay)))

    def _compute(self, state: Wrapped) -> Any:
        averages = state.inner.averages()
        names = labels_of(self.metric)
        return {name: averages[name] for name in names} if isinstance(names, dict) else averages


class _Averages(AbstractAccumulator):
    """Values of batches and their weights, both added up while what was before decays."""

    weighted: PyTree[Float32[Array, "..."]]
    weights: PyTree[Float32[Array, "..."]]
    # The weight that is left to what was before these batches.
    remaining: Float32[Array, ""]
    metric: AbstractMetric[Any] = eqx.field(static=True)
    decay: float = eqx.field(static=True)

    @classmethod
    def empty(cls, metric: AbstractMetric[Any], decay: float) -> "_Averages":
        shapes = jax.eval_shape(lambda: metric._compute(accumulators_of(metric.init())))
        weighted, weights = (
            jax.tree.map(lambda value: jnp.zeros(value.shape, jnp.float32), shapes)
            for _ in range(2)
        )
        return cls(weighted, weights, jnp.ones((), jnp.float32), metric, decay)

    def _check(self, added: Any) -> None:
        """The metric checks its observation."""

    def _add(self, added: Any, axis_name: AxisName | None) -> "_Averages":
        batch = self.metric.accumulate(self.metric.init(), added, axis_name=axis_name)
        values = self.metric._compute(accumulators_of(batch))
        values = jax.tree.map(lambda value: value.astype(jnp.float32), values)
        known = jax.tree.map(lambda value: (~jnp.isnan(value)).astype(jnp.float32), values)
        values = jax.tree.map(lambda value: jnp.where(jnp.isnan(value), 0, value), values)
        remaining = jnp.full((), self.decay, jnp.float32)
        return self._merge(_Averages(values, known, remaining, self.metric, self.decay))

    def _merge(self, later: "_Averages") -> "_Averages":
        """The batches of `later` come after these."""

        def add(mine: Array, theirs: Array) -> Array:
            return mine * later.remaining + theirs

        return _Averages(
            weighted=jax.tree.map(add, self.weighted, later.weighted),
            weights=jax.tree.map(add, self.weights, later.weights),
            remaining=self.remaining * later.remaining,
            metric=self.metric,
            decay=self.decay,
        )

    def all_reduce(self, axis_name: AxisName) -> "_Averages":
        """The values of all devices, each with its weight."""
        weighted, weights = lax.psum((self.weighted, self.weights), axis_name)
        remaining = lax.pmin(self.remaining, axis_name)
        return _Averages(weighted, weights, remaining, self.metric, self.decay)

    def averages(self) -> Any:
        """The average of each value; NaN where no batch had one."""
        return jax.tree.map(ratio, self.weighted, self.weights)
