"""Metric state inside the optimizer state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .._arrays import AxisName
from .._inputs import Inputs
from .metric import AbstractMetric, check_metric

if TYPE_CHECKING:
    import optax


class TrackState(NamedTuple):
    """State of `track`: the state of its metrics."""

    metrics: Any


def track(
    metrics: AbstractMetric[Any], *, axis_name: AxisName | None = None
) -> optax.GradientTransformationExtraArgs:
    """An optax gradient transformation that leaves the gradients alone and updates metrics.

    The metrics' state lives in the optimizer state and is donated, sharded and checkpointed with
    it. Only this function needs optax.

    Pass the metrics' inputs to the optimizer's `update` as extra arguments; arguments that no
    metric reads are left to the other transformations of a chain, unless they look like misspelled
    inputs. Inside `optax.MultiSteps`, metrics would see only the last micro-batch of each step:
    chain `track` in front.

    **Arguments:**

    - `metrics`: a metric, or a collection of all metrics that are tracked. Use only one `track` in
        an optimizer state: `optax.tree.get` could not tell two apart.
    - `axis_name`: as for `update`, under `pmap` or `shard_map`.

    **Returns:** an `optax.GradientTransformationExtraArgs` whose state is `TrackState(metrics)`.
    Read it with `optax.tree.get(opt_state, "metrics")` and start afresh with
    `optax.tree.set(opt_state, metrics=metrics.init())`.

    **Raises:** `TypeError` if `metrics` is not a metric; at trace time, what `update` raises for
    missing and misspelled inputs and wrong shapes.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import optax
        >>> import jax_sae_metrics as jsm
        >>> metrics = jsm.L0Norm()
        >>> optimizer = optax.chain(jsm.track(metrics), optax.sgd(0.1))
        >>> params = {"w": jnp.ones(3)}
        >>> opt_state = optimizer.init(params)
        >>> acts = jnp.array([[1.0, 0.0, 2.0]])
        >>> updates, opt_state = optimizer.update(params, opt_state, learned_activations=acts)
        >>> print(metrics.compute(optax.tree.get(opt_state, "metrics")))
        2.0
    """
    import optax

    check_metric("metrics", metrics)

    def init(params: optax.Params) -> TrackState:
        del params
        return TrackState(metrics=metrics.init())

    def update(
        updates: optax.Updates,
        state: TrackState,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, TrackState]:
        del params
        # Inputs that `metrics.update` would call unknown belong to other transformations.
        inputs = Inputs(extra_args, axis_name)
        observation = metrics._observe_inputs(inputs, Inputs.check_spelling)
        accumulated = metrics.accumulate(state.metrics, observation, axis_name=axis_name)
        return updates, TrackState(metrics=accumulated)

    return optax.GradientTransformationExtraArgs(init, update)
